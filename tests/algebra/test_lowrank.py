"""Laws of the materialized adapter, against dense float64."""

import dataclasses
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.leaves import LoraLeaf
from adapterstore.algebra.lowrank import MaterializedLora, materialize_lora
from adapterstore.errors import CannotExport, NotLinear, ShapeMismatch
from tests.algebra.making import COEFFICIENTS, distance, formed, lora_leaf, lora_leaves, size

LAW = settings(derandomize=True, deadline=None, max_examples=40)
FLOAT32 = 1e-6
ONE = Decimal(1)
TERMS = st.lists(st.tuples(COEFFICIENTS, lora_leaves()), min_size=1, max_size=4)


def product(lora: MaterializedLora) -> dict[str, torch.Tensor]:
    """ΔW of an adapter as its tensors and its config say."""
    found = {}
    for key, a in lora.tensors.items():
        name = key.removeprefix("base_model.model.")
        scaling = lora.config["lora_alpha"] / lora.config["r"]
        if name.endswith(".lora_A.weight"):
            b = lora.tensors[key.replace("lora_A", "lora_B")]
            found[name.replace(".lora_A", "")] = scaling * (b.double() @ a.double())
        elif name.endswith(".lora_embedding_A"):
            b = lora.tensors[key.replace("embedding_A", "embedding_B")]
            change = scaling * (b.double() @ a.double()).T
            found[name.replace(".lora_embedding_A", ".weight")] = change
    return found


@given(terms=TERMS)
@LAW
def test_it_is_the_sum_of_its_terms(terms: list[tuple[Decimal, LoraLeaf]]) -> None:
    assert distance(product(materialize_lora(terms)), formed(terms)) <= FLOAT32 * size(terms)


@given(both=TERMS.flatmap(lambda terms: st.tuples(st.just(terms), st.permutations(terms))))
@LAW
def test_the_sum_does_not_depend_on_the_order(
    both: tuple[list[tuple[Decimal, LoraLeaf]], list[tuple[Decimal, LoraLeaf]]],
) -> None:
    left, right = (product(materialize_lora(terms)) for terms in both)
    assert distance(left, right) <= 1e-14 * size(both[0])


@given(terms=TERMS, factor=COEFFICIENTS)
@LAW
def test_scaling_the_coefficients_scales_the_sum(
    terms: list[tuple[Decimal, LoraLeaf]], factor: Decimal
) -> None:
    scaled = [(factor * coefficient, leaf) for coefficient, leaf in terms]
    expected = {name: float(factor) * w for name, w in product(materialize_lora(terms)).items()}
    assert distance(product(materialize_lora(scaled)), expected) <= FLOAT32 * size(scaled)


@given(left=TERMS, right=TERMS)
@LAW
def test_the_sum_of_two_sums_is_the_sum_of_all_terms(
    left: list[tuple[Decimal, LoraLeaf]], right: list[tuple[Decimal, LoraLeaf]]
) -> None:
    together = product(materialize_lora([*left, *right]))
    parts = product(materialize_lora(left)), product(materialize_lora(right))
    expected = {
        name: sum((part[name] for part in parts if name in part), torch.zeros(()))
        for name in {*parts[0], *parts[1]}
    }
    assert distance(together, expected) <= 1e-14 * size([*left, *right])


@given(leaf=lora_leaves(), coefficient=COEFFICIENTS)
@LAW
def test_adding_and_subtracting_one_delta_is_exactly_zero(
    leaf: LoraLeaf, coefficient: Decimal
) -> None:
    both = materialize_lora([(coefficient, leaf), (-coefficient, leaf)])
    for name, factors in leaf.modules.items():
        kind = "lora_embedding_{}" if factors.embedding else "lora_{}.weight"
        key = f"base_model.model.{name}.{kind}"
        a, b = both.tensors[key.format("A")], both.tensors[key.format("B")]
        half, end = factors.rank, 2 * factors.rank
        assert torch.equal(a[:half], a[half:end])
        assert torch.equal(b[:, :half], -b[:, half:end])
        assert not b[:, end:].any()


