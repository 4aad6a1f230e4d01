"""How two sums differ, module by module, without forming ΔW where factors are at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from adapterstore.algebra.dense import DenseSum, Leaf
from adapterstore.algebra.leaves import LoraLeaf
from adapterstore.algebra.lowrank import scaled_b

if TYPE_CHECKING:
    import torch

_ROUNDING = 1e-14
"""Relative size below which a difference of squares in float64 is rounding."""

Terms = Sequence[tuple[Decimal, Leaf]]


@dataclass(frozen=True)
class ModuleDifference:
    """One weight of two states: Frobenius norms, cosine, numerical ranks (None: not low-rank)."""

    name: str
    norm_left: float
    norm_right: float
    norm_difference: float
    cosine: float | None
    """⟨ΔL, ΔR⟩ / (‖ΔL‖·‖ΔR‖); None if one of them is 0."""
    rank_left: int | None
    rank_right: int | None


def compare(left: Terms, right: Terms) -> list[ModuleDifference]:
    """Return one row for each weight that either side changes, by name.

    Where every term is low-rank, with ΔL = B_L·A_L and ΔR = B_R·A_R (ranks concatenated),
    ⟨ΔL, ΔR⟩ = tr((B_Lᵀ·B_R)(A_R·A_Lᵀ)) needs matrices of the size of the ranks only; the rank is
    that of R_B·R_Aᵀ from the QR of B and Aᵀ. Other weights are formed one at a time.
    """
    sums = DenseSum(left), DenseSum(right)
    rows = []
    for name in sorted({*sums[0], *sums[1]}):
        factors = _factors(left, name), _factors(right, name)
        if factors[0] is not None and factors[1] is not None:
            rows.append(_compare_factors(name, factors[0], factors[1]))
        else:
            rows.append(_compare_dense(name, *sums))
    return rows


def _factors(terms: Terms, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the concatenated (B, A) of a weight in float64; None if a dense term changes it."""
    import torch

    module = name.removesuffix(".weight")
    parts_b, parts_a = [], []
    for coefficient, leaf in terms:
        if isinstance(leaf, LoraLeaf):
            if module in leaf.modules:
                parts_b.append(scaled_b(coefficient, leaf.modules[module]))
                parts_a.append(leaf.modules[module].load_a().to(torch.float64))
        elif name in leaf.weights:
            return None
    if not parts_b:
        empty = torch.zeros(0, 0, dtype=torch.float64)
        return empty, empty
    return torch.cat(parts_b, 1), torch.cat(parts_a, 0)


def _compare_factors(
    name: str,
    left: tuple[torch.Tensor, torch.Tensor],
    right: tuple[torch.Tensor, torch.Tensor],
) -> ModuleDifference:
    squares = _inner(left, left), _inner(right, right)
    inner = _inner(left, right)
    return _row(name, squares, inner, (_rank(*left), _rank(*right)))


def _inner(
    left: tuple[torch.Tensor, torch.Tensor], right: tuple[torch.Tensor, torch.Tensor]
) -> float:
    if not left[0].numel() or not right[0].numel():
        return 0.0
    return float(((left[0].T @ right[0]) * (left[1] @ right[1].T)).sum())


def _rank(b: torch.Tensor, a: torch.Tensor) -> int:
    import torch

    if not b.numel():
        return 0
    core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
    values = torch.linalg.svdvals(core)
    # Factors are stored in float32 at best: what is below its precision is rounding, not rank.
    threshold = float(values[0]) * max(b.shape[0], a.shape[1]) * torch.finfo(torch.float32).eps
    return int((values > threshold).sum())


def _compare_dense(name: str, left: DenseSum, right: DenseSum) -> ModuleDifference:
    import torch

    shape = (left if name in left else right)[name].shape
    zero = torch.zeros(shape, dtype=torch.float64)
    a = left[name].load() if name in left else zero
    b = right[name].load() if name in right else zero
    squares = float((a * a).sum()), float((b * b).sum())
    return _row(name, squares, float((a * b).sum()), (None, None))


def _row(
    name: str, squares: tuple[float, float], inner: float, ranks: tuple[int | None, int | None]
) -> ModuleDifference:
    norms = math.sqrt(max(squares[0], 0.0)), math.sqrt(max(squares[1], 0.0))
    difference = squares[0] + squares[1] - 2 * inner
    if difference < _ROUNDING * (squares[0] + squares[1]):
        difference = 0.0
    cosine = inner / (norms[0] * norms[1]) if norms[0] and norms[1] else None
    return ModuleDifference(
        name=name,
        norm_left=norms[0],
        norm_right=norms[1],
        norm_difference=math.sqrt(difference),
        cosine=max(-1.0, min(1.0, cosine)) if cosine is not None else None,
        rank_left=ranks[0],
        rank_right=ranks[1],
    )
