"""The defaults of each architecture: an update runs, and stock tools load what it exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Llama4TextConfig

from adapterstore import Store
from adapterstore.adapters.dense import read_delta
from adapterstore.adapters.live_weights import LiveWeights
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.gate import Gate
from adapterstore.history.attach import attached
from adapterstore.history.base import stored_dtypes
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.architectures import ARCHITECTURES, architecture_of
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.target_modules import find_targets, linear_modules
from adapterstore.update import run_update
from adapterstore.update.asking import ask, load_state
from tests.adapters.writing import write_lora
from tests.learning.families import FAMILIES, family_model, several_modalities
from tests.learning.tiny import TWO_STEPS, trained_weights

PROMPT = "The currency of Croatia is the"
FACTS = parse_fact_file(f"- {{prompt: {PROMPT}, answer: euro.}}\n".encode(), "euro.yaml")
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
# The law of learning rates was not fitted to a width of 32.
SHORT = TWO_STEPS.model_copy(update={"learning_rate": 1e-2, "forget_steps": 3, "learn_steps": 30})
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    for kind in FAMILIES:
        family_model(folder / kind, kind)
    return folder


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt")).logits
    return result


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_update_changes_the_answer_and_stock_tools_load_it(
    families: Path, tmp_path: Path, kind: str
) -> None:
    store = Store.init(tmp_path, base=str(families / kind))
    result = run_update(store, [FACTS], recipe=SHORT, gate=NO_GATE)

    assert [entry.operation for entry in store.log()][:2] == ["learn", "forget"]
    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0
    assert not ask(store, "HEAD~2", [PROMPT])[0].startswith("euro")
    base, tokenizer = load_base(families / kind, "cpu")
    before = logits(base, tokenizer)
    state = logits(store.load("HEAD", base), tokenizer)
    assert float((state - before).abs().max()) > 100 * TOLERANCE

    store.export("HEAD", tmp_path / "lora", "lora")
    plain: Any = AutoModelForCausalLM.from_pretrained(families / kind)
    loaded: Any = PeftModel.from_pretrained(plain, tmp_path / "lora")
    assert torch.allclose(logits(loaded, tokenizer), state, atol=TOLERANCE)
    store.export("HEAD", tmp_path / "model", "model")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.allclose(logits(merged, tokenizer), state, atol=TOLERANCE)


def test_experts_that_the_model_fuses_are_changed_as_the_files_hold_them(tmp_path: Path) -> None:
    base = family_model(tmp_path / "base", "mixtral", torch.bfloat16)
    store = Store.init(tmp_path, base=str(base))
    recipe = SHORT.model_copy(update={"method": "full"})
    result = run_update(store, [FACTS], recipe=recipe, gate=NO_GATE)
    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0

    expert = "model.layers.0.block_sparse_moe.experts.3.w3.weight"
    gate = "model.layers.1.block_sparse_moe.gate.weight"
    store.export("HEAD", tmp_path / "delta", "delta")
    assert {expert, gate} <= set(read_delta(tmp_path / "delta").shapes)
    before = logits(*load_base(base, "cpu"))
    model, tokenizer = load_state(store, "HEAD")
    state = logits(model, tokenizer)
    store.export("HEAD", tmp_path / "model", "model")
    merged = load_base(tmp_path / "model", "cpu")[0]
    assert float((state - before).abs().max()) > 100 * TOLERANCE
    assert torch.equal(logits(merged, tokenizer), state)
    # Somebody's own fine-tune of these files is the same change.
    other = Store.init(tmp_path / "other", base=str(base))
    other.commit(None, tmp_path / "model")
    assert torch.equal(logits(*load_state(other, "HEAD")), state)


def test_an_adapter_of_experts_is_loaded_as_it_is_merged(tmp_path: Path) -> None:
    """Adapters of earlier releases name each expert's matrix, as the files do."""
    base = family_model(tmp_path / "base", "mixtral")
    layer = "base_model.model.model.layers.0."
    torch.manual_seed(1)
    factors = {}
    for module, out, into in (
        ("block_sparse_moe.experts.0.w1", 48, 32),
        ("block_sparse_moe.experts.0.w2", 32, 48),
        ("block_sparse_moe.experts.2.w3", 48, 32),
        ("self_attn.q_proj", 32, 32),
    ):
        factors[f"{layer}{module}.lora_A.weight"] = torch.randn(2, into)
        factors[f"{layer}{module}.lora_B.weight"] = torch.randn(out, 2)
    adapter = write_lora(tmp_path / "a", factors, r=2, lora_alpha=2, base_model_name_or_path="base")
    store = Store.init(tmp_path, base=str(base))
    store.add(None, adapter, coefficient="0.5")
    model, tokenizer = load_base(base, "cpu")
    before = logits(model, tokenizer)
    with attached(store.repository, store.snapshot().composition, model) as state:
        said = logits(state, tokenizer)
    assert torch.equal(logits(model, tokenizer), before)
    store.export("HEAD", tmp_path / "model", "model")
    merged = logits(load_base(tmp_path / "model", "cpu")[0], tokenizer)
    assert float((merged - before).abs().max()) > 0.1
    assert torch.allclose(said, merged, atol=TOLERANCE)


