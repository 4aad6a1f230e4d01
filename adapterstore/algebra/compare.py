"""How large a sum is and how two sums differ, module by module, by factors where it can."""

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
class ModuleSize:
    """How large a sum's change of one weight is."""

    name: str
    norm: float
    """Frobenius norm ‖ΔW‖."""
    rank: int | None
    """Numerical rank; None: a dense term changes the weight, and no spectrum was computed."""
    effective_rank: float | None
    """exp(−Σ pᵢ ln pᵢ) of pᵢ = σᵢ / Σσ (Roy and Vetterli, 2007): how many directions the change is
    spread over, from 1 to the rank; 0 for no change. None as for the rank."""


@dataclass(frozen=True)
class ModuleDifference:
    """One weight of two states; ranks are None where a dense term changes it (see `ModuleSize`)."""

    name: str
    norm_left: float
    norm_right: float
    norm_difference: float
    cosine: float | None
    """⟨ΔL, ΔR⟩ / (‖ΔL‖·‖ΔR‖); None if one of them is 0, or beyond float64."""
    rank_left: int | None
    rank_right: int | None
    rank_difference: int | None
    effective_rank_left: float | None
    effective_rank_right: float | None
    effective_rank_difference: float | None


def measure(terms: Terms) -> list[ModuleSize]:
    """Return the size of Σ cᵢ·ΔWᵢ for each weight that it changes, by name; see `compare`.

    Raises:
        ShapeMismatch: two terms give one weight different shapes.
        NotLinear: two LoRA terms disagree on how they are laid out.
        CannotExport: a term is not finite.
    """
    total = DenseSum(terms)
    rows = []
    for name in total:
        factors = _factors(terms, name)
        if factors is None:
            rows.append(ModuleSize(name, float(total[name].load().norm()), None, None))
            continue
        values = _singular_values(factors)
        rank = _rank(values, _longer_side(factors))
        rows.append(ModuleSize(name, math.hypot(*values), rank, effective_rank(values)))
    return rows


def effective_rank(values: Sequence[float]) -> float:
    """Return exp(H(p)), with pᵢ = σᵢ / Σσ and H the entropy in nats; 0 if all σ are 0."""
    total = math.fsum(values)
    if total == 0:
        return 0.0
    shares = [value / total for value in values if value > 0]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))


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
            pair = scaled_b(coefficient, factors), factors.load_a().to(torch.float64)
            if not all(bool(part.isfinite().all()) for part in pair):
                raise CannotExport(
                    f"figures of {name}", f"{leaf.label} holds values that are not finite"
                )
            found.append(pair)
    return found


def _compare_factors(name: str, left: list[Factors], right: list[Factors]) -> ModuleDifference:
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
    size = _longer_side(left or right)
    return _row(
        name,
        tuple(math.hypot(*each) for each in values),
        inner,
        [(_rank(each, size), effective_rank(each)) for each in values],
    )


def _longer_side(factors: list[Factors]) -> int:
    b, a = factors[0]
    return max(b.shape[0], a.shape[1])


def _singular_values(factors: list[Factors]) -> list[float]:
    """Return the singular values of Σ B·A, largest first; none if there are no factors.

    All are NaN where the product is too large for float64.
    """
    import torch

    if not factors:
        return []
    b = torch.cat([b for b, _ in factors], 1)
    a = torch.cat([a for _, a in factors], 0)
    core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
    if not bool(core.isfinite().all()):
        # Beyond float64, though the factors are not: no figure is one.
        return [math.nan] * len(core)
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
    return _row(name, norms, float((a * b).sum()), [(None, None)] * 3)


def _row(
    name: str,
    norms: tuple[float, ...],
    inner: float,
    ranks: Sequence[tuple[int | None, float | None]],
) -> ModuleDifference:
    """Return a row; norms and ranks (numerical, effective) are those of ΔL, ΔR and ΔL − ΔR."""
    left, right, difference = norms
    cosine = inner / (left * right) if left and right else math.nan
    # A difference that is rounding has no directions either.
    apart = difference > _ROUNDING * (left + right) or not math.isfinite(difference)
    of_difference = ranks[2] if apart or ranks[2][0] is None else (0, 0.0)
    return ModuleDifference(
        name=name,
        norm_left=left,
        norm_right=right,
        norm_difference=difference if apart else 0.0,
        cosine=max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None,
        rank_left=ranks[0][0],
        rank_right=ranks[1][0],
        rank_difference=of_difference[0],
        effective_rank_left=ranks[0][1],
        effective_rank_right=ranks[1][1],
        effective_rank_difference=of_difference[1],
    )
