"""Read rows of tokens in one forward pass, and let the output layer compute only what is asked.

With a vocabulary of 128,000 the output layer costs more than many a layer before it, and most
places of a batch are padding, or words of a prompt that nobody asks about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def logits_at(model: Any, inputs: Mapping[str, Any], places: torch.Tensor) -> torch.Tensor:
    """Return the logits at some places of a batch, in their order: (places, vocabulary).

    Args:
        model: a causal language model.
        inputs: ``input_ids`` and ``attention_mask``, padded on the right.
        places: (row, column) of each place.
    """
    rows, columns = places.unbind(1)
    head = model.get_output_embeddings()
    if head is None:
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[rows, columns]
        return logits
    with _asked_only(head, rows, columns):
        logits = model(**inputs, use_cache=False).logits
    return logits[0]


@contextmanager
def _asked_only(head: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Let an output layer see these places only, as one row."""

    def select(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = arguments
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)][None], *others)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
