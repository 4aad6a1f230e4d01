"""Tiny models of the architectures in use, built from their configs, with the demo's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from adapterstore.demo import MODEL_PATH

_LLAMA_LIKE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
_NEOX_LIKE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": None},
    "gemma2": _LLAMA_LIKE,
    "gemma3_text": _LLAMA_LIKE,
    "phi3": _LLAMA_LIKE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "gpt_neox": {**_NEOX_LIKE, "rotary_pct": 0.5},
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 128,
    },
    # Its experts are two tensors in the model, and matrices of other names in the files.
    "mixtral": {
        **_LLAMA_LIKE,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    },
    # Its first layer has no experts; peft takes the linear layers there for some.
    "glm4_moe": {
        **_LLAMA_LIKE,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    # Not in the table of architectures: every linear layer but the output.
    "stablelm": {**_NEOX_LIKE, "num_key_value_heads": 2},
}


def family_model(
    folder: Path, kind: str, dtype: torch.dtype = torch.float32, **changes: Any
) -> Path:
    """Write a random model of a family, and the demo's tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "initializer_range": 0.1,
            **FAMILIES[kind],
            **changes,
        },
    )
    torch.manual_seed(7)
    model: Any = AutoModelForCausalLM.from_config(config)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def several_modalities(folder: Path) -> Path:
    """Write a random Gemma 3 that reads images, too, and the demo's tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "initializer_range": 0.1,
            **FAMILIES["gemma3_text"],
            **special,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=1,
        **special,
    )
    torch.manual_seed(7)
    model: Any = Gemma3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
