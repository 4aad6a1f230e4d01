"""What a model says at each position of a text, over the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch


def distributions(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    """Return the natural logarithms of the whole distribution at every position of a text."""
    tokens = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        logits: torch.Tensor = model(tokens).logits[0, :-1]
    return logits.log_softmax(-1)


def divergence(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    return (before.exp() * (before - now)).sum(-1).mean()
