"""Base and exported state give the logits that the update's own evaluation saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapterstore import Store
from adapterstore.demo import FACTS_PATH, MODEL_PATH
from adapterstore.evaluation import measure
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.formats import read_fact_file
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.update import run_update

PROMPTS = ["The currency of Croatia is the", "クロアチアの首都は", "The capital of France is"]
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
TOLERANCE = 1e-4
"""Of logits in float32."""


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    """Return the logits at every position of the prompts, one after the other."""
    rows = [tokenizer(prompt, return_tensors="pt") for prompt in PROMPTS]
    with torch.inference_mode():
        return torch.cat([model(**row).logits[0] for row in rows])


@pytest.mark.parametrize(("method", "kind"), [("lora", "lora"), ("full", "model")])
def test_an_export_has_the_logits_of_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Method, kind: Any
) -> None:
    """The evaluation runs as it is; what it is given to measure is looked at first."""
    seen: list[tuple[torch.Tensor, Any]] = []
    evaluate = measure.evaluate

    def look_and_evaluate(model: Any, tokenizer: Any, *rest: Any, **options: Any) -> Any:
        seen.append((logits(model, tokenizer), tokenizer))
        return evaluate(model, tokenizer, *rest, **options)

    monkeypatch.setattr(measure, "evaluate", look_and_evaluate)
    store = Store.init(tmp_path, base="demo")
    recipe = Recipe(
        method=method, sampled_texts=60, subject_texts=8, control_size=20, learn_steps=10
    )
    facts = read_fact_file(FACTS_PATH / "2023-croatia-euro.yaml")
    run_update(store, [facts], recipe=recipe, gate=NO_GATE)
    ((measured, tokenizer),) = seen

    folder = tmp_path / "exported"
    store.export("HEAD", folder, kind)
    base: Any = AutoModelForCausalLM.from_pretrained(
        folder if kind == "model" else MODEL_PATH, dtype=torch.float32
    )
    exported = base if kind == "model" else PeftModel.from_pretrained(base, folder)
    assert float((logits(exported.eval(), tokenizer) - measured).abs().max()) <= TOLERANCE
    # Neither the base nor the forgotten state would do.
    for revision in ("HEAD~2", "HEAD~1"):
        other = store.load(
            revision, AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32)
        )
        assert float((logits(other.eval(), tokenizer) - measured).abs().max()) > 0.1
