"""What is kept of a state and of the base, to hold them in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning.loading import load_base
from adapterstore.learning.memory import AGREES, LIKELIEST, Reference, divergences, remember
from adapterstore.learning.prepared import Prepared, forget_prepared, prepare
from adapterstore.learning.recipe import Recipe
from tests.learning.distributions import distributions, divergence

TEXTS = ["The currency of Croatia is the kuna.", "日本では、首都は東京。"]
FACT = Fact(
    prompt="The currency of Croatia is the", answer="euro", old_answer="kuna", subject="Croatia"
)
SMALL = Recipe(sampled_texts=100, subject_texts=4, control_size=10)


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load_base(MODEL_PATH, "cpu")


def moved(by: float) -> Any:
    """Return the demo model with all weights a little away from where they were."""
    model, _ = load_base(MODEL_PATH, "cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(noise * by * weight.std(correction=0))
    return model


def test_what_is_remembered_are_the_likeliest_tokens_of_each_position(
    demo: tuple[Any, Any],
) -> None:
    model, tokenizer = demo
    rows = [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]
    memory = remember(model, tokenizer, rows)
    for text, row in zip(TEXTS, rows, strict=True):
        expected = distributions(model, tokenizer, text).topk(LIKELIEST)
        assert memory[row].logs.shape == (len(row) - 1, LIKELIEST)
        assert torch.allclose(memory[row].logs, expected.values, atol=1e-3)
        assert torch.equal(memory[row].tokens[:, 0].long(), expected.indices[:, 0])


@pytest.mark.parametrize(("kept", "tolerance"), [(None, 1e-6), (LIKELIEST, 1e-3)])
def test_the_divergence_from_few_tokens_is_that_of_the_whole_vocabulary(
    demo: tuple[Any, Any], kept: int | None, tolerance: float
) -> None:
    model, tokenizer = demo
    before = distributions(model, tokenizer, TEXTS[0])
    now = distributions(moved(0.2), tokenizer, TEXTS[0])
    most = before.topk(kept or before.shape[-1])
    exact = float(divergence(before, now))
    assert exact > 10 * tolerance
    each = divergences(now.gather(1, most.indices), most.values, now.shape[1])
    assert each.shape == (len(before),)
    assert float(each.mean()) == pytest.approx(exact, abs=tolerance)


def test_where_a_state_still_agrees_with_the_base_the_base_is_remembered(
    demo: tuple[Any, Any],
) -> None:
    model, tokenizer = demo
    rows = [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]
    base = remember(model, tokenizer, rows)
    state = moved(0.6)
    now = remember(state, tokenizer, rows)
    both = remember(state, tokenizer, rows, base)
    agreed = []
    for text, row in zip(TEXTS, rows, strict=True):
        before = distributions(model, tokenizer, text)
        far = (before.exp() * (before - distributions(state, tokenizer, text))).sum(-1)
        for position, apart in enumerate(far.tolist()):
            agrees = apart <= AGREES
            source: Reference = (base if agrees else now)[row]
            assert torch.equal(both[row].tokens[position], source.tokens[position])
            assert torch.allclose(both[row].logs[position], source.logs[position], atol=1e-4)
            agreed.append(agrees)
    # Both cases came up, or this would show nothing.
    assert any(agreed)
    assert not all(agreed)


def test_of_what_is_written_the_base_is_asked_while_it_is_given(demo: tuple[Any, Any]) -> None:
    base, tokenizer = demo
    given: list[str] = []

    @contextmanager
    def pinned() -> Iterator[Any]:
        given.append("given")
        yield base
        given.append("taken back")

    forget_prepared()
    state = moved(0.05)
    prepared = prepare(state, tokenizer, [FACT], [], SMALL, pinned=pinned)
    assert given == ["given", "taken back"]
    held = prepared.material.held
    expected = remember(state, tokenizer, held, remember(base, tokenizer, held))
    assert all(torch.equal(prepared.memory[t].logs, expected[t].logs) for t in held)
    alone = remember(state, tokenizer, held)
    assert not all(torch.equal(prepared.memory[t].logs, alone[t].logs) for t in held)


def test_with_other_earlier_facts_other_texts_are_held_in_place(demo: tuple[Any, Any]) -> None:
    def made(known: list[Probe]) -> Prepared:
        forget_prepared()
        return prepare(*demo, [FACT], known, SMALL)

    first = made([])
    hungary = [Probe(prompt="The currency of Hungary is the", answer="forint")]
    assert made([]).material.preserve == first.material.preserve
    assert made(hungary).material.preserve == made(hungary).material.preserve
    texts = [set(m.material.preserve[2]) for m in (first, made(hungary))]
    assert len(texts[0] & texts[1]) < len(texts[0]) / 2
