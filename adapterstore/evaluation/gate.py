"""The gate: which figures an update must reach before a branch moves to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.metrics import NAMES, Report

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Gate(BaseModel):
    """The least share of each figure; None does not look at it. A figure not measured passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reliability: Share | None = 0.9
    generality: Share | None = 0.5
    locality: Share | None = 0.9
    retention: Share | None = 0.9
    forgetting: Share | None = 0.9
    portability: Share | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Gate:
        """Return the gate of some settings; raise `InvalidSetting` for what is wrong in them."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise invalid_setting(error, where) from error

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


def invalid_setting(error: ValidationError, where: str) -> InvalidSetting:
    """Return pydantic's first complaint as one line."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return InvalidSetting(f"{where}.{name}", "there is no such setting")
    return InvalidSetting(f"{where}.{name}", f"{first['msg']} (it is {first['input']!r})")
