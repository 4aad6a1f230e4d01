"""Which λ to forget with: the rule, apart from any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adapterstore.algebra.coefficient import format_coefficient


@dataclass(frozen=True)
class Candidate:
    """What forward passes showed of one λ."""

    coefficient: Decimal
    old_answers: float
    """Share of old answers still given."""
    control: float
    """Share of the control set that is answered as before."""

    def to_dict(self) -> dict[str, Any]:
        """Return the candidate as JSON values."""
        return {
            "coefficient": format_coefficient(self.coefficient),
            "old_answers": round(self.old_answers, 4),
            "control": round(self.control, 4),
        }


def choose_coefficient(curve: Sequence[Candidate], target: float, floor: float) -> Candidate | None:
    """Return the smallest λ that brings the old answers to ``target`` and keeps the control set.

    Among the λs that keep the control set at ``floor`` or above: the smallest that reaches the
    target; if none does, the smallest of those that leave the fewest old answers. None: no λ keeps
    the control set.
    """
    kept = sorted((c for c in curve if c.control >= floor), key=lambda c: c.coefficient)
    for candidate in kept:
        if candidate.old_answers <= target:
            return candidate
    return min(kept, key=lambda c: c.old_answers) if kept else None