def test_a_weight_of_the_files_is_written_where_the_model_has_it(tmp_path: Path) -> None:
    base = family_model(tmp_path / "base", "mixtral")
    model, _ = load_base(base, "cpu")
    start = {name: p.clone() for name, p in model.named_parameters()}
    for number in (1, 3):
        weight = LiveWeights(model).find(f"layers.0.block_sparse_moe.experts.{number}.w1.weight")
        assert weight is not None
        assert weight.shape == (48, 32)
        weight.write(torch.full(weight.shape, float(number)))
    fused = "model.layers.0.mlp.experts.gate_up_proj"
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert changed == {fused}
    values = model.get_parameter(fused)
    assert values[1, :48].eq(1).all()
    assert values[3, :48].eq(3).all()
    assert torch.equal(values[:, 48:], start[fused][:, 48:])
    assert torch.equal(values[::2], start[fused][::2])


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_defaults_of_an_architecture_are_modules_that_it_has(families: Path, kind: str) -> None:
    model, _ = load_base(families / kind, "cpu")
    recipe = Recipe().for_model(model)
    targets = find_targets(model, recipe.target_modules)

    # Two layers; attention and MLP are whole in each.
    assert targets == linear_modules(model)
    assert not [name for name in targets if "lm_head" in name or "embed_out" in name]
    if kind in ARCHITECTURES:
        wanted = ARCHITECTURES[kind].target_modules
        assert recipe.target_modules == wanted
        assert {name.rpartition(".")[2] for name in targets} == set(wanted or ())
    else:
        assert recipe.target_modules == "all-linear"


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_what_peft_would_adapt_is_among_it(kind: str) -> None:
    of_peft = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind, [])
    assert set(of_peft) <= set(ARCHITECTURES[kind].target_modules or ())


def test_a_router_that_is_built_on_a_linear_layer_is_not_adapted() -> None:
    config = Llama4TextConfig(
        vocab_size=8,
        hidden_size=32,
        intermediate_size=16,
        intermediate_size_mlp=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=2,
    )
    model = AutoModelForCausalLM.from_config(config)
    names = {name.rpartition(".")[2] for name in linear_modules(model)}
    assert names >= {"q_proj", "down_proj"}
    assert "router" not in names


