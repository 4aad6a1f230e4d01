"""Laws of folding terms together: exact at full rank, and elsewhere the error is the true one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.compact import compact_lora
from adapterstore.algebra.leaves import LoraLeaf, LowRankFactors
from adapterstore.errors import CannotExport, ShapeMismatch
from tests.algebra.making import COEFFICIENTS, distance, formed, lora_leaf, lora_leaves, size
from tests.algebra.test_lowrank import product

LAW = settings(derandomize=True, deadline=None, max_examples=40)
ONE = Decimal(1)
TERMS = st.lists(st.tuples(COEFFICIENTS, lora_leaves()), min_size=1, max_size=4)
Terms = list[tuple[Decimal, LoraLeaf]]
Weights = Mapping[str, torch.Tensor]


def norm(weights: Weights) -> float:
    """‖ΔW‖ over all weights together."""
    return math.hypot(*(float(weight.norm()) for weight in weights.values()))


def apart(left: Weights, right: Weights) -> float:
    """‖ΔL − ΔR‖ over all weights together; one that a side lacks is 0 there."""
    nothing = torch.zeros(())
    return norm({n: left.get(n, nothing) - right.get(n, nothing) for n in {*left, *right}})


@given(terms=TERMS)
@LAW
def test_without_a_rank_nothing_is_lost(terms: Terms) -> None:
    exact = formed(terms)
    if norm(exact) < 1e-6 * size(terms):
        return
    compacted = compact_lora(terms)
    assert distance(product(compacted.lora), exact) <= 1e-6 * size(terms)
    assert compacted.lora.rank <= compacted.rank_before


@given(terms=TERMS, rank=st.integers(1, 3))
@LAW
def test_the_error_stated_is_the_true_one(terms: Terms, rank: int) -> None:
    exact = formed(terms)
    if norm(exact) < 1e-6 * size(terms):
        return
    compacted = compact_lora(terms, rank)
    assert compacted.lora.rank <= rank
    true = apart(product(compacted.lora), exact) / norm(exact)
    assert compacted.relative_error == pytest.approx(true, rel=1e-2, abs=1e-8)


@given(terms=TERMS, rank=st.integers(1, 3))
@LAW
def test_no_adapter_of_that_rank_is_closer(terms: Terms, rank: int) -> None:
    exact = formed(terms)
    if norm(exact) < 1e-6 * size(terms):
        return
    found = product(compact_lora(terms, rank).lora)
    for name, weight in exact.items():
        values = torch.linalg.svdvals(weight.double())
        best = float(values[rank:].norm())
        left = float((found.get(name, torch.zeros_like(weight)) - weight).norm())
        assert left <= best + 1e-6 * float(values.norm()) + 1e-9


def test_equal_terms_take_one_rank() -> None:
    leaf = lora_leaf(1, {"q": 2, "v": 1})
    compacted = compact_lora([(ONE, leaf), (Decimal("0.5"), leaf), (Decimal(-2), leaf)])
    assert compacted.lora.rank == 2
    assert compacted.rank_before == 6
    expected = formed([(Decimal("-0.5"), leaf)])
    assert apart(product(compacted.lora), expected) <= 1e-6 * norm(expected)


def test_a_module_that_cancels_out_is_left_out() -> None:
    one, other = lora_leaf(1, {"q": 2}), lora_leaf(2, {"v": 1})
    compacted = compact_lora([(ONE, one), (-ONE, one), (ONE, other)])
    assert compacted.lora.config["target_modules"] == ["v"]


def test_what_cancels_out_wholly_is_refused() -> None:
    leaf = lora_leaf(1, {"q": 2})
    with pytest.raises(CannotExport, match="cancel out"):
        compact_lora([(ONE, leaf), (-ONE, leaf)])
    with pytest.raises(CannotExport, match="the base model itself"):
        compact_lora([])


def test_factors_that_are_not_finite_are_refused() -> None:
    leaf = lora_leaf(1, {"q": 2})
    factors = leaf.modules["q"]
    broken = LowRankFactors(
        2, 1.0, 4, 6, False, False, lambda: torch.full((2, 4), torch.nan), factors.load_b
    )
    with pytest.raises(CannotExport, match="not finite"):
        compact_lora([(ONE, LoraLeaf("broken", None, {"q": broken}))])


def test_terms_of_different_shapes_are_refused() -> None:
    leaf = lora_leaf(1, {"q": 2})
    a, b = torch.zeros(2, 5), torch.zeros(6, 2)
    other = LowRankFactors(2, 1.0, 5, 6, False, False, partial(torch.clone, a), lambda: b)
    with pytest.raises(ShapeMismatch):
        compact_lora([(ONE, leaf), (ONE, LoraLeaf("other", None, {"q": other}))])


def many_terms(modules: int, features: int, terms: int, rank: int) -> Terms:
    """Terms whose factors are made when asked for, so that only what is kept takes memory."""

    def make(seed: int, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    found: Terms = []
    for term in range(terms):
        factors = {
            f"layer.{number}": LowRankFactors(
                rank,
                1.0,
                features,
                features,
                False,
                False,
                partial(make, 2 * (term * modules + number), rank, features),
                partial(make, 2 * (term * modules + number) + 1, features, rank),
            )
            for number in range(modules)
        }
        found.append((ONE, LoraLeaf(f"term {term}", "org/base", factors)))
    return found


def test_twenty_terms_of_rank_eight() -> None:
    terms = many_terms(modules=2, features=192, terms=20, rank=8)
    exact = formed(terms)
    whole = compact_lora(terms)
    assert whole.lora.rank == 160
    assert apart(product(whole.lora), exact) <= 1e-6 * norm(exact)
    assert whole.relative_error <= 1e-6
    cut = compact_lora(terms, 16)
    true = apart(product(cut.lora), exact) / norm(exact)
    assert cut.relative_error == pytest.approx(true, rel=0.01)
