"""Write on from rows of tokens, and take out of the batch what is done.

transformers' ``generate`` carries every row of a batch to the end of the longest. Most texts of a
model are far shorter than the limit, so that is most of the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from adapterstore.evaluation.encoding import pad_left

_WORTH_IT = 0.9
"""Rows are taken out when at most this share of the batch goes on: each time copies the cache."""


def can_write_on(model: Any) -> bool:
    """Return whether the model keeps keys and values of each token, as `write_on` needs it.

    Recurrent ones and those with a cache of their own do not; ``generate`` knows how to take them.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    base = _base(model)
    if base.config.is_encoder_decoder or getattr(base, "_is_stateful", False):
        return False
    taken = inspect.signature(base.forward).parameters
    if not {"input_ids", "attention_mask", "past_key_values", "use_cache"} <= set(taken):
        return False
    layers = DynamicCache(config=base.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def write_on(
    model: Any,
    rows: Sequence[Sequence[int]],
    *,
    most: int,
    ends: Sequence[int],
    padding: int,
    sample: bool = False,
) -> list[list[int]]:
    """Return what the model writes after each row: ``most`` tokens, or up to one of ``ends``.

    Args:
        model: one that `can_write_on`.
        rows: one batch.
        most: tokens to write.
        ends: tokens that end a text; they are returned with it.
        padding: any token; it is masked.
        sample: draw from the model's own distribution; else the likeliest token is taken.
    """
    import torch
    from transformers import DynamicCache

    base = _base(model)
    taken = inspect.signature(base.forward).parameters
    written: list[list[int]] = [[] for _ in rows]
    if most < 1:
        return written
    ending = torch.tensor(list(ends), device=model.device)
    inputs = pad_left(rows, padding, model.device)
    tokens, mask = inputs["input_ids"], inputs["attention_mask"]
    places = (mask.cumsum(-1) - 1).clamp_min(0)
    cache = DynamicCache(config=base.config)
    owners = list(range(len(rows)))
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
    for step in range(most):
        if "position_ids" in taken:
            options["position_ids"] = places
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        logits = output.logits[:, -1].float()
        if sample:
            chosen = torch.multinomial(logits.softmax(-1), 1)
        else:
            chosen = logits.argmax(-1, keepdim=True)
        for owner, token in zip(owners, chosen[:, 0].tolist(), strict=True):
            if owner >= 0:
                written[owner].append(token)
        going = ~torch.isin(chosen[:, 0], ending)
        # What is done stays in the batch, unheard, until taking it out is worth the copies.
        owners = [o if goes else -1 for o, goes in zip(owners, going.tolist(), strict=True)]
        left = [row for row, owner in enumerate(owners) if owner >= 0]
        if not left or step + 1 == most:
            break
        if len(left) <= _WORTH_IT * len(owners):
            kept = torch.tensor(left, device=model.device)
            cache.batch_select_indices(kept)
            chosen, mask, places = chosen[kept], mask[kept], places[kept]
            owners = [owners[row] for row in left]
        tokens, places = chosen, places[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
    return written


def _base(model: Any) -> Any:
    """Return the transformers model that a PEFT model wraps."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
