"""The recipe's bounds, and the rule that chooses λ."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.errors import InvalidSetting
from adapterstore.learning.architectures import ARCHITECTURES
from adapterstore.learning.loading import load_base
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.search import Candidate, choose_coefficient
from tests.learning.tiny import tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny_model(tmp_path_factory.mktemp("tiny"), "llama", torch.float32)
    return load_base(folder, "cpu")[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "dora"),
        ("rank", 0),
        ("learning_rate", -1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("coefficient", "0"),
        ("coefficient", "many"),
        ("coefficient", "101"),
        ("coefficient_grid", ["0.5", "-1"]),
        ("target_modules", "q_proj"),
        ("learn_steps", 0),
        ("preserve_weight", -0.5),
        ("control_floor", 1.5),
        ("seed", -1),
        ("chat_template", "yes please"),
        ("device_map", "balanced"),
        ("rnak", 4),
    ],
)
def test_what_makes_no_sense_is_named_in_one_line(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=rf"^recipe\.{name}[.:]") as raised:
        Recipe.parse({name: value}, "recipe")
    assert "\n" not in str(raised.value)


def test_a_recipe_reads_back_from_its_yaml() -> None:
    recipe = Recipe.parse({"coefficient": "0.70", "forget_method": "full"}, "recipe")
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml()), "recipe") == recipe
    assert recipe.coefficient == Decimal("0.7")
    assert (recipe.phase_method("forget"), recipe.phase_method("learn")) == ("full", "lora")


def test_a_recipe_in_a_commit_states_every_value() -> None:
    assert set(yaml.safe_load(Recipe().to_yaml())) == set(Recipe.model_fields)


def test_what_the_architecture_decides_is_filled_in(tiny: Any) -> None:
    recipe = Recipe(forget_method="full").for_model(tiny)
    assert (recipe.rank, recipe.alpha) == (16, 16)
    assert recipe.target_modules == ARCHITECTURES["llama"].target_modules
    assert recipe.phase_rate("learn") == pytest.approx(10 * recipe.phase_rate("forget"), rel=0.01)
    assert recipe.for_model(tiny) == recipe


def test_a_rate_that_is_given_holds_for_both_phases_unless_one_has_its_own(tiny: Any) -> None:
    both = Recipe(learning_rate=0.5, forget_method="full").for_model(tiny)
    assert (both.phase_rate("forget"), both.phase_rate("learn")) == (0.5, 0.5)
    own = Recipe(learning_rate=0.5, forget_learning_rate=0.25).for_model(tiny)
    assert (own.phase_rate("forget"), own.phase_rate("learn")) == (0.25, 0.5)


@pytest.mark.parametrize(("written", "read"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_yamls_bare_on_and_off_are_what_they_say(written: object, read: str) -> None:
    recipe = Recipe.parse({"chat_template": written}, "recipe")
    assert recipe.chat_template == read
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml()), "recipe") == recipe


def candidate(coefficient: str, old: float, control: float) -> Candidate:
    return Candidate(Decimal(coefficient), old, control)


def test_the_smallest_that_forgets_enough_is_taken() -> None:
    curve = [candidate("2", 0.0, 1.0), candidate("0.5", 0.6, 1.0), candidate("1", 0.1, 0.97)]
    assert choose_coefficient(curve, 0.1, 0.95) == curve[2]


def test_one_that_harms_the_control_set_is_not() -> None:
    curve = [candidate("0.5", 0.6, 1.0), candidate("1", 0.0, 0.94)]
    assert choose_coefficient(curve, 0.1, 0.95) == curve[0]


def test_if_none_forgets_enough_the_one_that_forgets_most_is_taken() -> None:
    curve = [candidate("0.5", 0.6, 1.0), candidate("1", 0.4, 0.99), candidate("2", 0.4, 0.98)]
    assert choose_coefficient(curve, 0.1, 0.95) == curve[1]


def test_target_and_floor_are_met_by_equality_too() -> None:
    curve = [candidate("1", 0.0, 1.0), candidate("0.5", 0.1, 0.95)]
    assert choose_coefficient(curve, 0.1, 0.95) == curve[1]


def test_if_each_one_harms_there_is_none() -> None:
    assert choose_coefficient([candidate("0.1", 0.0, 0.5)], 0.1, 0.95) is None


SHARES = st.floats(0, 1)
CURVES = st.lists(
    st.builds(Candidate, st.decimals("0.01", 10, places=2), SHARES, SHARES), max_size=12
)


@settings(derandomize=True)
@given(CURVES, SHARES, SHARES)
def test_the_rule_never_takes_one_below_the_floor(
    curve: list[Candidate], target: float, floor: float
) -> None:
    chosen = choose_coefficient(curve, target, floor)
    kept = [c for c in curve if c.control >= floor]
    assert (chosen is None) == (not kept)
    if chosen is not None:
        assert chosen in kept
        enough = [c for c in kept if c.old_answers <= target]
        if enough:
            assert chosen.coefficient == min(c.coefficient for c in enough)
        else:
            assert chosen.old_answers == min(c.old_answers for c in kept)


def test_the_curve_is_written_with_exact_coefficients() -> None:
    assert candidate("0.70", 1 / 3, 2 / 3).to_dict() == {
        "coefficient": "0.7",
        "old_answers": 0.3333,
        "control": 0.6667,
    }
