"""Two states side by side: facts, coefficients and modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapterstore.algebra.compare import ModuleDifference, compare
from adapterstore.history.leaves import open_leaves
from adapterstore.history.snapshot import Snapshot
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Total:
    """All modules of two states taken together, as one long vector each."""

    norm_left: float
    norm_right: float
    norm_difference: float
    cosine: float | None
    """None if one of the states is the base model itself, or beyond float64."""

    def to_dict(self) -> dict[str, Any]:
        """Return the total as JSON values."""
        return {
            "norm_left": self.norm_left,
            "norm_right": self.norm_right,
            "norm_difference": self.norm_difference,
            "cosine": self.cosine,
        }


def compare_modules(
    repository: Repository, left: Snapshot, right: Snapshot, progress: Progress = NO_PROGRESS
) -> list[ModuleDifference]:
    """Return how two states differ, one row for each weight that either changes.

    Raises:
        CorruptStore, ObjectMissing: a delta is not what its id says.
        ShapeMismatch, NotLinear: they are states of different models.
    """
    with (
        open_leaves(repository, left.composition, progress) as before,
        open_leaves(repository, right.composition, progress) as after,
    ):
        return compare(before.terms, after.terms)


def total_of(rows: Sequence[ModuleDifference]) -> Total:
    """Return norms and cosine over all modules."""
    left = math.hypot(*(row.norm_left for row in rows))
    right = math.hypot(*(row.norm_right for row in rows))
    inner = sum((row.cosine or 0.0) * row.norm_left * row.norm_right for row in rows)
    cosine = inner / (left * right) if left and right else math.nan
    return Total(
        norm_left=left,
        norm_right=right,
        norm_difference=math.hypot(*(row.norm_difference for row in rows)),
        cosine=max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None,
    )
