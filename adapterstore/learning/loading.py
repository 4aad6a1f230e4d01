"""Load a base model from a folder: files at hand only, no code from the folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.errors import BaseModelUnavailable, InvalidSetting

if TYPE_CHECKING:
    import torch


def load_base(folder: Path, device: str = "auto") -> tuple[Any, Any]:
    """Return the model and its tokenizer.

    On a CPU the model computes in float32, elsewhere in the dtype of its files.

    Raises:
        BaseModelUnavailable: transformers can't load the folder as a causal language model, or the
            folder lacks some of its weights.
        InvalidSetting: there is no such device here.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chosen = _find_device(device)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if chosen.type == "cpu" else "auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise BaseModelUnavailable(folder.name, f"can't be loaded: {reason}") from error
    model, info = loaded
    if info["missing_keys"]:
        # transformers makes them up at random.
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise BaseModelUnavailable(
            folder.name, f"{len(info['missing_keys'])} weights are not in its files ({missing})"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.max_length = None
    return model.to(chosen).eval(), tokenizer


def _find_device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Only using a device tells whether it is there.
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidSetting("recipe.device", f"no device {name!r} here: {reason}") from error
