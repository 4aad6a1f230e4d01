"""How a model takes a text that it is not taught: perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adapterstore.evaluation.encoding import Example, most_tokens
from adapterstore.evaluation.generation import score_examples

MOST_ROWS = 64
ROW_TOKENS = 128


def text_rows(model: Any, tokenizer: Any, text: str) -> list[tuple[int, ...]]:
    """Return a text's tokens in rows that fit the model; the first `MOST_ROWS` of them."""
    width = min(ROW_TOKENS, most_tokens(model) or ROW_TOKENS)
    # The tokenizer warns of a text longer than the model reads; it is cut here.
    tokens: list[int] = tokenizer(text, verbose=False)["input_ids"]
    rows = [tuple(tokens[i : i + width]) for i in range(0, len(tokens), width)]
    return [row for row in rows[:MOST_ROWS] if len(row) > 1]


def perplexity(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]]) -> float | None:
    """Return exp(−(1/n)·Σ ln p(tokenᵢ | those before it in its row)), over all rows.

    A row's first token is given. None where there is no token to predict.
    """
    examples = [Example(tuple(row), 1) for row in rows if len(row) > 1]
    count = sum(len(example.targets) for example in examples)
    if not count:
        return None
    scores = score_examples(model, tokenizer, examples)
    loss = -sum(score.log_probability for score in scores) / count
    # What is beyond a float is a collapse all the same.
    return math.exp(min(loss, 700.0)) if math.isfinite(loss) else math.exp(700.0)
