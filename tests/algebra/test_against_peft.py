"""A second opinion: peft's own sums of adapters that peft itself made."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from adapterstore.adapters.lora import lora_leaf, read_lora
from adapterstore.adapters.merged import merge_into_base
from adapterstore.algebra.leaves import LoraLeaf
from adapterstore.algebra.lowrank import MaterializedLora, materialize_lora
from adapterstore.errors import CannotExport

TOLERANCE = 1e-5
IDS = torch.tensor([[1, 5, 2, 12, 0, 7]])


def llama() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=13,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    model: Any = LlamaForCausalLM(config)
    return model.eval()


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=13, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    model: Any = GPT2LMHeadModel(config)
    return model.eval()


LLAMA_ADAPTERS: list[dict[str, Any]] = [
    {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj", "embed_tokens"]},
    {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": "all-linear",
        "use_rslora": True,
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {r"layers\.1\..*": 9},
    },
    {"r": 1, "lora_alpha": 1, "target_modules": ["embed_tokens", "lm_head"]},
]
GPT2_ADAPTERS: list[dict[str, Any]] = [
    {"r": 3, "lora_alpha": 5, "target_modules": ["c_attn", "wte", "wpe"], "fan_in_fan_out": True},
    {"r": 2, "lora_alpha": 8, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    # Its linear layer lies the other way round than Conv1D's: peft saves False here.
    {"r": 2, "lora_alpha": 3, "target_modules": ["lm_head", "wpe"], "fan_in_fan_out": False},
]
MODELS = pytest.mark.parametrize(
    ("make", "adapters"),
    [(llama, LLAMA_ADAPTERS), (gpt2, GPT2_ADAPTERS)],
    ids=["Llama", "GPT-2"],
)
COEFFICIENTS = [Decimal("1"), Decimal("-0.7"), Decimal("0.25")]


def write_adapters(
    folder: Path, make: Callable[[], Any], adapters: list[dict[str, Any]]
) -> list[LoraLeaf]:
    """Adapters of random factors, saved by peft."""
    leaves = []
    for number, options in enumerate(adapters):
        model = get_peft_model(make(), LoraConfig(**options, init_lora_weights=False))
        generator = torch.Generator().manual_seed(number)
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data = 0.2 * noise.to(parameter.dtype)
        model.save_pretrained(str(folder / str(number)))
        leaves.append(lora_leaf(read_lora(folder / str(number))))
    return leaves


def terms_of(leaves: list[LoraLeaf]) -> list[tuple[Decimal, LoraLeaf]]:
    return list(zip(COEFFICIENTS, leaves, strict=False))


def write_materialized(lora: MaterializedLora, folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(lora.config))
    save_file(dict(lora.tensors), folder / "adapter_model.safetensors")
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def with_all_active(folder: Path, model: Any, count: int) -> Any:
    """The adapters side by side in peft, each scaled by its coefficient."""
    wrapped: Any = PeftModel.from_pretrained(model, str(folder / "0"), adapter_name="0")
    for number in range(1, count):
        wrapped.load_adapter(str(folder / str(number)), adapter_name=str(number))
    wrapped.base_model.set_adapter([str(number) for number in range(count)])
    for module in wrapped.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict):
            for name in scaling:
                scaling[name] *= float(COEFFICIENTS[int(name)])
    return wrapped.eval()


@MODELS
def test_the_materialized_adapter_acts_as_all_adapters_at_once(
    tmp_path: Path, make: Callable[[], Any], adapters: list[dict[str, Any]]
) -> None:
    leaves = write_adapters(tmp_path, make, adapters)
    folder = write_materialized(materialize_lora(terms_of(leaves)), tmp_path / "sum")
    found = logits(PeftModel.from_pretrained(make(), str(folder)).eval())
    expected = logits(with_all_active(tmp_path, make(), len(adapters)))
    assert (expected - logits(make())).abs().max() > 0.1
    assert (found - expected).abs().max() < TOLERANCE


def test_it_acts_as_pefts_concatenation(tmp_path: Path) -> None:
    adapters = [{**LLAMA_ADAPTERS[0], "r": rank, "lora_alpha": 5} for rank in (2, 3)]
    leaves = write_adapters(tmp_path, llama, adapters)
    folder = write_materialized(materialize_lora(terms_of(leaves)), tmp_path / "sum")
    found = logits(PeftModel.from_pretrained(llama(), str(folder)).eval())
    theirs: Any = PeftModel.from_pretrained(llama(), str(tmp_path / "0"), adapter_name="0")
    theirs.load_adapter(str(tmp_path / "1"), adapter_name="1")
    theirs.add_weighted_adapter(["0", "1"], [1.0, -0.7], "sum", combination_type="cat")
    theirs.set_adapter("sum")
    assert (found - logits(theirs.eval())).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("make", "adapters"),
    [(llama, LLAMA_ADAPTERS), (gpt2, [GPT2_ADAPTERS[1], {"r": 1, "target_modules": ["wpe"]}])],
    ids=["Llama", "GPT-2"],
)
def test_the_merged_model_acts_as_the_adapters(
    tmp_path: Path, make: Callable[[], Any], adapters: list[dict[str, Any]]
) -> None:
    leaves = write_adapters(tmp_path, make, adapters)
    make().save_pretrained(str(tmp_path / "base"))
    (tmp_path / "merged").mkdir()
    merge_into_base(tmp_path / "base", terms_of(leaves), tmp_path / "merged")
    merged: Any = AutoModelForCausalLM.from_pretrained(
        str(tmp_path / "merged"), dtype=torch.float32
    )
    expected = logits(with_all_active(tmp_path, make(), len(adapters)))
    assert (logits(merged.eval()) - expected).abs().max() < TOLERANCE


def test_lora_on_an_embedding_that_is_the_output_layer_too_is_not_merged(tmp_path: Path) -> None:
    leaves = write_adapters(tmp_path, gpt2, GPT2_ADAPTERS)
    gpt2().save_pretrained(str(tmp_path / "base"))
    (tmp_path / "merged").mkdir()
    with pytest.raises(CannotExport, match=r"adapts transformer\.wte alone"):
        merge_into_base(tmp_path / "base", terms_of(leaves), tmp_path / "merged")
    assert list((tmp_path / "merged").iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adapters_in_16_bits_are_summed_without_rounding_them_again(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    write_adapters(tmp_path, llama, LLAMA_ADAPTERS[:1])
    model: Any = PeftModel.from_pretrained(llama(), str(tmp_path / "0"))
    model.to(dtype)
    model.save_pretrained(str(tmp_path / "short"))
    leaf = lora_leaf(read_lora(tmp_path / "short"))
    name = "model.layers.0.self_attn.q_proj"
    assert leaf.modules[name].load_a().dtype == dtype
    lora = materialize_lora([(Decimal("0.25"), leaf)])
    b = model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight
    expected = (b.detach().double() * (0.25 * (5 / 3))).float()
    assert torch.equal(lora.tensors[f"base_model.model.{name}.lora_B.weight"], expected)
