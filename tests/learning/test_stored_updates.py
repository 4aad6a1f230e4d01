"""What two phases trained, stored and attached again, is the model that training left."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.adapters.dense import write_delta
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.algebra.lowrank import MaterializedLora
from adapterstore.history.export import write_lora
from adapterstore.knowledge.facts import Fact
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import PhaseResult
from adapterstore.learning.phases import Outcome, forget_then_learn
from adapterstore.learning.recipe import Method, Recipe
from tests.learning.tiny import Architecture, tiny_model

FACTS = [
    Fact(prompt="The currency of Croatia is the", answer="euro", old_answer="kuna"),
    Fact(prompt="カザフスタンの首都は", answer="アスタナ", old_answer="ヌルスルタン"),
]
PHASES: list[tuple[Method, Method]] = [
    ("lora", "lora"),
    ("full", "full"),
    ("lora", "full"),
    ("full", "lora"),
]
TOLERANCE = 1e-4


def train(folder: Path, methods: tuple[Method, Method]) -> tuple[Outcome, torch.Tensor]:
    """Return what training gave, and the logits of the model that it left."""
    recipe = Recipe(
        forget_method=methods[0],
        learn_method=methods[1],
        learning_rate=1e-2,
        coefficient=Decimal("0.7"),
        rank=4,
        forget_steps=3,
        learn_steps=3,
        sampled_texts=8,
        control_size=2,
    )
    model, tokenizer = load_base(folder, "cpu")
    outcome = forget_then_learn(model, tokenizer, FACTS, recipe=recipe)
    return outcome, logits(model, tokenizer)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    tokens = torch.tensor([tokenizer(FACTS[0].prompt)["input_ids"]])
    with torch.inference_mode():
        logits: torch.Tensor = model(tokens).logits
    return logits


def write(result: PhaseResult | None, base: str, folder: Path) -> Path:
    assert result is not None
    if result.kind == "lora":
        folder.mkdir()
        config = {**(result.config or {}), "base_model_name_or_path": base}
        shapes = {name: tuple(tensor.shape) for name, tensor in result.tensors.items()}
        write_lora(MaterializedLora(config, result.tensors, shapes), folder)
    else:
        weights = {
            name: DenseWeight(tuple(tensor.shape), partial(torch.clone, tensor))
            for name, tensor in result.tensors.items()
        }
        write_delta(folder, weights, base)
    return folder


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("methods", PHASES)
def test_the_stored_deltas_are_the_live_model(
    tmp_path: Path, architecture: Architecture, methods: tuple[Method, Method]
) -> None:
    base = tiny_model(tmp_path / "base", architecture, torch.float32)
    outcome, live = train(base, methods)
    assert set(outcome.steps) == {"forget", "learn"}
    assert outcome.coefficient == Decimal("0.7")

    store = Store.init(tmp_path, base=str(base))
    name = str(store.snapshot().base.name)
    store.add(None, write(outcome.forget, name, tmp_path / "forget"), coefficient="-0.7")
    store.add(None, write(outcome.learn, name, tmp_path / "learn"))

    model, tokenizer = load_base(base, "cpu")
    before = logits(model, tokenizer)
    halfway = logits(store.load("HEAD~1", load_base(base, "cpu")[0]), tokenizer)
    after = logits(store.load("HEAD", model), tokenizer)
    assert torch.allclose(after, live, atol=TOLERANCE)
    assert min(float((halfway - s).abs().max()) for s in (before, after)) > 100 * TOLERANCE


@pytest.mark.parametrize("methods", [("lora", "full"), ("full", "lora")])
def test_the_same_seed_gives_the_same_tensors(
    tmp_path: Path, methods: tuple[Method, Method]
) -> None:
    base = tiny_model(tmp_path, "llama", torch.float32)
    first, second = (train(base, methods)[0] for _ in range(2))

    for one, other in ((first.forget, second.forget), (first.learn, second.learn)):
        assert one is not None
        assert other is not None
        assert list(one.tensors) == list(other.tensors)
        assert all(torch.equal(t, other.tensors[key]) for key, t in one.tensors.items())
    assert first.control == second.control
    assert first.preserved == second.preserved
