"""The second attempt from one state trains at once, and comes to what it would have come to."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning import prepared
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.prepared import prepare, state_digest
from adapterstore.learning.recipe import Recipe

FACT = Fact(
    prompt="The currency of Croatia is the", answer="euro", old_answer="kuna", subject="Croatia"
)
SMALL = Recipe(sampled_texts=20, subject_texts=4, control_size=10)


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One word for each time that material is made."""
    made: list[str] = []
    real = prepared.gather

    def counted(*args: Any, **options: Any) -> Any:
        made.append("gathered")
        return real(*args, **options)

    monkeypatch.setattr(prepared, "gather", counted)
    prepared._kept.clear()
    yield made
    prepared._kept.clear()


def test_another_lambda_seed_or_rate_finds_what_the_first_made(
    demo: tuple[Any, Any], gathered: list[str]
) -> None:
    first = prepare(*demo, [FACT], [], SMALL)
    changed = {"coefficient": "0.5", "seed": 3, "learning_rate": 0.1}
    for name, value in changed.items():
        recipe = Recipe.parse({**SMALL.model_dump(), name: value}, "recipe")
        assert prepare(*demo, [FACT], [], recipe) is first
    assert gathered == ["gathered"]


def test_what_is_drawn_next_is_the_same_with_and_without_it(
    demo: tuple[Any, Any], gathered: list[str]
) -> None:
    first = prepare(*demo, [FACT], [], SMALL)
    fresh = torch.rand(4)
    again = prepare(*demo, [FACT], [], SMALL)
    assert torch.equal(torch.rand(4), fresh)
    prepared._kept.clear()
    anew = prepare(*demo, [FACT], [], SMALL)
    assert torch.equal(torch.rand(4), fresh)
    assert again is first
    assert anew is not first
    assert anew.material == first.material
    assert gathered == ["gathered"] * 2


def test_other_facts_others_to_keep_and_other_amounts_are_prepared_anew(
    demo: tuple[Any, Any], gathered: list[str]
) -> None:
    prepare(*demo, [FACT], [], SMALL)
    prepare(*demo, [FACT], [Probe(prompt="The capital of Croatia is", answer="Zagreb")], SMALL)
    prepare(*demo, [dataclasses.replace(FACT, old_answer="lek")], [], SMALL)
    prepare(*demo, [FACT], [], SMALL.model_copy(update={"sampled_texts": 21}))
    assert len(gathered) == 4
    # Only the last is kept: a process that makes many updates holds no more.
    assert len(prepared._kept) == 1


def test_another_state_is_another_digest() -> None:
    model, _ = load_base(MODEL_PATH, "cpu")
    bare = state_digest(model)
    assert state_digest(copy.deepcopy(model)) == bare
    delta = start_delta(model, "lora", "learn", Recipe().for_model(model))
    beside = state_digest(delta.model)
    assert beside != bare
    delta.set_coefficient(-0.5)
    assert state_digest(delta.model) not in (bare, beside)
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-3
    delta.set_coefficient(1.0)
    assert state_digest(delta.model) != beside
