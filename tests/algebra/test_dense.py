"""Laws of sums of low-rank and dense terms, against dense float64."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.dense import DenseSum, Leaf, match_weight
from adapterstore.algebra.leaves import DenseLeaf, DenseWeight
from adapterstore.errors import CannotExport, NotLinear, ShapeMismatch
from tests.algebra.making import (
    COEFFICIENTS,
    dense_leaf,
    dense_leaves,
    distance,
    formed,
    lora_leaf,
    lora_leaves,
    size,
)

LAW = settings(derandomize=True, deadline=None, max_examples=60)
FLOAT64 = 1e-14
ONE = Decimal(1)
TERMS = st.lists(
    st.tuples(COEFFICIENTS, st.one_of(lora_leaves(), dense_leaves())), min_size=1, max_size=4
)


def loaded(total: Mapping[str, DenseWeight]) -> dict[str, torch.Tensor]:
    return {name: weight.load() for name, weight in total.items()}


@given(terms=TERMS)
@LAW
def test_it_is_the_sum_of_its_terms(terms: list[tuple[Decimal, Leaf]]) -> None:
    found = loaded(DenseSum(terms))
    assert set(found) == set(formed(terms))
    assert distance(found, formed(terms)) <= FLOAT64 * size(terms)
    assert {tensor.dtype for tensor in found.values()} == {torch.float64}


@given(terms=TERMS, factor=COEFFICIENTS)
@LAW
def test_it_is_linear_in_its_coefficients(
    terms: list[tuple[Decimal, Leaf]], factor: Decimal
) -> None:
    scaled = [(factor * coefficient, leaf) for coefficient, leaf in terms]
    expected = {name: float(factor) * w for name, w in loaded(DenseSum(terms)).items()}
    assert distance(loaded(DenseSum(scaled)), expected) <= FLOAT64 * size(scaled)


@given(leaf=st.one_of(lora_leaves(), dense_leaves()), coefficient=COEFFICIENTS)
@LAW
def test_adding_and_subtracting_one_delta_is_exactly_zero(leaf: Leaf, coefficient: Decimal) -> None:
    for tensor in loaded(DenseSum([(coefficient, leaf), (-coefficient, leaf)])).values():
        assert not tensor.any()


def test_names_come_in_order_with_their_shapes() -> None:
    total = DenseSum([(ONE, lora_leaf(1, {"v": 1, "embed": 1})), (ONE, dense_leaf(2, ["q"]))])
    assert {name: weight.shape for name, weight in total.items()} == {
        "embed.weight": (7, 3),
        "q.weight": (6, 4),
        "v.weight": (3, 4),
    }
    assert list(total) == ["embed.weight", "q.weight", "v.weight"]
    assert len(total) == 3


def test_a_conv1d_weight_changes_by_the_transpose() -> None:
    leaf = lora_leaf(1, {"q": 2}, fan_in_fan_out=True)
    assert DenseSum([(ONE, leaf)])["q.weight"].load().shape == (4, 6)


def test_a_sum_read_twice_is_the_same_sum() -> None:
    """What is loaded may be its owner's own tensor: changed in place, it would stay changed."""
    tensor = torch.arange(4, dtype=torch.float64)
    leaf = DenseLeaf("x", None, {"w": DenseWeight((4,), lambda: tensor)})
    total = DenseSum([(Decimal(-3), leaf), (Decimal(1), leaf)])
    assert total["w"].load().tolist() == [0, -2, -4, -6]
    assert total["w"].load().tolist() == [0, -2, -4, -6]


def test_terms_that_do_not_agree_are_refused_with_both_named() -> None:
    other = DenseLeaf("other", None, {"q.weight": DenseWeight((6, 5), lambda: torch.ones(6, 5))})
    with pytest.raises(ShapeMismatch, match=r"lora 1 has shape \(6, 4\), but other has \(6, 5\)"):
        DenseSum([(ONE, lora_leaf(1, {"q": 2})), (ONE, other)])
    with pytest.raises(NotLinear, match="lora 2: q with fan_in_fan_out=True"):
        DenseSum(
            [(ONE, lora_leaf(1, {"q": 1})), (ONE, lora_leaf(2, {"q": 1}, fan_in_fan_out=True))]
        )


def test_values_that_are_not_finite_are_refused() -> None:
    leaf = dense_leaf(1, ["q"])
    broken = DenseWeight((6, 4), lambda: torch.full((6, 4), float("nan")))
    with pytest.raises(CannotExport, match=r"weight q\.weight: its terms hold values that are not"):
        DenseSum([(ONE, dataclasses.replace(leaf, weights={"q.weight": broken}))])[
            "q.weight"
        ].load()


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("model.q.weight", ["model.q.weight", "q.weight"], "model.q.weight"),
        ("h.0.q.weight", ["transformer.h.0.q.weight"], "transformer.h.0.q.weight"),
        ("transformer.h.0.q.weight", ["h.0.q.weight", "h.1.q.weight"], "h.0.q.weight"),
        ("norm.weight", ["model.norm.weight", "model.layers.0.norm.weight"], None),
        ("q.weight", ["xq.weight"], None),
        ("q.weight", [], None),
    ],
)
def test_a_prefix_may_be_missing_on_either_side_but_nothing_is_guessed(
    name: str, names: list[str], found: str | None
) -> None:
    assert match_weight(name, names) == found
