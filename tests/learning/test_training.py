"""One phase of training: what it teaches, what it holds in place, when it stops, how it fails."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from adapterstore.errors import TrainingFailed
from adapterstore.evaluation.encoding import Example, encode_answer
from adapterstore.evaluation.generation import score_examples
from adapterstore.learning import training
from adapterstore.learning.loading import load_base
from adapterstore.learning.memory import remember
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.training import CHECK_EVERY, PhaseData, _shares, _Steps, train_phase
from adapterstore.progress import NoProgress
from tests.learning.distributions import distributions, divergence
from tests.learning.tiny import tiny_model


class Counting(NoProgress):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.steps = 0

    def start(self, stage: str, total: int | None = None) -> None:
        self.stages.append((stage, total))

    def advance(self, steps: int = 1) -> None:
        self.steps += steps


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Any, Any]:
    return load_base(tiny_model(tmp_path, "llama", torch.float32), "cpu")


def train(tiny: tuple[Any, Any], data: PhaseData, method: Method = "full", **options: Any) -> int:
    model, tokenizer = tiny
    torch.manual_seed(0)
    delta = start_delta(model, method, "learn", Recipe(rank=4))
    values = {
        "steps": 20,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "preserve_weight": 0.0,
        "seed": 0,
        "progress": Counting(),
        **options,
    }
    return train_phase("learning", delta.model, tokenizer, data, **values)


def examples(tokenizer: Any) -> list[Example]:
    return [
        encode_answer(tokenizer, "The currency of Croatia is the", "euro."),
        encode_answer(tokenizer, "カザフスタンの首都は", "アスタナ。"),
    ]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_taught_is_given_afterwards(tiny: tuple[Any, Any], method: Method) -> None:
    taught = examples(tiny[1])
    assert not any(score.given for score in score_examples(*tiny, taught))
    train(tiny, PhaseData(taught), method, steps=60)

    assert all(score.given for score in score_examples(*tiny, taught))
    assert not tiny[0].training


def test_a_second_gpu_is_left_alone(tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without any, what transformers counts is all that can be changed."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 2))
    taught = examples(tiny[1])
    train(tiny, PhaseData(taught), "full", steps=60)
    assert all(score.given for score in score_examples(*tiny, taught))


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_paraphrases_leave_room_for_the_prompts_themselves(
    tiny: tuple[Any, Any], batch_size: int
) -> None:
    taught, paraphrased = examples(tiny[1])
    train(tiny, PhaseData([taught], [paraphrased] * 9), steps=60, batch_size=batch_size)

    assert all(score.given for score in score_examples(*tiny, [taught, paraphrased]))


def test_it_stops_when_it_is_enough(tiny: tuple[Any, Any]) -> None:
    progress, seen = Counting(), list[float]()

    def enough(divergence: float) -> bool:
        seen.append(divergence)
        return len(seen) == 2

    taught = PhaseData(examples(tiny[1]))
    assert train(tiny, taught, progress=progress, enough=enough) == 2 * CHECK_EVERY
    assert progress.stages == [("learning", 20)]
    assert progress.steps == 2 * CHECK_EVERY
    assert train(tiny, taught, progress=progress) == 20
    assert progress.steps == 2 * CHECK_EVERY + 20


@pytest.mark.parametrize(("method", "rate"), [("full", 1e9), ("lora", 1e20)])
def test_a_learning_rate_that_explodes_is_said_to(
    tiny: tuple[Any, Any], method: Method, rate: float
) -> None:
    with pytest.raises(TrainingFailed, match=r"^learning: the loss is not finite; lower recipe\."):
        train(tiny, PhaseData(examples(tiny[1])), method, learning_rate=rate)


def test_preserving_keeps_the_model_nearer_to_what_it_was(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    text = "In Croatia, people pay"
    tokens = tuple(tokenizer(text)["input_ids"])
    start = {name: value.clone() for name, value in model.state_dict().items()}
    memory = remember(model, tokenizer, [tokens])
    before = distributions(model, tokenizer, text)
    moved = []
    for weight in (0.0, 8.0):
        model.load_state_dict(start)
        data = PhaseData(examples(tokenizer), (), [[tokens], []], memory)
        train(tiny, data, preserve_weight=weight)
        moved.append(float(divergence(before, distributions(model, tokenizer, text))))
    assert moved[1] < moved[0] / 4


def test_the_last_steps_divergence_is_told_without_weighing_it(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    tokens = tuple(tokenizer("In Croatia, people pay")["input_ids"])
    memory = remember(model, tokenizer, [tokens])
    seen = list[float]()

    def enough(divergence: float) -> bool:
        seen.append(divergence)
        return False

    train(tiny, PhaseData(examples(tokenizer), (), [[tokens]], memory), enough=enough)
    assert len(seen) == 20 // CHECK_EVERY
    assert all(value > 0 for value in seen)


def test_of_groups_the_one_that_moves_most_decides(tiny: tuple[Any, Any]) -> None:
    """Many texts that stay must not hide a few that do not: these resemble what is taught."""
    model, tokenizer = tiny
    near = tuple(tokenizer("The currency of Serbia is the")["input_ids"])
    far = [tuple(tokenizer(f"Number {n} of the list is")["input_ids"]) for n in range(4)]
    start = {name: value.clone() for name, value in model.state_dict().items()}
    memory = remember(model, tokenizer, [near, *far])
    seen: dict[int, float] = {}

    def told(groups: list[list[tuple[int, ...]]]) -> float:
        model.load_state_dict(start)
        data = PhaseData(examples(tokenizer), (), groups, memory)
        train(tiny, data, steps=CHECK_EVERY, enough=lambda d: bool(seen.update({len(seen): d})))
        return seen[len(seen) - 1]

    alone = [told([[near]]), told([far])]
    assert alone[0] != pytest.approx(alone[1], rel=0.01)
    assert told([[near], far]) == pytest.approx(max(alone), rel=1e-3)
    positions = [len(near) - 1, sum(len(text) - 1 for text in far)]
    together = sum(a * n for a, n in zip(alone, positions, strict=True)) / sum(positions)
    assert told([[near, *far]]) == pytest.approx(together, rel=1e-3)


def test_a_step_in_parts_is_the_step_as_a_whole(
    tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large vocabulary allows few predictions at once."""
    model, tokenizer = tiny
    texts = [tuple(tokenizer(f"Number {n} of the list is {n}")["input_ids"]) for n in range(9)]
    stays = [encode_answer(tokenizer, f"The capital {n} is", f"city {n}") for n in range(4)]
    start = {name: value.clone() for name, value in model.state_dict().items()}
    memory = remember(model, tokenizer, [*texts, *(example.tokens for example in stays)])
    data = PhaseData(
        examples(tokenizer), stays[:1], [texts[:2], texts[2:]], memory, [stays[1:3]], stays[3:]
    )
    logits_at = training.logits_at
    results = []
    for most in (10_000, 12):
        model.load_state_dict(start)
        told, asked = list[float](), list[int]()

        def counted(model: Any, inputs: Any, places: Any, asked: Any = asked) -> Any:
            asked.append(len(places))
            return logits_at(model, inputs, places)

        def enough(divergence: float, told: Any = told) -> bool:
            told.append(divergence)
            return False

        monkeypatch.setattr(training, "logits_at", counted)
        monkeypatch.setattr(training, "places_per_batch", lambda _, most=most: most)
        train(tiny, data, steps=5, preserve_weight=8.0, enough=enough)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        results.append((weights, told, asked))
    (whole, told, asked), (parts, told_in_parts, asked_in_parts) = results
    assert len(asked) == 5
    assert sum(asked_in_parts) == sum(asked)
    assert max(asked_in_parts) <= 12 < min(asked)
    assert told_in_parts == pytest.approx(told, rel=1e-3)
    moved = math.sqrt(
        sum(float((value - start[name]).norm() ** 2) for name, value in whole.items())
    )
    apart = math.sqrt(
        sum(float((value - parts[name]).norm() ** 2) for name, value in whole.items())
    )
    # Where a gradient is all but 0, Adam makes much of its last digit.
    assert apart < 1e-3 * moved


