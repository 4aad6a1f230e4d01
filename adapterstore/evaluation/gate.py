"""The gate: which figures an update must reach before a branch moves to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from adapterstore.evaluation.metrics import Report, Score
from adapterstore.knowledge.figures import FIGURES
from adapterstore.settings_model import SettingsModel

Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class Refusal:
    """One threshold that an update missed."""

    metric: str
    threshold: float
    score: Score

    @property
    def short_by(self) -> float:
        """By how much the share is below the threshold."""
        return self.threshold - self.score.value

    @property
    def reason(self) -> str:
        """The refusal in a line."""
        value = f"{self.score.value:.2f}"
        if float(value) >= self.threshold:
            value = f"{self.score.value:.4f}"
        return (
            f"{self.metric} {value} is below {self.threshold:g} by {self.short_by:.2g} "
            f"({self.score.right} of {self.score.asked})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the refusal as JSON values; ``prompts`` are those that broke."""
        return {
            "metric": self.metric,
            "threshold": self.threshold,
            "value": self.score.value,
            "short_by": self.short_by,
            "right": self.score.right,
            "asked": self.score.asked,
            "prompts": [failure.to_dict() for failure in self.score.failures],
        }


class Gate(SettingsModel):
    """The least share of each figure; None does not look at it. A figure not measured passes."""

    reliability: Share | None = 0.9
    generality: Share | None = 0.5
    locality: Share | None = 0.9
    retention: Share | None = 0.9
    suite: Share | None = 1.0
    """What is in the regression suite must stay: of its prompts, every one."""
    protected: Share | None = 1.0
    """No update may change a protected fact, and none may lose it on the way."""
    forgetting: Share | None = 0.9
    forgetting_earlier: Share | None = 0.9
    portability: Share | None = None
    locality_base: Share | None = None
    """Drift from the base model, which many updates add up to."""
    drift: bool | None = None
    """Whether an alarm of the drift monitor (settings ``drift``) refuses an update, too."""

    def refusals(self, report: Report) -> list[Refusal]:
        """Return every threshold that a report misses; an empty list lets it pass."""
        missed = []
        scores = report.scores()
        for name in FIGURES:
            least, score = getattr(self, name), scores.get(name)
            if least is not None and score is not None and score.value < least:
                missed.append(Refusal(name, least, score))
        return missed

    def check(self, report: Report) -> list[str]:
        """Return why an update is refused; an empty list lets it pass."""
        return [refusal.reason for refusal in self.refusals(report)]
