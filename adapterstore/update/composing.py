"""Put what the phases of an update came to into the sum, one step each."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.dense import write_delta
from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.dense import match_weight
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.algebra.lowrank import MaterializedLora
from adapterstore.history.export import write_lora
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.snapshot import Snapshot
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.step import Step

if TYPE_CHECKING:
    from adapterstore.learning.phase_delta import PhaseResult


@dataclass
class Composing:
    """The steps of an update, from the state before it to the one after."""

    repository: Repository
    """Tensor files go there."""
    start: Snapshot
    base_folder: Path
    steps: list[Step]
    """Those that are there already are subtractions, which store nothing by themselves."""
    until_published: ExitStack
    """From the first file that is stored, `gc` is kept away until this ends."""
    progress: Progress
    _held: bool = False

    @property
    def state(self) -> Snapshot:
        """The state after the last step."""
        return self.steps[-1].state if self.steps else self.start

    @property
    def operations(self) -> list[str]:
        """The operations of the steps that were trained."""
        return [step.operation for step in self.steps if not step.manner]

    def add(self, operation: str, coefficient: Decimal, phase: PhaseResult) -> None:
        """Store a phase's delta and add it to the state."""
        self.hold()
        self.progress.start(f"storing what to {operation}")
        delta = self._store(phase)
        state = self.state
        composition = state.composition + delta.composition(operation).scaled(coefficient)
        after = replace(state, composition=composition, base=delta.fit(state.base))
        trailers = {"Scale": format_coefficient(coefficient), "Delta": str(delta.delta)}
        self.steps.append(Step(operation, trailers, after))

    def hold(self) -> None:
        """Keep `gc` away: what is stored from now on, no ref names yet."""
        if not self._held:
            self.until_published.enter_context(self.repository.writing())
            self._held = True

    def _store(self, phase: PhaseResult) -> IngestedDelta:
        base = self.start.base
        with self.repository.objects.scratch() as scratch:
            folder = scratch / "delta"
            if phase.kind == "lora":
                folder.mkdir()
                config = {**(phase.config or {}), "base_model_name_or_path": base.name}
                shapes = {name: tuple(tensor.shape) for name, tensor in phase.tensors.items()}
                write_lora(MaterializedLora(config, phase.tensors, shapes), folder)
            else:
                # A model and its files may name one weight differently; a delta is of the files.
                weights = {
                    match_weight(name, base.shapes) or name: DenseWeight(
                        tuple(tensor.shape), partial(phase.tensors.__getitem__, name)
                    )
                    for name, tensor in phase.tensors.items()
                }
                write_delta(folder, weights, base.name)
            return ingest(
                self.repository, folder, base, (), lambda: self.base_folder, self.progress
            )