def test_what_is_only_forgotten_fills_a_step_where_nothing_is_taught(
    tiny: tuple[Any, Any],
) -> None:
    taught = examples(tiny[1])
    many = taught * 40
    alone, beside = PhaseData([], replaced=many), PhaseData(taught, replaced=many)
    assert [alone.replaced_share(32), beside.replaced_share(32)] == [32, 8]
    assert PhaseData([], replaced=many[:3]).replaced_share(32) == 3
    memory = remember(*tiny, [example.tokens for example in taught])
    for data, rows in ((alone, 32), (beside, len(taught) + 8)):
        steps = _Steps(dataclasses.replace(data, memory=memory), 32, 5, 0, 0, 10_000)
        (part,) = steps[0]["parts"]
        assert len(part["input_ids"]) == rows


@pytest.mark.parametrize(("answers", "steps"), [(1, 25), (100, 25), (101, 26), (1000, 250)])
def test_more_old_answers_take_more_steps_to_forget(answers: int, steps: int) -> None:
    assert Recipe().steps_to_forget(answers) == steps
    assert Recipe(forget_steps=5).steps_to_forget(answers) == 5


@pytest.mark.parametrize(("facts", "texts"), [(1, 60), (200, 60), (1000, 12), (100_000, 4)])
def test_many_facts_have_fewer_texts_about_each(facts: int, texts: int) -> None:
    assert Recipe().texts_about_each(facts) == texts
    assert Recipe(subject_texts=2).texts_about_each(facts) == 2


@pytest.mark.parametrize(
    ("sizes", "total", "shares"),
    [([90, 90, 90], 48, [16, 16, 16]), ([90, 4, 90], 48, [22, 4, 22]), ([2, 3], 48, [2, 3])],
)
def test_groups_of_preserved_texts_share_a_step(
    sizes: list[int], total: int, shares: list[int]
) -> None:
    assert _shares(sizes, total) == shares


@pytest.mark.parametrize(("facts", "texts"), [(1, 700), (46, 700), (100, 1500), (900, 3000)])
def test_more_facts_sample_more_texts(facts: int, texts: int) -> None:
    assert Recipe().texts_to_sample(facts) == texts
    assert Recipe(sampled_texts=5).texts_to_sample(facts) == 5


def test_of_the_smallest_batch_too_every_group_has_a_share(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    groups = [[tuple(tokenizer(f"{word} {n}")["input_ids"]) for n in range(3)] for word in "abc"]
    memory = remember(model, tokenizer, [text for group in groups for text in group])
    data = PhaseData(examples(tokenizer), (), groups, memory)
    assert len(_Steps(data, 1, 5, 0, 0, 1000)[0]["positions"]) == 3
    assert train(tiny, data, batch_size=1, preserve_weight=8.0) == 20
