"""What is adapted, with which rank and how fast, by architecture.

Sources: adapting every linear layer, those of the MLP first of all, is what matches full
fine-tuning (QLoRA, arXiv 2305.14314; Schulman et al., "LoRA Without Regret", 2025), and facts are
kept in the MLP (ROME, arXiv 2202.05262). So the modules are peft's own choice for the architecture
(the attention's queries and values) and what belongs to it: keys, output, MLP. The learning rate is
the law that "LoRA Without Regret" fits over Llama and Qwen models,

    rate(LoRA) = 10 · rate(full),   rate(full) = 5e-5 · (2000 / hidden size)^p,

with p = 0.781 for Llama and 0.0775 for Qwen, at scaling 1. Other families take Llama's p. On the
demo model (hidden size 192) it gives 3.1e-3, next to the 3e-3 that a search by hand had found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Method = Literal["lora", "full"]

_RATE = 5e-5
_LORA_FACTOR = 10
_WIDTH = 2000
_RANK = 16
_FUSED_RANK = 24
"""Queries, keys and values as one module share A: 3/2 of the rank has as many parameters."""
_LLAMA_POWER = 0.781
_QWEN_POWER = 0.0775
_USUAL_WIDTH = 2048


@dataclass(frozen=True)
class Architecture:
    """The defaults of one kind of model."""

    target_modules: tuple[str, ...] | None
    """The last part of the names of the modules to adapt (None: every linear one but the output
    layer)."""
    rank: int = _RANK
    width_power: float = _LLAMA_POWER
    """p of the learning rate's law."""

    def learning_rate(self, method: Method, width: int) -> float:
        """Return the peak learning rate, at scaling 1.

        Args:
            method: LoRA takes ten times the rate of full fine-tuning.
            width: the model's hidden size.
        """
        rate = _RATE * (_WIDTH / width) ** self.width_power
        return float(f"{rate * (_LORA_FACTOR if method == 'lora' else 1):.3g}")


_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_NEOX = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")

FALLBACK = Architecture(None)

ARCHITECTURES = {
    **dict.fromkeys(("llama", "mistral", "ministral", "smollm3", "olmo2"), Architecture(_GATED)),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), Architecture(_GATED)),
    **dict.fromkeys(("qwen2", "qwen3"), Architecture(_GATED, width_power=_QWEN_POWER)),
    "phi3": Architecture(("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), _FUSED_RANK),
    "phi": Architecture(("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")),
    "opt": Architecture(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "gpt2": Architecture(("c_attn", "c_proj", "c_fc"), _FUSED_RANK),
    "gpt_bigcode": Architecture(("c_attn", "c_proj", "c_fc"), _FUSED_RANK),
    "gpt_neo": Architecture(("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj")),
    "gpt_neox": Architecture(_NEOX, _FUSED_RANK),
    "bloom": Architecture(_NEOX, _FUSED_RANK),
    "falcon": Architecture(_NEOX, _FUSED_RANK),
    # peft refuses the output projection of their state-space layers.
    "falcon_h1": Architecture((*_GATED, "in_proj")),
    **dict.fromkeys(("mamba", "falcon_mamba"), Architecture(("in_proj", "x_proj", "dt_proj"))),
    "mamba2": Architecture(("in_proj",)),
    "nemotron_h": Architecture((*_GATED, "in_proj")),
}
"""``model_type`` of transformers' configs → defaults."""


def architecture_of(model: Any) -> Architecture:
    """Return the defaults for a model; an unknown kind gets every linear layer but the output."""
    kinds = (model.config.model_type, model.config.get_text_config().model_type)
    return next((ARCHITECTURES[kind] for kind in kinds if kind in ARCHITECTURES), FALLBACK)


def width_of(model: Any) -> int:
    """Return the hidden size of a model's text part."""
    width = getattr(model.config.get_text_config(), "hidden_size", None)
    return width if isinstance(width, int) and width > 0 else _USUAL_WIDTH
