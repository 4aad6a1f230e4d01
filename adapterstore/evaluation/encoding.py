"""Prompts and answers as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterstore.knowledge.facts import join

if TYPE_CHECKING:
    import torch


_MOST_LOGITS = 1 << 27
"""Logits of one batch: half a gigabyte in float32."""
_USUAL_TOKENS = 48


@dataclass(frozen=True)
class Example:
    """A text as token ids; those from ``start`` on are what is to be predicted."""

    tokens: tuple[int, ...]
    start: int

    @property
    def targets(self) -> tuple[int, ...]:
        """The tokens to be predicted."""
        return self.tokens[self.start :]


def encode_answer(tokenizer: Any, prompt: str, answer: str) -> Example:
    """Return prompt and answer as one text; what follows the prompt's own tokens is the answer."""
    asked = tokenizer(prompt)["input_ids"]
    whole = tokenizer(join(prompt, answer))["input_ids"]
    common = 0
    while common < min(len(asked), len(whole) - 1) and asked[common] == whole[common]:
        common += 1
    return Example(tuple(whole), max(common, 1))


def pad_right(rows: Sequence[Sequence[int]], padding: int, device: Any) -> dict[str, torch.Tensor]:
    """Return rows of token ids as ``input_ids`` and ``attention_mask``."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def pad_left(rows: Sequence[Sequence[int]], padding: int, device: Any) -> dict[str, torch.Tensor]:
    """Return rows of token ids padded on the left, as generation wants them."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def rows_per_batch(tokenizer: Any, most: int) -> int:
    """Return how many texts go through the model at once, so that their logits stay small.

    A vocabulary of 128,000 makes logits of 25 MB a text of 48 tokens; one of 2,000, of 0.4 MB.
    """
    return max(1, min(most, _MOST_LOGITS // (len(tokenizer) * _USUAL_TOKENS)))


def by_length(rows: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Return the rows' numbers in batches of like length, so that little is padded."""
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
