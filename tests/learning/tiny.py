"""Models too small to know anything, of both ways to keep a linear layer's weights."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.phase_delta import PhaseDelta
from adapterstore.learning.recipe import Recipe

Architecture = Literal["llama", "gpt2"]
TWO_STEPS = Recipe(
    coefficient=Decimal("0.5"),
    forget_steps=2,
    learn_steps=2,
    sampled_texts=0,
    subject_texts=0,
    control_size=0,
)
"""A recipe by which a phase changes something, and nothing is sampled."""
EURO = parse_fact_file(
    b"- {prompt: The currency of Croatia is the, answer: euro, old_answer: kuna}\n", "euro.yaml"
)


def trained_weights(delta: PhaseDelta) -> list[Any]:
    """Return what a phase trains."""
    return [weight for weight in delta.model.parameters() if weight.requires_grad]


def tiny_model(folder: Path, architecture: Architecture, dtype: torch.dtype) -> Path:
    """Write a random model with the demo's tokenizer: Llama with an output layer of its own, or
    GPT-2, whose layers keep their weights as (in, out) and whose output layer is the embedding.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(7)
    model: Any
    if architecture == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                initializer_range=0.1,
                **special,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=32,
                n_layer=2,
                n_head=2,
                n_positions=128,
                initializer_range=0.1,
                **special,
            )
        )
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
