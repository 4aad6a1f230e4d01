"""What training an update gave, before anything of it is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterstore.counting import counted
from adapterstore.history.compacting import Compaction
from adapterstore.history.ledger.known import Retained
from adapterstore.history.updates import Phase
from adapterstore.update.measuring import Guarded
from adapterstore.update.result import UpdateResult
from adapterstore.update.step import Step

if TYPE_CHECKING:
    from adapterstore.learning.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """What training gave, measured: the phases to publish, and the figures."""

    result: UpdateResult
    steps: list[Step]
    taught: Mapping[str, int]
    """Operation → of how many facts that phase was trained."""
    training_steps: dict[str, int]
    retained: Retained
    guarded: Guarded
    recipe: Recipe
    """As it was trained: what the architecture decides is filled in."""
    compaction: Compaction | None = None
    """What folds the sum after the last phase; the figures are of the folded state."""

    @property
    def hangs_on_its_id(self) -> bool:
        """Whether the update's id decided what was drawn of the ledger or of the suite."""
        suite = self.guarded.drawn
        return self.retained.by_seed or 0 < len(suite.prompts) < suite.total

    def report_bytes(self, provenance: dict[str, Any]) -> bytes:
        """Return the content of ``update/report.json``; ``provenance`` says what it is made of."""
        compaction = {} if self.compaction is None else {"compaction": self.compaction.to_dict()}
        return self.result.to_bytes(
            {
                "training_steps": self.training_steps,
                **compaction,
                "retained_facts": {"asked": self.retained.drawn, "of": self.retained.total},
                "suite_prompts": {
                    "asked": len(self.guarded.suite),
                    "of": self.guarded.drawn.total,
                },
                "provenance": provenance,
            }
        )

    def phases(self, names: str) -> list[Phase]:
        """Return the commits to make; ``names`` says which fact files they are of."""

        def facts(step: Step) -> str:
            return counted(step.facts or self.taught[step.operation], "facts")

        return [
            Phase(
                operation=step.operation,
                subject=" ".join(
                    filter(None, [step.operation.capitalize(), facts(step), step.manner])
                )
                + f": {names}",
                composition=step.state.composition,
                base=step.state.base,
                trailers=step.trailers,
            )
            for step in self.steps
        ]
