"""What the output layer computes of a few places is what it computes of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.evaluation.encoding import Example, answer_places, by_logits, pad
from adapterstore.evaluation.reading import logits_at
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Recipe
from tests.learning.families import FAMILIES, family_model

EXAMPLES = [Example(tuple(range(10, 10 + length)), start) for length, start in ((7, 3), (4, 1))]


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_says_at_some_places_what_it_says_at_all(tmp_path: Path, kind: str) -> None:
    model, _ = load_base(family_model(tmp_path / kind, kind), "cpu")
    delta = start_delta(model, "lora", "learn", Recipe().for_model(model))
    inputs = pad([example.tokens for example in EXAMPLES], 0, "cpu")
    places = answer_places(EXAMPLES)
    assert places.tolist() == [[0, 2], [0, 3], [0, 4], [0, 5], [1, 0], [1, 1], [1, 2]]
    for state in (model, delta.model):
        whole = state(**inputs, use_cache=False).logits
        some = logits_at(state, inputs, places)
        assert torch.allclose(some, whole[places[:, 0], places[:, 1]], atol=1e-5)
        some.sum().backward()
        assert torch.equal(state(**inputs, use_cache=False).logits, whole)


def test_a_model_that_shows_no_output_layer_is_read_whole(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = pad([example.tokens for example in EXAMPLES], 0, "cpu")
    places = answer_places(EXAMPLES)
    with torch.inference_mode():
        expected = logits_at(model, inputs, places)
        monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
        assert torch.allclose(logits_at(model, inputs, places), expected, atol=1e-5)


def test_an_error_leaves_no_hook_behind(model: Any) -> None:
    inputs = pad([example.tokens for example in EXAMPLES], 0, "cpu")
    with pytest.raises(IndexError), torch.inference_mode():
        logits_at(model, inputs, torch.tensor([[5, 5]]))
    with torch.inference_mode():
        assert model(**inputs).logits.shape[:2] == inputs["input_ids"].shape


def test_a_batch_ends_where_the_next_row_would_fill_it_with_padding(tokenizer: Any) -> None:
    rows = [[0] * length for length in (40, 5, 6, 5, 40, 6)]
    assert by_logits(tokenizer, rows, 128) == [[1, 3, 2, 5], [0, 4]]
    assert by_logits(tokenizer, [[0] * 5] * 100, 128) == [list(range(100))]
