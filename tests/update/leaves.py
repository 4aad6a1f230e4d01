"""Exact deltas over the demo model, written by hand: it answers a prompt in another way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import join
from adapterstore.learning.loading import load_base

LAYER = "model.layers.3.mlp.down_proj"


def load_demo() -> tuple[Any, Any]:
    """Return the demo model and its tokenizer."""
    return load_base(MODEL_PATH, "cpu")


def answering(folder: Path, prompt: str, answer: str, strength: float = 600.0) -> Path:
    """Write a LoRA adapter of rank 1 that makes the demo model begin its answer with ``answer``.

    B·A·x adds the embedding of the answer's first token to the residual stream where the input x of
    the last layer's MLP is that of the prompt's last token.
    """
    model, tokenizer = load_demo()
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
    first = tokenizer(join(prompt, answer))["input_ids"][tokens.shape[1]]
    seen: list[torch.Tensor] = []
    module = model.get_submodule(LAYER)
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(input_ids=tokens)
    handle.remove()
    inputs = seen[0][0, -1].float()
    embedding = model.get_input_embeddings().weight[first].detach().float()
    return write_lora(
        folder,
        (inputs / inputs.dot(inputs))[None].clone(),
        (strength * embedding / embedding.norm())[:, None].clone(),
    )


def noise(folder: Path) -> Path:
    """Write a LoRA adapter that changes next to nothing."""
    generator = torch.Generator().manual_seed(0)
    return write_lora(
        folder,
        1e-6 * torch.randn(1, 512, generator=generator),
        torch.randn(192, 1, generator=generator),
    )


def write_lora(folder: Path, a: torch.Tensor, b: torch.Tensor) -> Path:
    """Write a PEFT folder of one module: ΔW = B·A."""
    folder.mkdir(parents=True)
    prefix = f"base_model.model.{LAYER}"
    save_file(
        {f"{prefix}.lora_A.weight": a.contiguous(), f"{prefix}.lora_B.weight": b.contiguous()},
        folder / "adapter_model.safetensors",
    )
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "demo",
        "r": 1,
        "lora_alpha": 1,
        "target_modules": [LAYER],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
