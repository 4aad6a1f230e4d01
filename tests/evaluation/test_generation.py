"""What a model says, and how it takes a given answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapterstore.demo import world
from adapterstore.evaluation import generation
from adapterstore.evaluation.encoding import encode_answer
from adapterstore.evaluation.generation import (
    MAX_NEW_TOKENS,
    continue_tokens,
    greedy_answers,
    score_answers,
)
from adapterstore.evaluation.measure import evaluate
from adapterstore.evaluation.metrics import Failure, Score
from adapterstore.knowledge.facts import Fact, join, same_answer
from tests.evaluation.bigram import bigram_model

FACTS = [
    world.fact("Croatia", "currency"),
    world.fact("Kazakhstan", "capital"),
    world.fact("日本", "capital_ja"),
    world.fact("ウクライナ", "capital_ja"),
    world.fact(".sz", "name"),
    world.fact("Mali", "language"),
]
PROMPTS = [prompt for fact in FACTS for prompt in fact.phrasings]
PAIRS = [(prompt, fact.answer) for fact in FACTS for prompt in fact.phrasings]


def test_the_demo_model_says_what_its_world_says(model: Any, tokenizer: Any) -> None:
    given = greedy_answers(model, tokenizer, PROMPTS)

    assert all(same_answer(g, answer) for g, (_, answer) in zip(given, PAIRS, strict=True))
    assert given[0] == "kuna."


@pytest.mark.parametrize("at_once", [5, len(PROMPTS)])
def test_prompts_of_all_lengths_are_answered_in_batches_as_one_by_one(
    model: Any, tokenizer: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "rows_at_once", lambda *_: at_once)
    one_by_one = [greedy_answers(model, tokenizer, [prompt])[0] for prompt in PROMPTS]
    assert greedy_answers(model, tokenizer, PROMPTS) == one_by_one


def test_no_more_tokens_are_written_than_asked_for(model: Any, tokenizer: Any) -> None:
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    assert {len(row) for row in continue_tokens(model, tokenizer, rows, 1)} == {1}


def test_a_continuation_ends_with_the_end_token(model: Any, tokenizer: Any) -> None:
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    for continued in continue_tokens(model, tokenizer, rows, 24):
        assert continued.index(tokenizer.eos_token_id) == len(continued) - 1


def test_an_answer_ends_at_a_line_break(tokenizer: Any) -> None:
    model = bigram_model(tokenizer, ["Zagreb is big.\nParis"])
    assert greedy_answers(model, tokenizer, ["Zagreb"]) == ["is big."]
    assert greedy_answers(model, tokenizer, ["Paris"]) == [""]


@pytest.fixture
def long_answer(tokenizer: Any) -> str:
    """An answer of more tokens than are written at once, each word another token."""
    words = [word[1:] for word in sorted(tokenizer.get_vocab()) if word[0] == "Ġ"]
    single = [w for w in words if w.isalpha() and w.isascii() and w not in ("is", "Paris")]
    assert len(single) >= 2 * MAX_NEW_TOKENS
    return " ".join(["is", *single[: 2 * MAX_NEW_TOKENS]])


@pytest.mark.parametrize("end", ["", " Paris"])
def test_an_answer_of_any_length_is_told_from_what_begins_like_it(
    tokenizer: Any, long_answer: str, end: str
) -> None:
    model = bigram_model(tokenizer, [f"Zagreb {long_answer}{end}", "Paris"])
    prompts = ["Paris", "Zagreb"]
    short = greedy_answers(model, tokenizer, prompts)
    assert short == ["", " ".join(long_answer.split()[:MAX_NEW_TOKENS])]

    expected = {"Zagreb": ["no", long_answer]}
    whole = greedy_answers(model, tokenizer, prompts, expected=expected)
    assert same_answer(whole[1], long_answer)
    assert whole[0] == ""
    other = {"Zagreb": [long_answer.replace("is ", "was "), "is"]}
    assert greedy_answers(model, tokenizer, prompts, expected=other) == short


def test_an_answer_that_is_cut_off_inside_a_word_is_given_again_by_the_same_model(
    tokenizer: Any,
) -> None:
    letters = "ABCDEFGHIJKLMNOPRSTUVWXYZ"
    model = bigram_model(tokenizer, [f"Q {letters}"])
    cut = letters[:MAX_NEW_TOKENS]
    assert len(encode_answer(tokenizer, "Q", cut).targets) == MAX_NEW_TOKENS
    (said,) = greedy_answers(model, tokenizer, ["Q"])
    assert said == cut
    facts = [Fact(prompt="Q", answer="Paris", old_answer=said)]
    report = evaluate(model, tokenizer, facts, before={"Q": said}, forgotten={"Q": [said]})
    assert report.forgetting == Score(0, 1, [Failure("Q", f"not {said}", said)])
    assert report.locality == Score(1, 1)
    assert report.forgetting_earlier == Score(0, 1, [Failure("Q", f"not {said}", said)])


def test_a_long_answer_ends_where_the_positions_do(tokenizer: Any, long_answer: str) -> None:
    model = bigram_model(tokenizer, [f"Zagreb {long_answer}"])
    model.config.max_position_embeddings = len(tokenizer("Zagreb")["input_ids"]) + MAX_NEW_TOKENS
    (given,) = greedy_answers(model, tokenizer, ["Zagreb"], expected={"Zagreb": [long_answer]})
    assert given == " ".join(long_answer.split()[:MAX_NEW_TOKENS])


def test_no_prompts_no_answers(model: Any, tokenizer: Any) -> None:
    assert greedy_answers(model, tokenizer, []) == []
    assert score_answers(model, tokenizer, []) == []


def test_sampling_follows_the_seed(model: Any, tokenizer: Any) -> None:
    rows = [[tokenizer.bos_token_id]] * 8
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(continue_tokens(model, tokenizer, rows, 12, sample=True))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({tuple(row) for row in drawn[0]}) > 1


def test_an_answer_is_given_exactly_if_greedy_generation_begins_with_it(
    model: Any, tokenizer: Any
) -> None:
    wrong = [(prompt, "euro") for prompt in PROMPTS] + [(prompt, "東京") for prompt in PROMPTS]
    pairs = [*PAIRS, *wrong]
    said = greedy_answers(model, tokenizer, [prompt for prompt, _ in pairs])
    scores = score_answers(model, tokenizer, pairs)

    for (prompt, answer), text, score in zip(pairs, said, scores, strict=True):
        assert score.given == text.startswith(answer), (prompt, answer, text)
    assert sum(score.given for score in scores) >= len(PAIRS)


def test_the_log_probability_is_the_sum_over_the_answers_tokens(model: Any, tokenizer: Any) -> None:
    pairs = [*PAIRS, (PROMPTS[0], "euro")]
    for (prompt, answer), score in zip(pairs, score_answers(model, tokenizer, pairs), strict=True):
        tokens = tokenizer(join(prompt, answer))["input_ids"]
        start = encode_answer(tokenizer, prompt, answer).start
        with torch.inference_mode():
            logits = model(torch.tensor([tokens])).logits[0].double()
        logs = logits.log_softmax(-1)
        expected = sum(float(logs[i - 1, tokens[i]]) for i in range(start, len(tokens)))
        assert score.log_probability == pytest.approx(expected, abs=1e-4)


def test_token_accuracy_is_the_share_of_likeliest_tokens(tokenizer: Any) -> None:
    model = bigram_model(tokenizer, ["Zagreb is big."])
    targets = encode_answer(tokenizer, "Zagreb", "is small.").targets
    right, wrong = score_answers(model, tokenizer, [("Zagreb", "is big."), ("Zagreb", "is small.")])

    assert right.given
    assert right.log_probability == pytest.approx(0.0, abs=1e-3)
    assert not wrong.given
    # " is" comes as it should; so may the last token, whatever stands before it.
    assert 1 / len(targets) <= wrong.token_accuracy < 1


def test_a_prompt_near_the_end_of_the_positions_cuts_no_other_short(
    model: Any, tokenizer: Any
) -> None:
    short = tokenizer(PROMPTS[0])["input_ids"]
    most = model.config.max_position_embeddings
    rows = [short, *((short * most)[: most - left] for left in (2, 1, 2))]
    [alone] = continue_tokens(model, tokenizer, [short], MAX_NEW_TOKENS)
    assert len(alone) > 2
    beside, *near = continue_tokens(model, tokenizer, rows, MAX_NEW_TOKENS)
    assert beside == alone
    assert [len(row) for row in near] == [2, 1, 2]
