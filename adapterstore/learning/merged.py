"""A state's adapter added into the weights for a while: a small model writes faster so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_BYTES = 1 << 28
"""Of the adapted weights, of which a copy is kept meanwhile: 256 MiB."""


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Let a small PEFT model in float32 compute with merged weights; afterwards it is as before.

    For what the last digit does not decide: texts, what is remembered of them, and λ, for which a
    stored state differs in that digit, too, as its adapters are one there. What is reported of a
    state is computed with the adapter beside the weights, as everywhere. The weights are put back
    bit for bit. Any other model is left alone, as is one with an adapter on weights that two layers
    share: added to the embeddings, it would change the output layer, too.
    """
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = []
    if isinstance(model, PeftModel):
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    if size > MOST_BYTES or any(w.dtype != torch.float32 or uses[id(w)] > 1 for w in weights):
        yield
        return
    kept = [weight.detach().clone() for weight in weights]
    try:
        for layer in layers:
            layer.merge()
        yield
    finally:
        for layer, weight, before in zip(layers, weights, kept, strict=True):
            layer.merged_adapters.clear()
            weight.data.copy_(before)
