"""One run of forget-then-learn: train, compose, and measure exactly what an export would give."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.coefficient import ONE, format_coefficient
from adapterstore.errors import TrainingFailed
from adapterstore.history.attach import attach_composition
from adapterstore.history.export import write_lora
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.snapshot import Snapshot
from adapterstore.history.updates import Phase
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.knowledge.ledger import LedgerEntry, old_answer
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.result import UpdateResult

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.history.store import Store
    from adapterstore.learning.phases import PhaseResult
    from adapterstore.learning.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """What training gave, measured: the phases to publish, and the figures."""

    result: UpdateResult
    steps: list[tuple[str, str, Snapshot]]
    """Operation, scale, and the state after it."""
    fact_count: int

    def phases(self, names: str) -> list[Phase]:
        """Return the commits to make; ``names`` says which fact files they are of."""
        facts = f"{self.fact_count} fact{'' if self.fact_count == 1 else 's'}"
        return [
            Phase(
                operation=operation,
                subject=f"{operation.capitalize()} {facts}: {names}",
                composition=state.composition,
                base=state.base,
                scale=scale,
            )
            for operation, scale, state in self.steps
        ]


@dataclass
class Attempt:
    """The inputs of one run; `run` does the work."""

    store: Store
    start: Snapshot
    base_folder: Path
    facts: list[Fact]
    ledger: Mapping[str, LedgerEntry]
    recipe: Recipe
    gate: Gate
    update: UpdateId
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, repository: Repository) -> Trained:
        """Train and measure; tensor files go to ``repository``, and no ref moves."""
        raise NotImplementedError
