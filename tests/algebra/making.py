"""Leaves of random numbers, and the dense float64 sums that the algebra is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

import torch
from hypothesis import strategies as st

from adapterstore.algebra.leaves import DenseLeaf, DenseWeight, LoraLeaf, LowRankFactors

Terms = Sequence[tuple[Decimal, LoraLeaf | DenseLeaf]]

SHAPES = {"q": (6, 4), "v": (3, 4), "up": (5, 3), "embed": (3, 7)}
"""Module → (out, in)."""

COEFFICIENTS = st.decimals(-3, 3, places=2).filter(bool)


def lora_leaf(
    seed: int,
    ranks: Mapping[str, int],
    scaling: float = 1.0,
    dtype: torch.dtype = torch.float32,
    fan_in_fan_out: bool = False,
) -> LoraLeaf:
    """Return a leaf with random factors of the given ranks."""
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for name, rank in ranks.items():
        rows, columns = SHAPES[name]
        a = torch.randn(rank, columns, generator=generator).to(dtype)
        b = torch.randn(rows, rank, generator=generator).to(dtype)
        modules[name] = LowRankFactors(
            rank=rank,
            scaling=scaling,
            in_features=columns,
            out_features=rows,
            embedding=name == "embed",
            transposed=name == "embed" or fan_in_fan_out,
            load_a=partial(torch.clone, a),
            load_b=partial(torch.clone, b),
        )
    return LoraLeaf(f"lora {seed}", "org/base", modules, fan_in_fan_out)


def dense_leaf(seed: int, names: Sequence[str], dtype: torch.dtype = torch.float32) -> DenseLeaf:
    """Return a leaf with random differences of the weights of some modules."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in names:
        shape = SHAPES[name][::-1] if name == "embed" else SHAPES[name]
        tensor = torch.randn(shape, generator=generator).to(dtype)
        weights[f"{name}.weight"] = DenseWeight(shape, partial(torch.clone, tensor))
    return DenseLeaf(f"dense {seed}", "org/base", weights)


@st.composite
def lora_leaves(draw: st.DrawFn) -> LoraLeaf:
    """Adapters of differing ranks, scalings, dtypes and target modules."""
    return lora_leaf(
        seed=draw(st.integers(0, 2**31)),
        ranks=draw(st.dictionaries(st.sampled_from(list(SHAPES)), st.integers(1, 5), min_size=1)),
        scaling=draw(st.sampled_from([0.5, 1.0, 2.0, 16 / 3, 2**0.5])),
        dtype=draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])),
    )


@st.composite
def dense_leaves(draw: st.DrawFn) -> DenseLeaf:
    """Dense differences of some weights."""
    names = draw(st.lists(st.sampled_from(list(SHAPES)), unique=True, min_size=1))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return dense_leaf(draw(st.integers(0, 2**31)), names, dtype)


def formed(terms: Terms) -> dict[str, torch.Tensor]:
    """Return Σ cᵢ·ΔWᵢ by weight name, computed in float64 as the definition says."""
    total: dict[str, torch.Tensor] = {}
    for coefficient, leaf in terms:
        for name, change in changes(leaf).items():
            total[name] = total.get(name, torch.zeros_like(change)) + float(coefficient) * change
    return total


def changes(leaf: LoraLeaf | DenseLeaf) -> dict[str, torch.Tensor]:
    """Return ΔW by weight name, in float64."""
    if isinstance(leaf, DenseLeaf):
        return {name: weight.load().double() for name, weight in leaf.weights.items()}
    found = {}
    for name, factors in leaf.modules.items():
        product = factors.scaling * (factors.load_b().double() @ factors.load_a().double())
        found[f"{name}.weight"] = product.T if factors.transposed else product
    return found


def distance(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> float:
    """Return the largest ‖ΔL − ΔR‖ of all weights; one that a side lacks is 0 there."""
    return max(
        float((left.get(name, torch.zeros(())) - right.get(name, torch.zeros(()))).norm())
        for name in {*left, *right}
    )


def size(terms: Terms) -> float:
    """Return what rounding is relative to: the largest Σ |cᵢ|·‖Bᵢ‖·‖Aᵢ‖ of all weights."""
    totals: dict[str, float] = {}
    for coefficient, leaf in terms:
        if isinstance(leaf, LoraLeaf):
            for name, f in leaf.modules.items():
                norm = float(f.load_a().double().norm() * f.load_b().double().norm()) * f.scaling
                totals[name] = totals.get(name, 0.0) + abs(float(coefficient)) * norm
        else:
            for name, weight in leaf.weights.items():
                norm = float(weight.load().double().norm())
                module = name.removesuffix(".weight")
                totals[module] = totals.get(module, 0.0) + abs(float(coefficient)) * norm
    return max(totals.values())
