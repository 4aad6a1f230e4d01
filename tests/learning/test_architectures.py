"""The defaults of each architecture: an update runs, and stock tools load what it exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from transformers import AutoModelForCausalLM

from adapterstore import Store
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.architectures import ARCHITECTURES, architecture_of
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.target_modules import find_targets, linear_modules
from adapterstore.update import run_update
from adapterstore.update.asking import ask
from tests.learning.families import FAMILIES, family_model
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
