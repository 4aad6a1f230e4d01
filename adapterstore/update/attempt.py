"""One run of forget-then-learn: train, compose, and measure exactly what an export would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.history.snapshot import Snapshot
from adapterstore.history.updates import Phase
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository
from adapterstore.update.result import UpdateResult

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.history.store import Store
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
