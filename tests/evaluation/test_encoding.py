"""Prompts and answers as tokens: where an answer starts, and how rows become a batch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from adapterstore.evaluation.encoding import (
    Example,
    by_length,
    encode_answer,
    pad,
    rows_per_batch,
)

ROWS = [(5, 6, 7), (8,), (9, 10)]


@pytest.mark.parametrize(
    ("prompt", "answer", "predicted"),
    [
        ("The currency of Croatia is the", "euro", " euro"),
        ("The domain for Croatia is", ".hr", " .hr"),
        ("日本では、首都は", "東京", "東京"),
        ("問：ベラルーシの首都はどこですか。答：", "ミンスク", "ミンスク"),
    ],
)
def test_the_answer_is_what_follows_the_prompts_own_tokens(
    tokenizer: Any, prompt: str, answer: str, predicted: str
) -> None:
    example = encode_answer(tokenizer, prompt, answer)

    assert list(example.tokens[: example.start]) == tokenizer(prompt)["input_ids"]
    assert tokenizer.decode(example.targets) == predicted
    assert list(example.tokens) == tokenizer(prompt + predicted)["input_ids"]


def test_where_a_token_would_lie_over_the_border_the_prompt_is_as_it_is_asked(
    tokenizer: Any,
) -> None:
    prompt, answer = "フラ", "ンス"
    asked = tokenizer(prompt)["input_ids"]
    assert tokenizer(prompt + answer)["input_ids"][: len(asked)] != asked

    example = encode_answer(tokenizer, prompt, answer)

    assert list(example.tokens[: example.start]) == asked
    assert tokenizer.decode(example.targets) == answer


def test_such_an_answer_gets_no_space_where_every_text_begins_with_one() -> None:
    """As sentencepiece has it."""
    words = ["<unk>", "▁", "フ", "ラ", "ラン", "ン", "ス"]
    inner = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=inner, unk_token="<unk>")
    assert tokenizer.tokenize("フランス") == ["▁", "フ", "ラン", "ス"]

    example = encode_answer(tokenizer, "フラ", "ンス")

    assert example == Example(tuple(map(words.index, "▁フランス")), 3)


def test_something_is_predicted_even_if_the_answer_is_empty(tokenizer: Any) -> None:
    example = encode_answer(tokenizer, "The capital of France is Paris", "")
    assert len(example.targets) == 1


def test_padding_stands_on_the_right_and_is_masked() -> None:
    batch = pad(ROWS, 2, "cpu")
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2], [9, 10, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]


def test_padding_stands_on_the_left_for_generation() -> None:
    batch = pad(ROWS, 2, "cpu", "left")
    assert batch["input_ids"].tolist() == [[5, 6, 7], [2, 2, 8], [2, 9, 10]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]


@given(st.lists(st.lists(st.integers(), max_size=9)), st.integers(1, 30))
def test_batches_hold_every_row_once_with_its_likes(rows: list[list[int]], tokens: int) -> None:
    def room(longest: int) -> int:
        return max(1, tokens // (longest + 1))

    batches = by_length(rows, room)

    numbers = [number for batch in batches for number in batch]
    assert sorted(numbers) == list(range(len(rows)))
    assert [len(rows[n]) for n in numbers] == sorted(len(row) for row in rows)
    # A long row makes only its own batch small, and none is smaller than it must be.
    assert all(len(batch) <= room(len(rows[batch[-1]])) for batch in batches)
    for batch, following in itertools.pairwise(batches):
        assert len(batch) >= room(len(rows[following[0]]))


def test_a_large_vocabulary_makes_batches_small_but_never_empty(tokenizer: Any) -> None:
    # Only the number of tokens counts, so anything of that length will do.
    assert rows_per_batch(tokenizer, 128, 48) == 128
    large, larger = (rows_per_batch(range(size), 128, 48) for size in (128_000, 256_000))
    assert 128 > large > larger > 1
    assert rows_per_batch(range(10**9), 128, 48) == 1
