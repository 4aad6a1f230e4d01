"""What forget-then-learn decides before it trains, and what it says of it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning.loading import load_base
from adapterstore.learning.material import own_answers
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Method, Recipe
from tests.learning.tiny import tiny_model

PROMPT = "The currency of Croatia is the"
KNOWN_PROMPT = "日本では、首都は"
SHORT = Recipe(
    rank=2, forget_steps=3, learn_steps=3, sampled_texts=0, subject_texts=0, control_size=0
)
HARMFUL = SHORT.model_copy(
    update={"coefficient_grid": (Decimal(50),), "forget_learning_rate": 0.01}
)
CROATIA = Fact(prompt=PROMPT, answer=None)
REPLACED = (
    "λ left 1 answer of those that are only to be forgotten; the state was trained to give others "
    "instead"
)
HUNGARY = Probe(prompt="The currency of Hungary is the", answer="forint")


def demo() -> tuple[Any, Any]:
    """Return the demo model, which knows the two."""
    return load_base(MODEL_PATH, "cpu")


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Any, Any]:
    return load_base(tiny_model(tmp_path, "llama", torch.float32), "cpu")


def own_answer(tiny: tuple[Any, Any], prompt: str) -> str:
    (answer,) = own_answers(*tiny, [Fact(prompt=prompt, answer=None)])
    assert answer is not None
    return answer


def test_where_no_old_answer_is_known_the_models_own_is_forgotten(tiny: tuple[Any, Any]) -> None:
    own = own_answer(tiny, PROMPT)
    given = Fact(prompt=KNOWN_PROMPT, answer="奈良", old_answer="東京")
    outcome = forget_then_learn(*tiny, [Fact(prompt=PROMPT, answer="euro"), given], recipe=SHORT)

    assert [fact.old_answer for fact in outcome.facts] == [own, "東京"]
    assert outcome.forget is not None


def test_what_the_model_says_already_is_not_forgotten_first(tiny: tuple[Any, Any]) -> None:
    fact = Fact(prompt=PROMPT, answer=own_answer(tiny, PROMPT))
    outcome = forget_then_learn(*tiny, [fact], recipe=SHORT)

    assert outcome.facts == [fact]
    assert (outcome.forget, outcome.coefficient, outcome.curve) == (None, None, [])
    assert set(outcome.steps) == {"learn"}


def test_a_given_coefficient_is_taken_without_a_search(tiny: tuple[Any, Any]) -> None:
    recipe = SHORT.model_copy(update={"coefficient": Decimal("0.30")})
    outcome = forget_then_learn(*tiny, [Fact(prompt=PROMPT, answer="euro")], recipe=recipe)

    assert (outcome.coefficient, outcome.curve) == (Decimal("0.30"), [])


def test_the_search_tries_the_grid_in_order_and_counts_what_it_harms() -> None:
    recipe = HARMFUL.model_copy(update={"coefficient_grid": (Decimal(50), Decimal("0.001"))})
    outcome = forget_then_learn(*demo(), [CROATIA], recipe=recipe, known=[HUNGARY])

    shown = [(str(c.coefficient), c.old_answers, c.control) for c in outcome.curve]
    assert shown == [("0.001", 1.0, 1.0), ("50", 0.0, 0.0)]
    # The large one forgets, and harms what the model knew; the small one is all that is left.
    assert outcome.coefficient == Decimal("0.001")
    assert outcome.notes == [REPLACED]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_where_all_forgetting_harms_nothing_is_forgotten_and_that_is_said(method: Method) -> None:
    model, tokenizer = demo()
    recipe = HARMFUL.model_copy(update={"forget_method": method})
    outcome = forget_then_learn(model, tokenizer, [CROATIA], recipe=recipe, known=[HUNGARY])

    assert (outcome.forget, outcome.coefficient) == (None, None)
    nothing = "nothing was forgotten: every λ of the grid harmed the control set"
    assert outcome.notes == [nothing, REPLACED]
    # What was trained to forget has no part in the state, and is not harmful any more.
    assert set(outcome.steps) == {"forget", "learn"}
    assert outcome.learn is not None
    assert own_answer((model, tokenizer), HUNGARY.prompt) == "forint"


def test_forgetting_can_be_left_out(tiny: tuple[Any, Any]) -> None:
    recipe = SHORT.model_copy(update={"forget": False})
    fact = Fact(prompt=PROMPT, answer="euro", old_answer="kuna")
    outcome = forget_then_learn(*tiny, [fact], recipe=recipe)

    assert (outcome.forget, outcome.coefficient) == (None, None)
    assert outcome.learn is not None
    # What is not to be said any more is still known, to be measured.
    assert outcome.facts[0].old_answer == "kuna"


@pytest.mark.parametrize(("answer", "steps"), [("forint", 1), ("kuna", 5)])
def test_where_the_new_answer_is_not_given_yet_learning_goes_on_five_times_at_most(
    answer: str, steps: int
) -> None:
    recipe = SHORT.model_copy(update={"learn_steps": 1, "learning_rate": 1e-6, "forget": False})
    fact = Fact(prompt=HUNGARY.prompt, answer=answer)
    outcome = forget_then_learn(*demo(), [fact], recipe=recipe)

    assert outcome.steps == {"learn": steps}