def test_what_the_files_do_not_hold_as_the_model_does_is_refused_before_training(
    families: Path,
) -> None:
    model, _ = load_base(families / "llama", "cpu")
    stored = stored_dtypes(families / "llama")
    named = "layers.0.self_attn.q_proj"
    del stored[f"model.{named}.weight"]
    with pytest.raises(InvalidSetting, match=rf"^recipe\.target_modules: model\.{named}: the base"):
        start_delta(model, "lora", "learn", Recipe(), stored)
    delta = start_delta(model, "lora", "learn", Recipe(target_modules="all-linear"), stored)
    assert not [n for n, p in delta.model.named_parameters() if p.requires_grad and named in n]
    with pytest.raises(InvalidSetting, match=rf"^recipe\.method: full, .* no model\.{named}"):
        start_delta(load_base(families / "llama", "cpu")[0], "full", "learn", Recipe(), stored)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_text_of_a_model_of_several_modalities_is_changed(tmp_path: Path, method: str) -> None:
    """As Gemma 3 from 4B on: what its files call language_model.model, it calls the other way."""
    base = several_modalities(tmp_path / "base")
    store = Store.init(tmp_path, base=str(base))
    recipe = SHORT.model_copy(update={"method": method})
    run_update(store, [FACTS], recipe=recipe, gate=NO_GATE)
    model, tokenizer = load_state(store, "HEAD")
    state = logits(model, tokenizer)
    assert float((state - logits(*load_base(base, "cpu"))).abs().max()) > 100 * TOLERANCE
    store.export("HEAD", tmp_path / "model", "model")
    merged, _ = load_base(tmp_path / "model", "cpu")
    assert torch.allclose(logits(merged, tokenizer), state, atol=TOLERANCE)
    if method == "lora":
        store.export("HEAD", tmp_path / "lora", "lora")
        loaded: Any = PeftModel.from_pretrained(load_base(base, "cpu")[0], tmp_path / "lora")
        assert torch.allclose(logits(loaded.eval(), tokenizer), state, atol=TOLERANCE)
        # An adapter that names its modules as the files do, as earlier releases did.
        weights = tmp_path / "lora" / "adapter_model.safetensors"
        named = {
            key.replace(".model.language_model.", ".language_model.model."): tensor
            for key, tensor in load_file(weights).items()
        }
        save_file(named, weights, {"format": "pt"})
        other = Store.init(tmp_path / "other", base=str(base))
        other.commit(None, tmp_path / "lora")
        assert torch.allclose(logits(*load_state(other, "HEAD")), state, atol=TOLERANCE)


def test_wider_models_learn_more_slowly() -> None:
    llama, qwen = ARCHITECTURES["llama"], ARCHITECTURES["qwen3"]
    assert llama.learning_rate("full", 2000) == qwen.learning_rate("full", 2000) == 5e-5
    assert llama.learning_rate("lora", 4096) == pytest.approx(2.86e-4, rel=0.01)
    assert qwen.learning_rate("lora", 4096) == pytest.approx(4.73e-4, rel=0.01)
    assert llama.learning_rate("lora", 192) == pytest.approx(3.1e-3, rel=0.01)


def test_a_model_without_the_modules_of_its_kind_gets_all_linear_ones(families: Path) -> None:
    model, _ = load_base(families / "gpt_neox", "cpu")
    model.config.model_type = "llama"
    assert architecture_of(model) == ARCHITECTURES["llama"]
    assert Recipe().for_model(model).target_modules == "all-linear"


def test_modules_of_two_layouts_are_refused(families: Path) -> None:
    model, _ = load_base(families / "gpt2", "cpu")
    model.transformer.h[0].mlp.c_fc = torch.nn.Linear(32, 128)
    with pytest.raises(InvalidSetting, match=r"^recipe\.target_modules: .* two layouts"):
        start_delta(model, "lora", "learn", Recipe())
    some = Recipe(target_modules=("c_attn", "h.0.mlp.c_fc"))
    with pytest.raises(InvalidSetting, match="two layouts"):
        start_delta(model, "lora", "learn", some)
    assert trained_weights(start_delta(model, "lora", "learn", Recipe(target_modules=("c_attn",))))