@given(terms=TERMS)
@LAW
def test_equal_terms_give_equal_bits(terms: list[tuple[Decimal, LoraLeaf]]) -> None:
    first, second = materialize_lora(terms), materialize_lora(terms)
    assert first.config == second.config
    assert list(first.tensors) == list(second.tensors)
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_every_module_has_one_rank_and_scaling_one_so_no_pattern_is_needed() -> None:
    lora = materialize_lora(
        [
            (Decimal("1"), lora_leaf(1, {"q": 2, "v": 5}, scaling=2.0)),
            (Decimal("-0.7"), lora_leaf(2, {"q": 1, "embed": 3}, scaling=0.25)),
        ]
    )
    assert lora.rank == 5
    assert lora.config == {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "org/base",
        "r": 5,
        "lora_alpha": 5,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["embed", "q", "v"],
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    assert {name: tuple(t.shape) for name, t in lora.tensors.items()} == lora.shapes
    assert lora.shapes == {
        "base_model.model.embed.lora_embedding_A": (5, 7),
        "base_model.model.embed.lora_embedding_B": (3, 5),
        "base_model.model.q.lora_A.weight": (5, 4),
        "base_model.model.q.lora_B.weight": (6, 5),
        "base_model.model.v.lora_A.weight": (5, 4),
        "base_model.model.v.lora_B.weight": (3, 5),
    }
    assert {t.dtype for t in lora.tensors.values()} == {torch.float32}


def test_coefficient_and_scaling_are_multiplied_in_float64_and_rounded_once() -> None:
    leaf = lora_leaf(1, {"q": 2}, scaling=16 / 3)
    lora = materialize_lora([(Decimal("0.1"), leaf)])
    factors = leaf.modules["q"]
    expected = (factors.load_b().double() * (0.1 * (16 / 3))).float()
    assert torch.equal(lora.tensors["base_model.model.q.lora_B.weight"], expected)
    assert torch.equal(lora.tensors["base_model.model.q.lora_A.weight"], factors.load_a())


def test_the_empty_sum_is_no_adapter() -> None:
    with pytest.raises(CannotExport, match="the empty sum as lora: it is the base model itself"):
        materialize_lora([])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_factors_that_are_not_finite_are_refused(value: float) -> None:
    leaf = lora_leaf(1, {"q": 2})
    broken = dataclasses.replace(leaf.modules["q"], load_a=lambda: torch.full((2, 4), value))
    with pytest.raises(CannotExport, match="module q: its factors hold values that are not finite"):
        dict(materialize_lora([(ONE, LoraLeaf("x", None, {"q": broken}))]).tensors)


def test_a_coefficient_that_leaves_float32_is_refused() -> None:
    with pytest.raises(CannotExport, match="not finite"):
        dict(materialize_lora([(Decimal("1e39"), lora_leaf(1, {"q": 2}))]).tensors)


def test_terms_that_do_not_agree_are_refused_with_both_named() -> None:
    left = lora_leaf(1, {"q": 2})
    wide = dataclasses.replace(left.modules["q"], in_features=9)
    table = dataclasses.replace(left.modules["q"], embedding=True, transposed=True)
    with pytest.raises(ShapeMismatch, match=r"q: lora 1 has shape \(6, 4\), but x has \(6, 9\)"):
        materialize_lora([(ONE, left), (ONE, LoraLeaf("x", None, {"q": wide}))])
    with pytest.raises(NotLinear, match=r"x: q .* an embedding here, but not in lora 1"):
        materialize_lora([(ONE, left), (ONE, LoraLeaf("x", None, {"q": table}))])
    with pytest.raises(NotLinear, match=r"lora 2: q with fan_in_fan_out=True .* lora 1 has the"):
        materialize_lora([(ONE, left), (ONE, lora_leaf(2, {"q": 2}, fan_in_fan_out=True))])


def test_what_terms_say_of_their_base_is_kept_where_they_agree() -> None:
    one = dataclasses.replace(lora_leaf(1, {"q": 2}), base_name="a", task_type="CAUSAL_LM")
    two = dataclasses.replace(one, base_name="b", task_type=None)
    config = materialize_lora([(ONE, one), (ONE, two)]).config
    assert config["base_model_name_or_path"] is None
    assert config["task_type"] == "CAUSAL_LM"
