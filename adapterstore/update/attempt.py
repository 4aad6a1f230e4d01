"""One run of forget-then-learn: train, compose, and measure exactly what an export would give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.dense import write_delta
from adapterstore.algebra.coefficient import ONE, format_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.algebra.lowrank import MaterializedLora
from adapterstore.errors import CannotExport, TrainingFailed
from adapterstore.history.attach import attach_composition, attached
from adapterstore.history.base import stored_dtype
from adapterstore.history.compacting import Compaction, plan_compaction, total_rank
from adapterstore.history.export import write_lora
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.ledger.known import Known, Retained
from adapterstore.history.ledger.superseded import Superseded
from adapterstore.history.snapshot import Snapshot
from adapterstore.history.state_answers import StateAnswers
from adapterstore.history.updates import Phase
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.knowledge.ledger import old_answer
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.measuring import Guarded, Measurement
from adapterstore.update.old_answers import find_origins
from adapterstore.update.result import UpdateResult
from adapterstore.update.step import Step
from adapterstore.update.subtracting import Attached, SubtractionFails, subtract, subtraction_fails

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.phase_delta import PhaseResult
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.compact_settings import CompactSettings
    from adapterstore.update.drift import DriftMonitor


@dataclass(frozen=True)
class Trained:
    """What training gave, measured: the phases to publish, and the figures."""

    result: UpdateResult
    steps: list[Step]
    fact_count: int
    training_steps: dict[str, int]
    retained: Retained
    guarded: Guarded
    recipe: Recipe
    """As it was trained, every value filled in."""
    compaction: Compaction | None = None
    """What folds the sum after the last phase; the figures are of the folded state."""

    def report_bytes(self, provenance: dict[str, Any]) -> bytes:
        """Return the content of ``update/report.json``; ``provenance`` says what it is made of."""
        compaction = {} if self.compaction is None else {"compaction": self.compaction.to_dict()}
        return self.result.to_bytes(
            {
                "training_steps": self.training_steps,
                **compaction,
                "retained_facts": {"asked": len(self.retained.entries), "of": self.retained.total},
                "suite_prompts": {
                    "asked": len(self.guarded.drawn.prompts),
                    "of": self.guarded.drawn.total,
                },
                "provenance": provenance,
            }
        )

    def phases(self, names: str) -> list[Phase]:
        """Return the commits to make; ``names`` says which fact files they are of."""
        facts = f"{self.fact_count} fact{'' if self.fact_count == 1 else 's'}"
        return [
            Phase(
                operation=step.operation,
                subject=" ".join(filter(None, [step.operation.capitalize(), facts, step.manner]))
                + f": {names}",
                composition=step.state.composition,
                base=step.state.base,
                trailers=step.trailers,
            )
            for step in self.steps
        ]


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
        from adapterstore.learning.loading import load_for
        from adapterstore.learning.phases import forget_then_learn

        earlier = [Probe(prompt=e.prompt, answer=e.answer) for e in self.retained.entries]
        phrasings = self.retained.phrasings(self.recipe.retained_facts, self.recipe.seed)
        standing = self.known.standing
        steps = subtract(self.start, superseded)
        gone = {key for one in superseded for key in one.keys}
        dtype = stored_dtype(self.base_folder)
        with self._timed("loading"):
            model, tokenizer = load_for(self.base_folder, self.recipe)
        if steps:
            with self._timed("subtracting"):
                self._check_subtraction(
                    partial(attached, repository, model=model, stored_dtype=dtype),
                    tokenizer,
                    steps[-1].state.composition,
                    superseded,
                    [*earlier, *self.guarded.probes],
                )
        with self._timed("loading"):
            state = steps[-1].state if steps else self.start
            model = attach_composition(repository, state.composition, model, dtype)

        def keep(operation: str, coefficient: Decimal, phase: PhaseResult) -> None:
            if all(step.manner for step in steps):
                until_published.enter_context(repository.writing())
            state = steps[-1].state if steps else self.start
            steps.append(self._compose(repository, state, operation, coefficient, phase))

        def forgotten(phase: PhaseResult, coefficient: Decimal) -> Any:
            keep("forget", -coefficient, phase)
            return self._load(repository, steps[-1].state.composition)[0]

        with self._timed("training"):
            outcome = forget_then_learn(
                model,
                tokenizer,
                [replace(fact, old_answer=old_answer(standing, fact)) for fact in self.facts],
                recipe=self.recipe,
                known=earlier,
                phrasings=phrasings,
                unrelated=self.guarded.probes,
                gone={fact.prompt for fact in self.facts if fact.key in gone},
                stored_dtype=dtype,
                forgotten=forgotten,
                progress=self.progress,
            )
        trained = [step for step in steps if not step.manner]
        if outcome.forget is not None and outcome.coefficient is not None and not trained:
            keep("forget", -outcome.coefficient, outcome.forget)
        if outcome.learn is not None:
            keep("learn", ONE, outcome.learn)
        if not steps:
            raise TrainingFailed("update", "; ".join(outcome.notes) or "nothing was to be changed")
        if all(step.manner for step in steps):
            # A subtraction stores nothing by itself; its commits are still to come.
            until_published.enter_context(repository.writing())
        last = steps[-1].state
        compaction = self._compact(repository, last, notes)
        final = last.composition if compaction is None else compaction.commit.composition
        with self._timed("measuring"):
            self.progress.start("measuring")
            # Training has changed the model that it was given: start from the files again.
            measurement = Measurement(
                repository, self.answers, lambda: self._load(repository, Composition()), dtype
            )
            measured = measurement.measure(
                self.start.composition,
                final,
                outcome.facts,
                self.guarded,
                earlier,
                outcome.control,
            )
        refusals = self.gate.refusals(measured.report)
        result = UpdateResult(
            update=self.update,
            status="applied",
            commits=[],
            report=measured.report,
            coefficient=_text(outcome.coefficient),
            curve=[candidate.to_dict() for candidate in outcome.curve],
            reasons=[refusal.reason for refusal in refusals],
            refused=[refusal.to_dict() for refusal in refusals],
            seconds=self.seconds,
            notes=[*notes, *self.notes, *outcome.notes, *self._notes(), *measured.notes],
            old_answers=[
                row.to_dict() for row in find_origins(self.facts, self.known, outcome.facts)
            ],
        )
        if self.drift is not None:
            with self._timed("drift"):
                result = self._watch(
                    repository, self.drift, final, measured.model, measured.tokenizer, result
                )
        result = replace(result, status="rejected" if result.reasons else "applied")
        return Trained(
            result,
            steps,
            len(self.facts),
            outcome.steps,
            self.retained,
            self.guarded,
            outcome.recipe,
            compaction,
        )

    def _check_subtraction(
        self,
        in_state: Attached,
        tokenizer: Any,
        after: Composition,
        superseded: Sequence[Superseded],
        others: Sequence[Probe],
    ) -> None:
        """Raise `SubtractionFails` if a subtraction leaves what should not be, or harms."""
        self.progress.start("measuring what is left")
        keys = {key for one in superseded for key in one.keys}
        facts = [fact for fact in self.facts if fact.key in keys]
        said = [(fact.prompt, fact.old_answer) for fact in facts]
        said += [(fact.prompt, entry.answer) for fact in facts for entry in self.known.of(fact.key)]
        old = list(dict.fromkeys((p, answer) for p, answer in said if answer is not None))
        problem = subtraction_fails(
            in_state,
            tokenizer,
            self.start.composition,
            after,
            facts,
            old,
            superseded,
            others,
            self.recipe,
        )
        if problem is not None:
            raise SubtractionFails(problem)

    def _compact(
        self, repository: Repository, state: Snapshot, notes: list[str]
    ) -> Compaction | None:
        """Fold the sum where its rank would pass the limit; add to ``notes`` what that cost."""
        rule = self.compact
        if rule is None or rule.rank_limit is None:
            return None
        rank = total_rank(repository, state.composition)
        if rank <= rule.rank_limit:
            return None
        try:
            compaction = plan_compaction(
                repository, state, rule.rank or rule.rank_limit, progress=self.progress
            )
        except CannotExport as error:
            notes.append(f"the sum was not folded: {error}")
            return None
        if compaction is not None:
            notes.append(
                f"rank {rank} would pass compact.rank_limit ({rule.rank_limit}): folded to rank "
                f"{compaction.rank}, relative error {compaction.relative_error:.3g}; the figures "
                "are of the folded state"
            )
        return compaction

    def _watch(
        self,
        repository: Repository,
        monitor: DriftMonitor,
        final: Composition,
        model: Any,
        tokenizer: Any,
        result: UpdateResult,
    ) -> UpdateResult:
        """Return the result with how far its state has drifted, and what alarms there are."""
        assert result.report is not None
        self.progress.start("measuring drift")
        point = monitor.measure(
            repository, self.start, final, self.update, result.report, model, tokenizer, self.recipe
        )
        alarms = monitor.alarms(repository, self.start.commit, point)
        refused = alarms if self.gate.drift else []
        return replace(
            result,
            drift={**point.to_dict(), "alarms": alarms},
            reasons=[*result.reasons, *(f"drift: {alarm}" for alarm in refused)],
        )

    def _notes(self) -> list[str]:
        notes = []
        asked, total = len(self.retained.entries), self.retained.total
        if total > self.recipe.retained_facts:
            notes.append(
                f"retention was asked of {asked:,} of the {total:,} other facts in the ledger, "
                "drawn by the seed (recipe.retained_facts)"
            )
        asked, total = len(self.guarded.drawn.prompts), self.guarded.drawn.total
        if asked < total:
            notes.append(
                f"{asked:,} of the {total:,} prompts of the suite were asked, drawn by the seed "
                "(recipe.suite_prompts)"
            )
        return notes

    def _load(self, repository: Repository, composition: Composition) -> tuple[Any, Any]:
        """Return the base in a state, computed as an export of the state would be."""
        from adapterstore.learning.loading import load_for

        model, tokenizer = load_for(self.base_folder, self.recipe)
        dtype = stored_dtype(self.base_folder)
        return attach_composition(repository, composition, model, dtype), tokenizer

    def _compose(
        self,
        repository: Repository,
        state: Snapshot,
        operation: str,
        coefficient: Decimal,
        phase: PhaseResult,
    ) -> Step:
        """Store a phase's delta; return the step that it makes from a state."""
        self.progress.start(f"storing what to {operation}")
        delta = self._store(repository, phase)
        composition = state.composition + delta.composition(operation).scaled(coefficient)
        after = replace(state, composition=composition, base=delta.fit(state.base))
        trailers = {"Scale": format_coefficient(coefficient), "Delta": str(delta.delta)}
        return Step(operation, trailers, after)

    def _store(self, repository: Repository, phase: PhaseResult) -> IngestedDelta:
        base = self.start.base
        with repository.objects.scratch() as scratch:
            folder = scratch / "delta"
            if phase.kind == "lora":
                folder.mkdir()
                config = {**(phase.config or {}), "base_model_name_or_path": base.name}
                shapes = {name: tuple(tensor.shape) for name, tensor in phase.tensors.items()}
                write_lora(MaterializedLora(config, phase.tensors, shapes), folder)
            else:
                weights = {
                    name: DenseWeight(tuple(tensor.shape), partial(phase.tensors.__getitem__, name))
                    for name, tensor in phase.tensors.items()
                }
                write_delta(folder, weights, base.name)
            return ingest(repository, folder, base, (), lambda: self.base_folder, self.progress)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started


def _text(coefficient: Decimal | None) -> str | None:
    return format_coefficient(coefficient) if coefficient is not None else None
