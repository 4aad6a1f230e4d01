"""How two sums differ, module by module, without forming ΔW where factors are at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from adapterstore.algebra.dense import DenseSum, Leaf, factors_of
from adapterstore.algebra.leaves import DenseLeaf
from adapterstore.algebra.lowrank import scaled_b
from adapterstore.errors import CannotExport

if TYPE_CHECKING:
    import torch

_ROUNDING = 1e-14
"""Relative size below which the norm of a difference in float64 is rounding."""

_FLOAT32_PRECISION = 2.0**-23

Terms = Sequence[tuple[Decimal, Leaf]]
Factors = tuple["torch.Tensor", "torch.Tensor"]
"""B (out, rank), with coefficient and scaling in it, and A (rank, in); float64."""


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

    Where every term is low-rank, with ΔL = B_L·A_L and ΔR = B_R·A_R (ranks concatenated), no ΔW is
    formed: ⟨ΔL, ΔR⟩ = tr((B_Lᵀ·B_R)(A_R·A_Lᵀ)) needs matrices of the size of the ranks only, and
    with the QR decompositions B = Q₁R₁ and Aᵀ = Q₂R₂, B·A has the norm and the singular values of
    R₁·R₂ᵀ. Other weights are formed one at a time.

    Raises:
        ShapeMismatch: two terms give one weight different shapes.
        NotLinear: two LoRA terms disagree on how they are laid out.
        CannotExport: a term is not finite.
    """
    DenseSum([*left, *right])  # Raises where the two sides disagree on a shape.
    sums = DenseSum(left), DenseSum(right)
    rows = []
    for name in sorted({*sums[0], *sums[1]}):
        factors = _factors(left, name), _factors(right, name)
        if factors[0] is not None and factors[1] is not None:
            rows.append(_compare_factors(name, factors[0], factors[1]))
        else:
            rows.append(_compare_dense(name, *sums))
    return rows


def _factors(terms: Terms, name: str) -> list[Factors] | None:
    """Return (B, A) of every term that changes a weight; None if a dense term does."""
    import torch

    found: list[Factors] = []
    for coefficient, leaf in terms:
        if isinstance(leaf, DenseLeaf):
            if name in leaf.weights:
                return None
        elif (factors := factors_of(leaf, name)) is not None:
            found.append((scaled_b(coefficient, factors), factors.load_a().to(torch.float64)))
    return found


def _compare_factors(name: str, left: list[Factors], right: list[Factors]) -> ModuleDifference:
    if not all(bool(part.isfinite().all()) for pair in (*left, *right) for part in pair):
        raise CannotExport(f"a comparison of {name}", "its terms hold values that are not finite")
    values = (
        _singular_values(left),
        _singular_values(right),
        _singular_values([*left, *((-b, a) for b, a in right)]),
    )
    inner = sum(
        float(((b_left.T @ b_right) * (a_left @ a_right.T)).sum())
        for b_left, a_left in left
        for b_right, a_right in right
    )
    b, a = (left or right)[0]
    size = max(b.shape[0], a.shape[1])
    return _row(
        name,
        tuple(math.hypot(*each) for each in values),
        inner,
        (_rank(values[0], size), _rank(values[1], size)),
    )


def _singular_values(factors: list[Factors]) -> list[float]:
    """Return the singular values of Σ B·A, largest first; none if there are no factors."""
    import torch

    if not factors:
        return []
    b = torch.cat([b for b, _ in factors], 1)
    a = torch.cat([a for _, a in factors], 0)
    core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
    return [float(value) for value in torch.linalg.svdvals(core)]


def _rank(values: list[float], size: int) -> int:
    # Factors are stored in float32 at best: what is below its precision is rounding, not rank.
    return sum(value > values[0] * size * _FLOAT32_PRECISION for value in values)


def _compare_dense(name: str, left: DenseSum, right: DenseSum) -> ModuleDifference:
    import torch

    shape = (left if name in left else right)[name].shape
    zero = torch.zeros(shape, dtype=torch.float64)
    a = left[name].load() if name in left else zero
    b = right[name].load() if name in right else zero
    norms = float(a.norm()), float(b.norm()), float((a - b).norm())
    return _row(name, norms, float((a * b).sum()), (None, None))


def _row(
    name: str, norms: tuple[float, ...], inner: float, ranks: tuple[int | None, int | None]
) -> ModuleDifference:
    """Return a row; ``norms`` are those of ΔL, ΔR and ΔL − ΔR."""
    left, right, difference = norms
    cosine = inner / (left * right) if left and right else None
    return ModuleDifference(
        name=name,
        norm_left=left,
        norm_right=right,
        norm_difference=difference if difference > _ROUNDING * (left + right) else 0.0,
        cosine=max(-1.0, min(1.0, cosine)) if cosine is not None else None,
        rank_left=ranks[0],
        rank_right=ranks[1],
    )
