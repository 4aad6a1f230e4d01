"""Load a base model from a folder: files at hand only, no code from the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapterstore.errors import BaseModelUnavailable


def load_base(folder: Path, device: str = "auto") -> tuple[Any, Any]:
    """Return the model and its tokenizer.

    On a CPU the model computes in float32, elsewhere in the dtype of its files.

    Raises:
        BaseModelUnavailable: transformers can't load the folder as a causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chosen = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if chosen == "cpu" else "auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BaseModelUnavailable(folder.name, f"can't be loaded: {reason}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.max_length = None
    placed: Any = model
    return placed.to(chosen).eval(), tokenizer
