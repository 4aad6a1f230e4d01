"""Fold a sum of LoRA terms into one adapter of a chosen rank, without ever forming ΔW.

ΔW = B·A with ranks concatenated, B (out, R), A (R, in). From the QR decompositions B = Q₁R₁ and
Aᵀ = Q₂R₂ and the SVD R₁R₂ᵀ = U·S·Vᵀ of a matrix of the size of the ranks, the best approximation of
rank k is (Q₁U√S)[:, :k] · (√S·Vᵀ·Q₂ᵀ)[:k] (Eckart and Young 1936). Where k is the numerical rank,
nothing but rounding is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterstore.algebra.lowrank import (
    LoraTerm,
    MaterializedLora,
    check_terms_agree,
    factors_of_module,
    lora_config,
    lora_keys,
    scaled_b,
)
from adapterstore.errors import CannotExport
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch

_FLOAT32_PRECISION = 2.0**-23


@dataclass(frozen=True)
class CompactedLora:
    """One adapter in the place of a sum, and what it lost."""

    lora: MaterializedLora
    relative_error: float
    """‖ΔW − ΔW′‖ / ‖ΔW‖, Frobenius, over all modules together; rounding to float32 included."""
    rank_before: int
    """The largest concatenated rank of a module."""


def compact_lora(
    terms: Sequence[LoraTerm], rank: int | None = None, progress: Progress = NO_PROGRESS
) -> CompactedLora:
    """Return one adapter for a sum of LoRA terms, computed in float64, stored in float32.

    Memory is that of the result and of one module's factors.

    Args:
        terms: (coefficient, leaf), all of one base.
        rank: the most that a module may keep (None: its numerical rank, which loses nothing).
        progress: told of every module.

    Raises:
        CannotExport: no terms, a sum that is 0 everywhere, or a tensor that is not finite.
        ShapeMismatch, NotLinear: the terms can't be summed.
    """

    if not terms:
        raise CannotExport("the empty sum as lora", "it is the base model itself")
    check_terms_agree(terms)
    names = sorted({name for _, leaf in terms for name in leaf.modules})
    progress.start("folding terms together", len(names))
    folded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    before = lost = total = 0.0
    for name in names:
        b, a = _concatenated(terms, name)
        before = max(before, a.shape[0])
        kept_b, kept_a, norm = _fold(b, a, rank)
        if kept_a.shape[0]:
            folded[name] = kept_b, kept_a
        total += norm**2
        lost += _distance(b, a, kept_b, kept_a) ** 2
        progress.advance()
    if not folded:
        raise CannotExport("the sum as lora", "its terms cancel out: it is the base model itself")
    largest = max(a.shape[0] for _, a in folded.values())
    tensors: dict[str, torch.Tensor] = {}
    for name, (b, a) in folded.items():
        key_a, key_b = lora_keys(name, factors_of_module(terms, name)[0][1].embedding)
        tensors[key_a] = _filled(a, (largest, a.shape[1]))
        tensors[key_b] = _filled(b, (b.shape[0], largest))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    lora = MaterializedLora(lora_config(terms, sorted(folded), largest), tensors, shapes)
    return CompactedLora(lora, math.sqrt(lost / total), int(before))


def _concatenated(terms: Sequence[LoraTerm], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return B and A of one module in float64, coefficients and scalings in B."""
    import torch

    factors = factors_of_module(terms, name)
    b = torch.cat([scaled_b(coefficient, f) for coefficient, f in factors], 1)
    a = torch.cat([f.load_a().to(torch.float64) for _, f in factors], 0)
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise CannotExport(f"module {name}", "its factors hold values that are not finite")
    return b, a


def _fold(
    b: torch.Tensor, a: torch.Tensor, rank: int | None
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return B′ and A′ in float32, and ‖B·A‖."""
    import torch

    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, s, vt = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    # Far below what float32 can tell of the parts. ‖B‖·‖A‖ is their scale: where terms cancel, the
    # sum is far smaller than they are.
    scale = float(torch.linalg.matrix_norm(r_b, 2) * torch.linalg.matrix_norm(r_a, 2))
    threshold = scale * _FLOAT32_PRECISION / 32
    kept = int((s > threshold).sum())
    kept = kept if rank is None else min(kept, rank)
    root = s[:kept].sqrt()
    new_b = (q_b @ (u[:, :kept] * root)).to(torch.float32)
    new_a = ((root[:, None] * vt[:kept]) @ q_a.T).to(torch.float32)
    return new_b.contiguous(), new_a.contiguous(), float(s.norm())


def _distance(b: torch.Tensor, a: torch.Tensor, new_b: torch.Tensor, new_a: torch.Tensor) -> float:
    """Return ‖B·A − B′·A′‖ from the triangular factors alone."""
    import torch

    both_b = torch.cat([b, -new_b.to(torch.float64)], 1)
    both_a = torch.cat([a, new_a.to(torch.float64)], 0)
    core = torch.linalg.qr(both_b, mode="r").R @ torch.linalg.qr(both_a.T, mode="r").R.T
    return float(core.norm())


def _filled(tensor: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a tensor with zeros added at its end, up to a shape."""
    import torch

    if tuple(tensor.shape) == shape:
        return tensor
    filled = torch.zeros(shape, dtype=tensor.dtype)
    filled[: tensor.shape[0], : tensor.shape[1]] = tensor
    return filled
