"""Norms, cosines and ranks of a difference, against the formed matrices."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.compare import ModuleDifference, compare, effective_rank, measure
from adapterstore.algebra.dense import Leaf
from adapterstore.algebra.leaves import LoraLeaf
from adapterstore.errors import CannotExport, ShapeMismatch
from adapterstore.history.viewing.statediff import total_of
from tests.algebra.making import (
    COEFFICIENTS,
    dense_leaf,
    dense_leaves,
    formed,
    lora_leaf,
    lora_leaves,
)

LAW = settings(derandomize=True, deadline=None, max_examples=30)
ONE = Decimal(1)
LORA_TERMS = st.lists(st.tuples(COEFFICIENTS, lora_leaves()), max_size=3)
ANY_TERMS = st.lists(st.tuples(COEFFICIENTS, st.one_of(lora_leaves(), dense_leaves())), max_size=3)


def check_against_formed(
    left: list[tuple[Decimal, Leaf]], right: list[tuple[Decimal, Leaf]]
) -> list[ModuleDifference]:
    sides = formed(left), formed(right)
    rows = compare(left, right)
    assert [row.name for row in rows] == sorted({*sides[0], *sides[1]})
    for row in rows:
        zero = torch.zeros_like((sides[0] | sides[1])[row.name])
        a, b = (side.get(row.name, zero) for side in sides)
        size = float(a.norm() + b.norm())
        assert row.norm_left == pytest.approx(float(a.norm()), rel=1e-9, abs=1e-9)
        assert row.norm_right == pytest.approx(float(b.norm()), rel=1e-9, abs=1e-9)
        assert row.norm_difference == pytest.approx(float((a - b).norm()), abs=1e-12 * size)
        if row.cosine is not None and min(a.norm(), b.norm()) > 1e-6:
            cosine = float((a * b).sum() / (a.norm() * b.norm()))
            assert row.cosine == pytest.approx(cosine, abs=1e-9)
    return rows


@given(left=LORA_TERMS, right=LORA_TERMS)
@LAW
def test_factors_give_what_the_formed_matrices_give(
    left: list[tuple[Decimal, Leaf]], right: list[tuple[Decimal, Leaf]]
) -> None:
    sides = formed(left), formed(right)
    for row in check_against_formed(left, right):
        for rank, side in zip((row.rank_left, row.rank_right), sides, strict=True):
            expected = (
                torch.linalg.matrix_rank(side[row.name], rtol=1e-6) if row.name in side else 0
            )
            assert rank == int(expected)


@given(left=ANY_TERMS, right=ANY_TERMS)
@LAW
def test_dense_terms_are_compared_too(
    left: list[tuple[Decimal, Leaf]], right: list[tuple[Decimal, Leaf]]
) -> None:
    dense = {
        name
        for _, leaf in (*left, *right)
        if not isinstance(leaf, LoraLeaf)
        for name in leaf.weights
    }
    for row in check_against_formed(left, right):
        assert (row.rank_left is None) == (row.name in dense)


def test_a_state_does_not_differ_from_itself() -> None:
    terms = [(Decimal("0.3"), lora_leaf(1, {"q": 3})), (ONE, lora_leaf(2, {"q": 2}))]
    (row,) = compare(terms, list(reversed(terms)))
    assert row.norm_difference == 0.0
    assert row.cosine == pytest.approx(1.0)
    assert row.rank_left == row.rank_right == 4  # The weight has only 4 columns.


def test_a_change_a_billion_times_smaller_than_the_state_is_seen() -> None:
    state = [(ONE, lora_leaf(1, {"q": 2}))]
    small = (Decimal("1e-9"), lora_leaf(2, {"q": 1}))
    (row,) = compare(state, [*state, small])
    expected = float(formed([small])["q.weight"].norm())
    assert row.norm_difference == pytest.approx(expected, rel=1e-5)


def test_the_rank_is_that_of_the_sum_not_of_its_factors() -> None:
    leaf = lora_leaf(1, {"q": 3})
    (row,) = compare([(Decimal(2), leaf), (ONE, leaf)], [])
    assert (row.rank_left, row.rank_right) == (3, 0)
    assert row.cosine is None


def test_opposite_states_have_cosine_minus_one() -> None:
    leaf = lora_leaf(1, {"embed": 2})
    (row,) = compare([(ONE, leaf)], [(Decimal("-0.5"), leaf)])
    assert row.cosine == pytest.approx(-1.0)
    assert math.isclose(row.norm_difference, 1.5 * row.norm_left, rel_tol=1e-12)


@given(terms=ANY_TERMS)
@LAW
def test_the_size_of_a_sum_is_that_of_the_formed_matrices(
    terms: list[tuple[Decimal, Leaf]],
) -> None:
    sums = formed(terms)
    rows = measure(terms)
    assert [row.name for row in rows] == sorted(sums)
    for row, compared in zip(rows, compare(terms, []), strict=True):
        assert row.norm == pytest.approx(float(sums[row.name].norm()), rel=1e-9, abs=1e-9)
        assert (row.rank, row.effective_rank) == (compared.rank_left, compared.effective_rank_left)
        if row.effective_rank is not None and row.norm > 1e-6:
            values = torch.linalg.svdvals(sums[row.name])
            shares = values / values.sum()
            entropy = -float(torch.special.xlogy(shares, shares).sum())
            assert row.effective_rank == pytest.approx(math.exp(entropy), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], 0), ([0, 0], 0), ([3], 1), ([2, 2, 2, 2], 4), ([5, 5, 0], 2), ([1, 1e-9], 1)],
)
def test_the_effective_rank_counts_directions_by_their_weight(
    values: list[float], expected: float
) -> None:
    assert effective_rank(values) == pytest.approx(expected, abs=1e-6)


def test_the_difference_of_two_states_has_a_rank_of_its_own() -> None:
    state = [(ONE, lora_leaf(1, {"q": 2}))]
    (row,) = compare(state, [*state, (ONE, lora_leaf(2, {"q": 1}))])
    assert (row.rank_left, row.rank_right, row.rank_difference) == (2, 3, 1)
    assert row.effective_rank_difference == pytest.approx(1.0)
    (same,) = compare(state, state)
    assert (same.rank_difference, same.effective_rank_difference) == (0, 0.0)


def test_two_empty_states_have_no_rows() -> None:
    assert compare([], []) == []


def test_states_of_different_models_are_refused() -> None:
    other = dense_leaf(1, ["q"])
    moved = {"v.weight": other.weights["q.weight"]}
    with pytest.raises(ShapeMismatch, match=r"v\.weight: lora 2 has shape \(3, 4\)"):
        compare([(ONE, lora_leaf(2, {"v": 1}))], [(ONE, type(other)("other", None, moved))])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_singular_values(value: float) -> None:
    leaf = lora_leaf(0, {"q": 2}, scaling=value)
    for figures in (lambda: compare([(ONE, leaf)], []), lambda: measure([(ONE, leaf)])):
        with pytest.raises(CannotExport, match=r"figures of q\.weight: lora 0 holds values"):
            figures()


def test_what_is_beyond_float64_has_no_figures_and_is_no_equality() -> None:
    leaf = lora_leaf(0, {"q": 2})
    factors = leaf.modules["q"]
    wide = replace(factors, load_a=lambda: 1e200 * factors.load_a().double(), scaling=1e200)
    huge = [(ONE, replace(leaf, modules={"q": wide}))]
    (row,) = compare([(ONE, leaf)], huge)
    assert not math.isfinite(row.norm_right)
    assert not math.isfinite(row.norm_difference)
    assert row.cosine is None
    assert total_of([row]).cosine is None
    (size,) = measure(huge)
    assert not math.isfinite(size.norm)
