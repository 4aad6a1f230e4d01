"""The rule by which the drift monitor raises an alarm, before a model collapses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterstore.history.viewing.drift import DriftPoint

if TYPE_CHECKING:
    from adapterstore.update.drift_settings import DriftSettings

LEAST = 3
"""Figures of so many updates make a trend; one alone is the gate's business."""


def find_alarms(points: Sequence[DriftPoint], settings: DriftSettings) -> list[str]:
    """Return what is wrong with the last of some points, oldest first; empty if nothing is.

    Four bounds: perplexity against the base's, growth of the norm against linear growth, and the
    means of retention and locality over the last ``window`` updates.
    """
    if not points:
        return []
    alarms = [_perplexity(points[-1], settings.perplexity_rise), _growth(points, settings)]
    recent = points[-settings.window :]
    for name, least in (("retention", settings.retention), ("locality", settings.locality)):
        values = [v for point in recent if (v := getattr(point, name)) is not None]
        if least is None or len(values) < LEAST:
            continue
        mean = sum(values) / len(values)
        if mean < least:
            alarms.append(
                f"{name} of the last {len(values)} updates is {mean:.3f} on average, below "
                f"drift.{name} ({least:g})"
            )
    return [alarm for alarm in alarms if alarm]


def _perplexity(point: DriftPoint, most: float | None) -> str:
    if most is None or point.perplexity is None or not point.base_perplexity:
        return ""
    rise = point.perplexity / point.base_perplexity - 1
    if rise <= most:
        return ""
    return (
        f"perplexity of the held text is {point.perplexity:.4g}, {rise:.0%} above the base's "
        f"{point.base_perplexity:.4g}; drift.perplexity_rise is {most:g}"
    )


def _growth(points: Sequence[DriftPoint], settings: DriftSettings) -> str:
    most, window = settings.norm_growth, settings.window
    if most is None or len(points) < 2 * window + 1:
        return ""
    start, middle, end = (points[i].norm for i in (-2 * window - 1, -window - 1, -1))
    earlier, recent = middle - start, end - middle
    if earlier <= 0 or recent <= most * earlier:
        return ""
    return (
        f"the norm of the change grew by {recent:.3g} in the last {window} updates, "
        f"{recent / earlier:.1f} times as much as in the {window} before; drift.norm_growth is "
        f"{most:g}"
    )
