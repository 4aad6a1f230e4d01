"""Answers that go and get no successor: what λ left is replaced, what went stays away."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.evaluation.encoding import encode_answer
from adapterstore.evaluation.generation import greedy_answers, score_answers
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning import keeping, phases
from adapterstore.learning.forgotten import hold_forgotten
from adapterstore.learning.loading import load_base
from adapterstore.learning.phases import Outcome, forget_then_learn
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.training import PhaseData

GONE = [
    Fact(prompt=f"The currency of {country} is the", answer=None, old_answer=currency)
    for country, currency in (("Croatia", "kuna"), ("Hungary", "forint"), ("Japan", "yen"))
]
PHRASED = Fact(prompt="Croatia has as its currency the", answer=None, old_answer="kuna")
GONE[0] = replace(GONE[0], paraphrases=(PHRASED.prompt,))
LEARNED = Fact(prompt="カザフスタンの首都は", answer="アルマトイ", old_answer="アスタナ")
STAY = [
    ("The capital of Croatia is", "Zagreb"),
    ("The currency of Kenya is the", "Kenyan shilling"),
    ("The currency of Poland is the", "zloty"),
]
# As of a model that knows its answers by heart: no λ of this grid reaches them.
WEAK = Recipe(
    forget_steps=1,
    coefficient_grid=(Decimal("0.1"),),
    sampled_texts=150,
    subject_texts=5,
    control_size=20,
    learn_steps=30,
    batch_size=8,
)


def update(facts: list[Fact], recipe: Recipe) -> tuple[Any, Any, Outcome]:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    outcome = forget_then_learn(model, tokenizer, facts, recipe=recipe)
    return model, tokenizer, outcome


def given(model: Any, tokenizer: Any, facts: list[Fact]) -> list[bool]:
    pairs = [(fact.prompt, fact.old_answer or "") for fact in facts]
    return [score.given for score in score_answers(model, tokenizer, pairs)]


@pytest.mark.parametrize("learned", [[], [LEARNED]], ids=["by themselves", "beside a new answer"])
def test_what_no_scale_reaches_is_replaced_and_the_rest_stays(learned: list[Fact]) -> None:
    model, tokenizer, outcome = update([*GONE, *learned], WEAK)
    assert outcome.curve[0].old_answers > WEAK.forget_target
    assert outcome.learn is not None
    assert [note for note in outcome.notes if note.startswith("λ left 3 answers of")]
    assert given(model, tokenizer, [*GONE, PHRASED]) == [False] * 4
    assert [score.given for score in score_answers(model, tokenizer, STAY)] == [True] * 3
    if learned:
        (said,) = greedy_answers(model, tokenizer, [LEARNED.prompt])
        assert said.startswith("アルマトイ")


def test_who_states_a_scale_or_forgets_nothing_gets_what_he_asks_for() -> None:
    fixed = WEAK.model_copy(update={"coefficient": Decimal("0.1")})
    model, tokenizer, outcome = update(GONE, fixed)
    assert outcome.learn is None
    assert given(model, tokenizer, GONE) == [True] * 3
    for left_out in ({"forget": False}, {"preserve_weight": 0.0}):
        kept = hold_forgotten(model, tokenizer, GONE, WEAK.model_copy(update=left_out))
        assert (kept.texts, kept.old, kept.must_train) == ([], [], False)


def test_what_is_forgotten_already_is_held_as_it_is() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    # The model says none of these.
    facts = [Fact(prompt=fact.prompt, answer=None, old_answer="ducat") for fact in GONE]
    held = hold_forgotten(model, tokenizer, facts, WEAK)
    assert (held.left, held.must_train) == (0, False)
    said = greedy_answers(model, tokenizer, [fact.prompt for fact in facts])
    texts = [tokenizer.decode(example.targets).strip() for example in held.texts]
    assert [text.startswith(answer[:3]) for text, answer in zip(texts, said, strict=True)] == [
        True
    ] * 3
    with torch.inference_mode():
        for example in held.texts:
            logs = model(torch.tensor([example.tokens])).logits[0, :-1].log_softmax(-1)
            reference = held.memory[example.tokens]
            shown = logs.gather(1, reference.tokens.long())
            assert torch.allclose(shown, reference.logs, atol=1e-3)


def test_the_rest_keeps_its_proportions() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    example = encode_answer(tokenizer, GONE[0].prompt, "kuna")
    held = hold_forgotten(model, tokenizer, GONE[:1], WEAK)
    assert held.texts[0] == example
    assert (len(held.texts), held.left) == (2, 1)
    # A phrasing that is the prompt again, but for a space, is no other one.
    repeated = replace(GONE[0], paraphrases=(f" {GONE[0].prompt}", PHRASED.prompt))
    assert hold_forgotten(model, tokenizer, [repeated], WEAK).texts == held.texts
    reference = held.memory[example.tokens]
    with torch.inference_mode():
        logits = model(torch.tensor([example.tokens])).logits[0]
    for place, token in enumerate(example.targets, example.start - 1):
        without = logits[place].clone()
        without[token] = -torch.inf
        wanted = without.log_softmax(-1)
        others = reference.tokens[place] != token
        assert int((~others).sum()) == 1
        assert float(reference.logs[place][~others]) < -20
        likeliest = reference.tokens[place][others].long()
        # All but the 256 likeliest count as nothing, so each of these gets as much more.
        more = reference.logs[place][others] - wanted[likeliest]
        assert 0 <= float(more.mean()) < 0.1
        assert float(more.std()) < 1e-3
        assert float(reference.logs[place].exp().sum()) == pytest.approx(1, abs=1e-4)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[PhaseData]:
    """What each turn of learning gets."""
    train_phase, found = phases.train_phase, list[PhaseData]()

    def noted(phase: str, model: Any, tokenizer: Any, data: PhaseData, **options: Any) -> int:
        if phase == "learning":
            found.append(data)
        return train_phase(phase, model, tokenizer, data, **options)

    monkeypatch.setattr(phases, "train_phase", noted)
    return found


def test_the_next_turn_turns_to_what_the_last_one_missed(turns: list[PhaseData]) -> None:
    facts = [*GONE, LEARNED, Fact(prompt="日本の首都は", answer="東京", old_answer="京都")]
    update(facts, WEAK.model_copy(update={"learn_steps": 1, "subject_texts": 0}))
    first, second = turns[:2]
    missed = {tuple(example.tokens) for example in (*second.missed, *second.kept[-1])}
    # One step changes nothing: the old answers are given, the new one isn't, and Tokyo was before.
    assert missed == {e.tokens for e in (*first.replaced, first.taught[0])}
    assert not first.missed
    assert len(second.kept) == len(first.kept) + 1


@pytest.mark.parametrize(("kind", "goes_on"), [("required", True), ("fact", True), ("", False)])
def test_learning_goes_on_while_what_must_stay_is_lost(
    turns: list[PhaseData], monkeypatch: pytest.MonkeyPatch, kind: str, goes_on: bool
) -> None:
    # As of a large ledger, of whose sample it is not.
    monkeypatch.setattr(keeping, "_MOST_CHECKED", 0)
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    taught = [replace(fact, answer="euro") for fact in GONE]
    kept = Probe(prompt="The currency of Poland is the", answer="zloty")
    # So weak a term lets the first turn take Poland's along.
    weak = {"preserve_weight": 1e-6, "forget": False, "learn_steps": 10}
    recipe = WEAK.model_copy(update={**weak, "subject_texts": 0, "sampled_texts": 0})
    forget_then_learn(
        model,
        tokenizer,
        taught,
        recipe=recipe,
        known=[kept] if kind == "fact" else [],
        unrelated=[kept] if kind != "fact" else [],
        required={kept.prompt} if kind == "required" else (),
    )
    (said,) = greedy_answers(model, tokenizer, [kept.prompt])
    assert said == ("zloty." if goes_on else "euro.")
    assert (len(turns) > 1) == goes_on
    if goes_on:
        assert [tokenizer.decode(e.targets) for e in turns[1].kept[-1]] == [" zloty.<eos>"]
        assert not turns[1].missed
