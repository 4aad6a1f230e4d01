"""When the drift monitor raises an alarm."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapterstore.settings_model import SettingsModel

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DriftSettings(SettingsModel):
    """Bounds on the way from the base; None does not look at one."""

    monitor: bool = True
    """Whether updates measure drift at all."""
    held_text: str | None = None
    """A text file whose perplexity is watched; None: texts sampled from the base, seed 0."""
    perplexity_rise: Factor | None = 0.5
    """Alarm where the held text's perplexity is higher than the base's by more than this share."""
    norm_growth: Factor | None = 2.0
    """Alarm where ‖ΔW‖ grew, over the last ``window`` updates, by more than so many times what it
    grew over the ``window`` before them: faster than linear."""
    retention: Share | None = 0.9
    """Alarm where the mean retention of the last ``window`` updates is below."""
    locality: Share | None = 0.9
    """Alarm where the mean locality of the last ``window`` updates is below."""
    window: Annotated[int, Field(ge=2, le=1000)] = 5
    """How many updates make a trend."""
