"""What a model is to go on saying: the K likeliest tokens of each position of a text.

All other tokens count as one, which is exact in the limit and small for any vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapterstore.evaluation.encoding import (
    Example,
    answer_places,
    by_logits,
    pad,
    padding_id,
)
from adapterstore.evaluation.generation import BATCH_SIZE
from adapterstore.evaluation.reading import logits_at
from adapterstore.learning.sampling import Tokens

LIKELIEST = 256
AGREES = 0.5
"""Nats of KL(base ‖ state), a position, up to which a state says what the base says, if its
likeliest token is the same, too. To what the base is sure of it gives e^−0.5 = 0.61 or more."""
_LEAST_MASS = 1e-6


@dataclass(frozen=True)
class Reference:
    """What is to be said at each position of a text: the likeliest tokens and their logarithms."""

    tokens: torch.Tensor
    logs: torch.Tensor


def remember(
    model: Any,
    tokenizer: Any,
    texts: Sequence[Tokens],
    said_by_base: dict[Tokens, Reference] | None = None,
) -> dict[Tokens, Reference]:
    """Return what is to be said at every position of every text: what the model says now.

    Args:
        model: the state.
        tokenizer: its tokenizer.
        texts: what to read.
        said_by_base: what the base says of them. It is taken where the state agrees with it (see
            `AGREES`): each update lets the rest slip a little, and from state to state that would
            add up. It is emptied on the way, so that memory holds each text once.
    """
    memory = {}
    with torch.inference_mode():
        for numbers in by_logits(tokenizer, texts, BATCH_SIZE):
            rows = [texts[n] for n in numbers]
            inputs = pad(rows, padding_id(tokenizer), model.device)
            logits = logits_at(model, inputs, answer_places([Example(row, 1) for row in rows]))
            # Of the logarithms, only those kept are ever formed.
            total = logits.float().logsumexp(-1, keepdim=True)
            if said_by_base is None:
                tokens, logs = _likeliest(logits, total)
            else:
                tokens, logs = _joined([said_by_base.pop(row) for row in rows], logits.device)
                shown = logits.gather(1, tokens).float() - total
                moved = divergences(shown, logs, logits.shape[1]) > AGREES
                moved |= logits.argmax(-1) != tokens[:, 0]
                tokens[moved], logs[moved] = _likeliest(logits[moved], total[moved])
            lengths = [len(row) - 1 for row in rows]
            for text, likeliest, said in zip(
                rows,
                tokens.to("cpu", torch.int32).split_with_sizes(lengths),
                logs.cpu().split_with_sizes(lengths),
                strict=True,
            ):
                # Copies: a slice would keep the whole batch in memory.
                memory[text] = Reference(likeliest.clone(), said.clone())
    return memory


def _likeliest(logits: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the likeliest tokens of each position, and their logarithms."""
    best = logits.topk(min(LIKELIEST, logits.shape[-1]), dim=-1)
    return best.indices, best.values.float() - total


def _joined(
    references: Sequence[Reference], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens and logarithms of several texts below each other."""
    tokens = torch.cat([reference.tokens for reference in references]).long()
    return tokens.to(device), torch.cat([reference.logs for reference in references]).to(device)


def divergences(shown: torch.Tensor, before: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Return KL(before ‖ now) of each position; all but the likeliest tokens count as one.

    Args:
        shown: logarithms that now has at the tokens that were the likeliest: (positions, K).
        before: those that it had.
        vocabulary: how many tokens there are.
    """
    known = before.exp()
    each = (known * (before - shown)).sum(-1)
    if before.shape[1] < vocabulary:
        rest_before = (1 - known.sum(-1)).clamp_min(_LEAST_MASS)
        rest_now = (1 - shown.exp().sum(-1)).clamp_min(_LEAST_MASS)
        each = each + rest_before * (rest_before.log() - rest_now.log())
    return each
