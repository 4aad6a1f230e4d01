"""One run of forget-then-learn: train, compose, and measure exactly what an export would give."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
from adapterstore.errors import TrainingFailed
from adapterstore.history.attach import attach_composition
from adapterstore.history.base import stored_dtype
from adapterstore.history.export import write_lora
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.known import Known, Retained
from adapterstore.history.snapshot import Snapshot
from adapterstore.history.state_answers import StateAnswers
from adapterstore.history.updates import Phase
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.knowledge.ledger import old_answer
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.measuring import Guarded, Measurement
from adapterstore.update.result import UpdateResult

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.phase_delta import PhaseResult
    from adapterstore.learning.recipe import Recipe


@dataclass(frozen=True)
class Step:
    """One phase as it will be committed."""

    operation: str
    trailers: dict[str, str]
    """From which the phase's change can be computed again."""
    state: Snapshot
    """The state after it."""


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

    def report_bytes(self, provenance: dict[str, Any]) -> bytes:
        """Return the content of ``update/report.json``; ``provenance`` says what it is made of."""
        return self.result.to_bytes(
            {
                "training_steps": self.training_steps,
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
                subject=f"{step.operation.capitalize()} {facts}: {names}",
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
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, repository: Repository, until_published: ExitStack) -> Trained:
        """Train and measure; tensor files go to ``repository``, and no ref moves.

        From the first file that is stored, `gc` is kept away until ``until_published`` ends.

        Raises:
            TrainingFailed: no usable result.
            BaseModelUnavailable: the base can't be loaded.
        """
        from adapterstore.learning.phases import forget_then_learn

        earlier = [Probe(prompt=e.prompt, answer=e.answer) for e in self.retained.entries]
        phrasings = self.retained.phrasings(self.recipe.retained_facts, self.recipe.seed)
        standing = self.known.standing
        with self._timed("loading"):
            model, tokenizer = self._load(repository, self.start.composition)
        steps: list[Step] = []

        def keep(operation: str, coefficient: Decimal, phase: PhaseResult) -> None:
            if not steps:
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
                stored_dtype=stored_dtype(self.base_folder),
                forgotten=forgotten,
                progress=self.progress,
            )
        if outcome.forget is not None and outcome.coefficient is not None and not steps:
            keep("forget", -outcome.coefficient, outcome.forget)
        if outcome.learn is not None:
            keep("learn", ONE, outcome.learn)
        if not steps:
            raise TrainingFailed("update", "; ".join(outcome.notes) or "nothing was to be changed")
        with self._timed("measuring"):
            self.progress.start("measuring")
            # Training has changed the model that it was given: start from the files again.
            measurement = Measurement(
                repository,
                self.answers,
                lambda: self._load(repository, Composition()),
                stored_dtype(self.base_folder),
            )
            report, said = measurement.measure(
                self.start.composition,
                steps[-1].state.composition,
                outcome.facts,
                self.guarded,
                earlier,
                outcome.control,
            )
        refusals = self.gate.refusals(report)
        result = UpdateResult(
            update=self.update,
            status="rejected" if refusals else "applied",
            commits=[],
            report=report,
            coefficient=_text(outcome.coefficient),
            curve=[candidate.to_dict() for candidate in outcome.curve],
            reasons=[refusal.reason for refusal in refusals],
            refused=[refusal.to_dict() for refusal in refusals],
            seconds=self.seconds,
            notes=[*self.notes, *outcome.notes, *self._notes(), *said],
        )
        return Trained(
            result,
            steps,
            len(self.facts),
            outcome.steps,
            self.retained,
            self.guarded,
            outcome.recipe,
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
        yield
        self.seconds[stage] = time.monotonic() - started


def _text(coefficient: Decimal | None) -> str | None:
    return format_coefficient(coefficient) if coefficient is not None else None
