"""What is kept of a state and of the base, to hold them in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning import prepared
from adapterstore.learning.loading import load_base
from adapterstore.learning.memory import AGREES, LIKELIEST, Reference, divergences, remember
from adapterstore.learning.prepared import forget_prepared, prepare
from adapterstore.learning.recipe import Recipe
from tests.learning.distributions import distributions, divergence

TEXTS = ["The currency of Croatia is the kuna.", "日本では、首都は東京。"]
FACT = Fact(
    prompt="The currency of Croatia is the", answer="euro", old_answer="kuna", subject="Croatia"
)
SMALL = Recipe(sampled_texts=40, subject_texts=2, control_size=5)


def encoded(tokenizer: Any) -> list[tuple[int, ...]]:
    return [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]


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
    rows = encoded(tokenizer)
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


def test_the_divergence_from_few_tokens_is_never_more() -> None:
    generator = torch.Generator().manual_seed(0)
    before = (4 * torch.randn(7, 50, generator=generator)).log_softmax(-1)
    now = (before + 0.3 * torch.randn(7, 50, generator=generator)).log_softmax(-1)
    exact = (before.exp() * (before - now)).sum(-1)
    for count in (1, 5, 30, 50):
        most = before.topk(count)
        assert bool(
            (divergences(now.gather(1, most.indices), most.values, 50) <= exact + 1e-6).all()
        )


def test_where_a_state_still_agrees_with_the_base_the_base_is_remembered(
    demo: tuple[Any, Any],
) -> None:
    model, tokenizer = demo
    rows = encoded(tokenizer)
    base = remember(model, tokenizer, rows)
    state = moved(0.6)
    now = remember(state, tokenizer, rows)
    both = remember(state, tokenizer, rows, dict(base))
    cases = set()
    for text, row in zip(TEXTS, rows, strict=True):
        before, after = (distributions(m, tokenizer, text) for m in (model, state))
        far = (before.exp() * (before - after)).sum(-1)
        same = before.argmax(-1) == after.argmax(-1)
        for position in range(len(row) - 1):
            near = bool(far[position] <= AGREES)
            agrees = near and bool(same[position])
            source: Reference = (base if agrees else now)[row]
            assert torch.equal(both[row].tokens[position], source.tokens[position])
            assert torch.allclose(both[row].logs[position], source.logs[position], atol=1e-4)
            cases.add((near, bool(same[position])))
    # All of these came up, or this would show little.
    assert {(True, True), (False, True), (False, False)} <= cases


def test_a_state_that_says_something_else_does_not_agree_however_near() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    row = tuple(tokenizer("The currency of")["input_ids"])
    now = remember(model, tokenizer, [row])[row]
    # The base as near as can be, with the likeliest two the other way round.
    swapped = now.tokens.clone()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    logs = now.logs.clone()
    middle = (logs[:, 0].exp() + logs[:, 1].exp()).div(2).log()
    logs[:, 0], logs[:, 1] = middle, middle
    said = {row: Reference(swapped, logs)}
    assert torch.equal(remember(model, tokenizer, [row], said)[row].tokens, now.tokens)
    assert said == {}


def test_of_what_is_written_the_base_is_asked_while_it_is_given(
    demo: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tokenizer = demo
    events: list[str] = []

    @contextmanager
    def beside(_: Any) -> Iterator[Any]:
        events.append("given")
        yield base
        events.append("taken back")

    def watched(model: Any, *arguments: Any) -> Any:
        events.append("base" if model is base else "state")
        return remember(model, *arguments)

    monkeypatch.setattr(prepared, "remember", watched)
    forget_prepared()
    state, known = moved(0.05), Probe(prompt="The currency of Hungary is the", answer="forint")
    found = prepare(state, tokenizer, [FACT], [known], SMALL, base=beside)
    assert events == ["given", "base", "taken back", "state", "state"]
    written = [text for group in found.material.preserve for text in group]
    expected = remember(state, tokenizer, written, remember(base, tokenizer, written))
    kept = found.material.kept.texts
    expected |= remember(state, tokenizer, kept)
    assert set(found.memory) == set(expected) == set(found.material.held)
    assert all(torch.equal(found.memory[t].logs, expected[t].logs) for t in expected)
    alone = remember(state, tokenizer, written)
    assert kept
    assert not all(torch.equal(found.memory[t].logs, alone[t].logs) for t in written)


def test_another_sampling_seed_holds_other_texts_in_place(demo: tuple[Any, Any]) -> None:
    def texts(seed: int) -> set[tuple[int, ...]]:
        made = prepare(*demo, [FACT], [], SMALL, sampling_seed=seed)
        return set(made.material.preserve[2])

    forget_prepared()
    first, again, other = texts(0), texts(0), texts(1)
    assert first == again
    assert len(first & other) < len(first) / 2
