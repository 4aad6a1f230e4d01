"""Write on from rows of tokens, and take out of the batch what is done.

transformers' ``generate`` carries every row of a batch to the end of the longest. Most texts of a
model are far shorter than the limit, so that is most of the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapterstore.evaluation.encoding import pad

if TYPE_CHECKING:
    import torch

_USUAL_CACHE, _MOST_CACHE = 1 << 28, 1 << 31
"""Bytes of keys and values: of one batch that is larger than the usual, and of any."""
_MOST_ROWS = 512
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


def rows_at_once(model: Any, tokens: int, usual: int) -> int:
    """Return how many rows to write on from at once: more than usual where their cache is small.

    Where the cache of so many would be large, as a long prompt's is, it is fewer.

    Args:
        model: the model.
        tokens: that a row may have in the end.
        usual: the number for most models.
    """
    config = _base(model).config.get_text_config()
    layers = getattr(config, "num_hidden_layers", 0)
    heads = getattr(config, "num_attention_heads", 0)
    width = _of_all(config, "head_dim") or getattr(config, "hidden_size", 0) // max(heads, 1)
    kept = _of_all(config, "num_key_value_heads") or heads
    row = 2 * int(model.dtype.itemsize) * kept * width * layers * tokens
    if not row:
        return usual
    return max(1, min(max(usual, min(_MOST_ROWS, _USUAL_CACHE // row)), _MOST_CACHE // row))


def _of_all(config: Any, name: str) -> Any:
    """Return a value of a config; None where it has none, or one for each layer."""
    try:
        return getattr(config, name, None)
    except RuntimeError:
        # transformers' AmbiguousGlobalPerLayerAttributeError, of Gemma 4.
        return None


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
    inputs = pad(rows, padding, model.device, "left")
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
        chosen = _draw(logits) if sample else logits.argmax(-1, keepdim=True)
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


def _draw(logits: torch.Tensor) -> torch.Tensor:
    """Draw one token a row from the distribution of the logits: one random number each."""
    import torch

    shares = logits.double().softmax(-1).cumsum(-1)
    place = torch.rand((len(shares), 1), dtype=shares.dtype, device=shares.device) * shares[:, -1:]
    return torch.searchsorted(shares, place, right=True).clamp_max(shares.shape[-1] - 1)


def _base(model: Any) -> Any:
    """Return the transformers model that a PEFT model wraps."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
