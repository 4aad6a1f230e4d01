"""Which modules of a model a LoRA adapter goes to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from adapterstore.adapters.live_weights import taken_for_experts
from adapterstore.algebra.dense import match_weight

_NOT_TEXT = frozenset(
    {"vision_tower", "vision_model", "visual", "vision_embed_tokens", "audio_tower"}
    | {"multi_modal_projector", "embed_vision", "embed_audio"}
)
"""Parts of models of several modalities that a text never goes through."""
_NOT_PLAIN = ("Router", "Grouped")
"""Of linear layers whose class says so: they give more than W·x, or take x apart."""


def find_targets(model: Any, wanted: Literal["all-linear"] | Sequence[str]) -> list[str]:
    """Return the full names of the modules to adapt, as they are in the base model.

    Args:
        model: a transformers model, or a PEFT model around one.
        wanted: ``all-linear``, or the ends of names (``q_proj``, ``layers.3.mlp.up_proj``).
    """
    names = linear_modules(model)
    if wanted == "all-linear":
        return names
    return [name for name in names if any(f".{name}".endswith(f".{end}") for end in wanted)]


def linear_modules(model: Any) -> list[str]:
    """Return the names of all linear modules but the output layer, as in the base model."""
    output = model.get_output_embeddings()
    names = []
    for key, module in model.named_modules():
        inner = getattr(module, "base_layer", module)
        linear = _is_linear(inner) and inner is not output
        if not linear or ".lora_" in key or key.endswith(".base_layer"):
            continue
        if _NOT_TEXT.isdisjoint(key.split(".")):
            names.append(key.removeprefix("base_model.model."))
    return names


def without_place(
    model: Any, names: Sequence[str], stored: Collection[str] | None
) -> dict[str, str]:
    """Return which modules can't be adapted, and why: module → reason.

    Args:
        model: a transformers model, or a PEFT model around one.
        names: of modules.
        stored: the names of the weights in the base's files (None: not known).
    """
    fused = taken_for_experts(model, names)
    found = dict.fromkeys(fused, "peft takes it for the experts that the base fuses")
    for name in names:
        if stored and match_weight(f"{name}.weight", stored) is None:
            found.setdefault(name, "the base's files have no weight of that name")
    return found


def are_transposed(model: Any, names: Sequence[str]) -> bool | None:
    """Return whether these modules keep their weights as (in, out); None: some do, some do not."""
    from transformers.pytorch_utils import Conv1D

    wanted = set(names)
    found = {
        isinstance(getattr(module, "base_layer", module), Conv1D)
        for key, module in model.named_modules()
        if key.removeprefix("base_model.model.") in wanted
    }
    return found.pop() if len(found) == 1 else None


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    kind = type(module).__name__
    return isinstance(module, (torch.nn.Linear, Conv1D)) and not any(w in kind for w in _NOT_PLAIN)
