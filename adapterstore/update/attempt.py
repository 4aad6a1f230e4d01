"""One run of forget-then-learn: train, compose, and measure exactly what an export would give."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.coefficient import ONE, format_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.errors import TrainingFailed
from adapterstore.history.attach import (
    attach_composition,
    attached,
    base_beside,
    has_dense_terms,
)
from adapterstore.history.base import stored_dtypes
from adapterstore.history.ledger.known import Known, Retained
from adapterstore.history.ledger.superseded import Superseded
from adapterstore.history.snapshot import Snapshot
from adapterstore.history.state_answers import StateAnswers
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.knowledge.ledger import old_answer
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.compacting import compact_over_limit
from adapterstore.update.composing import Composing
from adapterstore.update.measuring import Guarded, Measured, Measurement
from adapterstore.update.old_answers import OldAnswer, find_origins
from adapterstore.update.result import UpdateResult
from adapterstore.update.subtracting import SubtractionFails, check_subtraction, subtract
from adapterstore.update.trained import Trained

if TYPE_CHECKING:
    import torch

    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.phase_delta import PhaseResult
    from adapterstore.learning.phases import Outcome
    from adapterstore.learning.prepared import BaseBeside
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.compact_settings import CompactSettings
    from adapterstore.update.drift import DriftMonitor


@dataclass
class Attempt:
    """The inputs of one run; `run` does the work."""

    start: Snapshot
    base_folder: Path
    facts: list[Fact]
    known: Known
    """What the ledger says of these facts."""
    retained: Retained
    """Facts of the ledger that this update must keep: they are preserved, and asked afterwards."""
    guarded: Guarded
    """Locality prompts and the regression suite: they are preserved and asked, too."""
    answers: StateAnswers
    recipe: Recipe
    gate: Gate
    update: UpdateId
    progress: Progress
    notes: list[str] = field(default_factory=list)
    """What is to be said of the facts as they came."""
    superseded: Sequence[Superseded] = ()
    """Earlier updates of which nothing stands once these facts are in effect."""
    compact: CompactSettings | None = None
    """When to fold the sum; None never does."""
    drift: DriftMonitor | None = None
    """Measures how far the state is from the base; None does not."""
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, repository: Repository, until_published: ExitStack) -> Trained:
        """Train and measure; tensor files go to ``repository``, and no ref moves.

        From the first file that is stored, `gc` is kept away until ``until_published`` ends. Where
        earlier updates are superseded, they are forgotten by subtraction; what the measurements or
        the gate have against that state, they say in a note, and forgetting is trained.

        Raises:
            TrainingFailed: no usable result.
            BaseModelUnavailable: the base can't be loaded.
        """
        # A λ that was fixed asks for the trained phase.
        possible = self.superseded and self.recipe.forget and self.recipe.coefficient is None
        if not possible:
            return self._run(repository, until_published, (), [])
        names = ", ".join(f"update/{one.update}" for one in self.superseded)
        try:
            notes = [f"forgotten by subtracting {names}"]
            trained = self._run(repository, until_published, self.superseded, notes)
            if not trained.result.reasons:
                return trained
            problem = f"the result was refused ({'; '.join(trained.result.reasons)})"
        except SubtractionFails as failure:
            problem = str(failure)
        note = f"subtracting {names} was not enough: {problem}; forgetting was trained instead"
        return self._run(repository, until_published, (), [note])

    def _run(
        self,
        repository: Repository,
        until_published: ExitStack,
        superseded: Sequence[Superseded],
        notes: list[str],
    ) -> Trained:
        composing = Composing(
            repository,
            self.start,
            self.base_folder,
            subtract(self.start, superseded),
            until_published,
            self.progress,
        )
        with self._timed("loading"):
            model, tokenizer = self._load()
        if superseded:
            with self._timed("subtracting"):
                self._check_subtraction(repository, model, tokenizer, composing, superseded)
        with self._timed("loading"):
            model = self._attach(repository, composing.state, model)
        # Whoever trains it has the only reference, and can let it go before another is loaded.
        models = [model]
        del model
        with self._timed("training"):
            outcome = self._train(repository, models, tokenizer, composing, superseded)
        if not composing.steps:
            raise TrainingFailed("update", "; ".join(outcome.notes) or "nothing was to be changed")
        composing.hold()
        compaction, cost = compact_over_limit(
            repository, composing.state, self.compact, self.progress
        )
        final = (compaction.commit if compaction is not None else composing.state).composition
        old_answers = find_origins(self.facts, self.known, outcome.facts)
        with self._timed("measuring"):
            measured = self._measure(repository, final, outcome, old_answers)
        refusals = self.gate.refusals(measured.report)
        drift = None
        if self.drift is not None:
            with self._timed("drift"):
                self.progress.start("measuring drift")
                drift = self.drift.watch(
                    repository, self.start, final, self.update, measured, self.recipe
                )
        alarms = drift["alarms"] if drift is not None and self.gate.drift else []
        reasons = [*(refusal.reason for refusal in refusals), *(f"drift: {a}" for a in alarms)]
        result = UpdateResult(
            update=self.update,
            status="rejected" if reasons else "applied",
            commits=[],
            report=measured.report,
            coefficient=_text(outcome.coefficient),
            curve=[candidate.to_dict() for candidate in outcome.curve],
            reasons=reasons,
            refused=[refusal.to_dict() for refusal in refusals],
            seconds=self.seconds,
            notes=[
                *(*notes, *cost, *self.notes),
                *(*outcome.notes, *self._notes_on_draws(), *measured.notes),
            ],
            old_answers=[row.to_dict() for row in old_answers],
            drift=drift,
        )
        return Trained(
            result,
            composing.steps,
            outcome.taught,
            outcome.steps,
            self.retained,
            self.guarded,
            outcome.recipe,
            compaction,
        )

    def _load(self) -> tuple[Any, Any]:
        from adapterstore.learning.loading import load_for

        return load_for(self.base_folder, self.recipe)

    def _attach(self, repository: Repository, state: Snapshot, model: Any) -> Any:
        return attach_composition(repository, state.composition, model, self._stored)

    def _check_subtraction(
        self,
        repository: Repository,
        model: Any,
        tokenizer: Any,
        composing: Composing,
        superseded: Sequence[Superseded],
    ) -> None:
        from adapterstore.learning.phases import check_prompts

        self.progress.start("measuring what is left")
        others = [*self._earlier, *self.guarded.probes]
        # Here they are asked for the first time.
        check_prompts(model, tokenizer, self.facts, others)
        check_subtraction(
            partial(attached, repository, model=model, stored=self._stored),
            tokenizer,
            self.start.composition,
            composing.state.composition,
            self.facts,
            self.known,
            superseded,
            others,
            self.recipe,
        )

    def _train(
        self,
        repository: Repository,
        models: list[Any],
        tokenizer: Any,
        composing: Composing,
        superseded: Sequence[Superseded],
    ) -> Outcome:
        """Train a model in the state so far; what comes of it is in the sum afterwards.

        The model is taken out of ``models``, and is gone afterwards.
        """
        from adapterstore.learning.phases import forget_then_learn

        def forgotten(phase: PhaseResult, coefficient: Decimal) -> Any:
            composing.add("forget", -coefficient, phase)
            return self._attach(repository, composing.state, self._load()[0])

        before = composing.state.composition
        standing = self.known.standing
        gone = {key for one in superseded for key in one.keys}
        outcome = forget_then_learn(
            models.pop(),
            tokenizer,
            [replace(fact, old_answer=old_answer(standing, fact)) for fact in self.facts],
            recipe=self.recipe,
            known=self._earlier,
            phrasings=self.retained.phrasings(self.recipe.retained_facts, self.recipe.seed),
            unrelated=[*self.guarded.probes, *self._forgotten],
            required=self._required,
            gone={fact.prompt for fact in self.facts if fact.key in gone},
            base=self._base_beside(repository, before),
            sampling_seed=zlib.crc32(before.to_bytes()) if before.terms else 0,
            stored=self._stored,
            forgotten=forgotten,
            progress=self.progress,
        )
        if outcome.forget is not None and "forget" not in composing.operations:
            assert outcome.coefficient is not None
            composing.add("forget", -outcome.coefficient, outcome.forget)
        if outcome.learn is not None:
            composing.add("learn", ONE, outcome.learn)
        return outcome

    def _base_beside(self, repository: Repository, before: Composition) -> BaseBeside | None:
        """Return what gives the base beside a state, to which the update's texts are held.

        None: the state is the base; or somebody put something else into the sum, an adapter, say,
        which must not be pulled back. Or there are dense terms, and no full fine-tuning to come,
        which needs several times the memory that the base takes beside the state.
        """
        if not before.terms or not {term.role for term in before} <= {"forget", "learn"}:
            return None
        full = "full" in (self.recipe.phase_method("forget"), self.recipe.phase_method("learn"))
        if has_dense_terms(repository, before) and not full:
            return None
        return partial(base_beside, repository, before, lambda: self._load()[0])

    def _measure(
        self,
        repository: Repository,
        final: Composition,
        outcome: Outcome,
        old_answers: Sequence[OldAnswer],
    ) -> Measured:
        self.progress.start("measuring")
        # Training has changed the model that it was given: start from the files again.
        measurement = Measurement(repository, self.answers, self._load, self._stored)
        return measurement.measure(
            self.start.composition,
            final,
            outcome.facts,
            self.guarded,
            self.retained,
            outcome.control,
            [
                Probe(prompt=o.prompt, answer=o.old_answer)
                for o in old_answers
                if o.origin == "file"
            ],
        )

    @property
    def _earlier(self) -> list[Probe]:
        return [Probe(prompt=e.prompt, answer=e.answer) for e in self.retained.entries]

    @property
    def _required(self) -> set[str]:
        """Prompts of which no answer may be lost; the gate has no say, so a replay trains alike."""
        protected = {entry.prompt for entry in self.retained.entries if entry.protected}
        return protected | {probe.prompt for probe in self.guarded.suite}

    @property
    def _forgotten(self) -> list[Probe]:
        """Prompts of what was forgotten earlier: what the state says instead is to stay."""
        return [Probe(prompt=fact.entry.prompt) for fact in self.retained.forgotten]

    @cached_property
    def _stored(self) -> dict[str, torch.dtype]:
        return stored_dtypes(self.base_folder)

    def _notes_on_draws(self) -> list[str]:
        notes = []
        asked, total = self.retained.drawn, self.retained.total
        if total > self.recipe.retained_facts:
            notes.append(
                f"{asked:,} of the {total:,} other facts in the ledger were asked, drawn by the "
                "seed (recipe.retained_facts)"
            )
        asked, total = len(self.guarded.drawn.prompts), self.guarded.drawn.total
        if asked < total:
            notes.append(
                f"{asked:,} of the {total:,} prompts of the suite were asked, drawn by the seed "
                "(recipe.suite_prompts)"
            )
        return notes

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started


def _text(coefficient: Decimal | None) -> str | None:
    return format_coefficient(coefficient) if coefficient is not None else None
