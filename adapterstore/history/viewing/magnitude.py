"""How large a change is: norms and ranks by module, read from the tensors once and then kept."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from adapterstore.algebra.coefficient import ONE, ZERO, format_coefficient
from adapterstore.algebra.compare import ModuleSize, measure
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.leaves import open_leaves
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.cache import Cache
from adapterstore.store.repository import Repository

_KIND = "magnitude-1"
"""Folder of the cache; the number changes when what is kept in it does."""


@dataclass(frozen=True)
class Magnitude:
    """The size of a sum Σ cᵢ·Δᵢ."""

    modules: tuple[ModuleSize, ...]

    @property
    def norm(self) -> float:
        """Frobenius norm over all weights: √(Σ ‖ΔW‖²)."""
        return math.hypot(*(module.norm for module in self.modules))

    @property
    def rank(self) -> int | None:
        """The largest numerical rank of any weight; None if a dense delta takes part."""
        ranks = [module.rank for module in self.modules if module.rank is not None]
        return max(ranks, default=0) if len(ranks) == len(self.modules) else None


def magnitude(
    repository: Repository, change: Composition, progress: Progress = NO_PROGRESS
) -> Magnitude:
    """Return the size of a change.

    Tensors are read when it is asked for first; c·Δ shares what is kept with every other multiple
    of Δ, and a sum with its negative. In memory at once: one weight's factors, or one dense weight.

    Raises:
        CorruptStore, ObjectMissing: a delta is not what its id says.
        ShapeMismatch, NotLinear: the deltas can't be summed.
    """
    if not change.terms:
        return Magnitude(())
    kept, scale = _normalised(change)
    cache = Cache(repository.folder, _KIND)
    key = ",".join(f"{format_coefficient(term.coefficient)}*{term.delta}" for term in kept)
    sizes = _read(cache.read(key))
    if sizes is None:
        sizes = _measure(repository, kept, progress)
        cache.write(key, [asdict(size) for size in sizes])
    return Magnitude(
        tuple(
            ModuleSize(size.name, size.norm * scale, size.rank, size.effective_rank)
            for size in sizes
        )
    )


def _normalised(change: Composition) -> tuple[Composition, float]:
    """Return the sum to measure and what its norms are to be multiplied by."""
    first = change.terms[0]
    if len(change) == 1:
        return Composition((Term(first.delta, ONE, first.role),)), abs(float(first.coefficient))
    return (change if first.coefficient > ZERO else change.scaled(-ONE)), 1.0


def _measure(repository: Repository, change: Composition, progress: Progress) -> list[ModuleSize]:
    with open_leaves(repository, change, progress) as leaves:
        return measure(leaves.terms)


def _read(value: Any) -> list[ModuleSize] | None:
    try:
        return None if value is None else [ModuleSize(**row) for row in value]
    except TypeError:
        return None
