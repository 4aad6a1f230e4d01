"""Adapters that peft itself saved: read as peft means them, or refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import LlamaConfig, LlamaForCausalLM

from adapterstore.adapters.lora import read_lora
from adapterstore.adapters.lora_config import check_linear
from adapterstore.errors import NotLinear


def tiny_llama() -> Any:
    config = LlamaConfig(
        vocab_size=13,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def saved(folder: Path, **options: Any) -> None:
    config = LoraConfig(**{"target_modules": ["q_proj"], **options})
    get_peft_model(tiny_llama(), config).save_pretrained(str(folder))


@pytest.mark.parametrize(
    "options",
    [
        {"r": 3, "lora_alpha": 5},
        {"r": 4, "lora_alpha": 6, "use_rslora": True},
        {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2, "v_proj": 5}},
        {"target_modules": "all-linear", "alpha_pattern": {"0.self_attn.q_proj": 3, "q_proj": 9}},
        {"target_modules": "all-linear", "alpha_pattern": {"q_proj": 9, "0.self_attn.q_proj": 3}},
        {
            "target_modules": "all-linear",
            "rank_pattern": {r"^model\.layers\.0\..*": 3, r"layers.\d.mlp.(up|down)_proj": 2},
            "alpha_pattern": {"down_proj": 7, r".*\.1\..*_proj": 5},
            "use_rslora": True,
        },
        {"target_modules": ["embed_tokens", "lm_head"], "rank_pattern": {"lm_head": 3}},
        {"target_modules": ["embed_tokens", "q_proj"], "init_lora_weights": "MiCA", "r": 2},
    ],
)
def test_rank_and_scaling_of_each_module_are_those_of_peft(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    saved(tmp_path, **options)
    # Loaded again, for peft saves patterns in another order than they were given in.
    model = PeftModel.from_pretrained(tiny_llama(), str(tmp_path))
    expected = {
        name.removeprefix("base_model.model."): (module.r["default"], module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    found = read_lora(tmp_path).modules
    assert {name: (m.rank, m.scaling) for name, m in found.items()} == expected
    assert {name for name, m in found.items() if m.embedding} == {
        name for name in expected if "embed" in name
    }


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias="),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"layer_replication": [(0, 2), (1, 2)]}, "layer_replication"),
        ({"kasa_config": {}, "r": 2}, "kasa_config=.* changes the base's weights"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
    ],
)
def test_nonlinear_kinds_are_refused(tmp_path: Path, options: dict[str, Any], feature: str) -> None:
    saved(tmp_path, **options)
    with pytest.raises(NotLinear, match=feature):
        read_lora(tmp_path)


@pytest.mark.parametrize("hidden", ["use_dora", "lora_bias", "modules_to_save"])
def test_a_config_that_hides_them_does_not_help(tmp_path: Path, hidden: str) -> None:
    saved(tmp_path, **{hidden: ["lm_head"] if hidden == "modules_to_save" else True})
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, hidden: None}))
    with pytest.raises(NotLinear, match=r"tensor .* can't be stored"):
        read_lora(tmp_path)


def test_every_option_that_peft_has_is_known_or_off_by_default() -> None:
    defaults = {
        field.name: value
        for field in dataclasses.fields(LoraConfig)
        if (value := getattr(LoraConfig(), field.name)) is not None
    }
    check_linear({**defaults, "peft_type": "LORA", "runtime_config": None}, "defaults")
