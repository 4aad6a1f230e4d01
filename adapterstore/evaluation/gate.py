"""The gate: which figures an update must reach before a branch moves to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapterstore.evaluation.metrics import NAMES, Report
from adapterstore.settings_model import SettingsModel

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Gate(SettingsModel):
    """The least share of each figure; None does not look at it. A figure not measured passes."""

    reliability: Share | None = 0.9
    generality: Share | None = 0.5
    locality: Share | None = 0.9
    retention: Share | None = 0.9
    forgetting: Share | None = 0.9
    portability: Share | None = None
    drift: bool | None = None
    """Whether an alarm of the drift monitor (settings ``drift``) refuses an update, too."""

    def check(self, report: Report) -> list[str]:
        """Return why an update is refused; an empty list lets it pass."""
        reasons = []
        scores = report.scores()
        for name in NAMES:
            least, score = getattr(self, name), scores.get(name)
            if least is not None and score is not None and score.value < least:
                reasons.append(
                    f"{name} {score.value:.2f} is below {least:g} ({score.right} of {score.asked})"
                )
        return reasons
