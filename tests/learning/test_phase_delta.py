"""The delta that a phase trains: start + coefficient · delta, on a model as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.errors import InvalidSetting
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.target_modules import linear_modules
from tests.evaluation.bigram import bigram_model
from tests.learning.tiny import Architecture, tiny_model, trained_weights

ARCHITECTURES: list[Architecture] = ["llama", "gpt2"]
COEFFICIENTS = [0.0, 1.0, -0.7, 3.0]


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return load_base(tiny_model(tmp_path, request.param, torch.float32), "cpu")[0]


def disturb(delta: Any) -> None:
    """Do to what is trained what a training would: change every parameter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trained_weights(delta):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    delta.finish()


def test_dense_weights_are_start_plus_coefficient_times_delta(tiny: Any) -> None:
    start = {name: p.detach().clone() for name, p in tiny.named_parameters()}
    delta = start_delta(tiny, "full", "learn", Recipe())
    disturb(delta)
    differences = delta.result().tensors
    assert set(differences) == set(start)

    for coefficient in COEFFICIENTS:
        delta.set_coefficient(coefficient)
        for name, parameter in tiny.named_parameters():
            exact = start[name].double() + coefficient * differences[name].double()
            assert torch.equal(parameter, exact.float()), name


def test_a_low_rank_adapter_adds_coefficient_times_its_product(tiny: Any) -> None:
    names = linear_modules(tiny)
    inner = {name: tiny.get_submodule(name) for name in names}
    delta = start_delta(tiny, "lora", "learn", Recipe(rank=3, alpha=6))
    disturb(delta)
    result = delta.result()
    assert result.config is not None
    assert (result.config["r"], result.config["lora_alpha"]) == (3, 6)
    assert len(result.tensors) == 2 * len(names)

    generator = torch.Generator().manual_seed(2)
    for name in names:
        prefix = f"base_model.model.{name}"
        down, up = (result.tensors[f"{prefix}.lora_{x}.weight"] for x in "AB")
        wrapped = delta.model.get_submodule(prefix)
        asked = torch.randn(5, down.shape[1], generator=generator)
        for coefficient in COEFFICIENTS:
            delta.set_coefficient(coefficient)
            expected = inner[name](asked) + coefficient * 2 * asked @ (up @ down).T
            assert torch.allclose(wrapped(asked), expected, atol=1e-5), (name, coefficient)


def test_every_linear_layer_but_the_output_is_adapted(tiny: Any) -> None:
    names = linear_modules(tiny)
    expected = {"LlamaForCausalLM": 2 * 7, "GPT2LMHeadModel": 2 * 4}[type(tiny).__name__]
    assert len(names) == expected
    assert not [name for name in names if "lm_head" in name]
    # The second phase finds the same ones below the first phase's adapter.
    first = start_delta(tiny, "lora", "forget", Recipe(rank=2))
    assert linear_modules(first.model) == names


@pytest.mark.parametrize("method", ["lora", "full"])
def test_nothing_else_is_trained(tiny: Any, method: Method) -> None:
    first = start_delta(tiny, "lora", "forget", Recipe(rank=2))
    first.finish()
    second = start_delta(first.model, method, "learn", Recipe(rank=2))

    trained = {key for key, p in second.model.named_parameters() if p.requires_grad}
    assert len(trained) == len(trained_weights(second))
    if method == "lora":
        assert trained
        assert all(".learn." in key for key in trained)
    else:
        everything = {key for key, _ in second.model.named_parameters()}
        assert trained == {key for key in everything if "lora_" not in key}
    second.finish()
    assert not [p for p in second.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("methods", [("lora", "lora"), ("lora", "full"), ("full", "lora")])
def test_the_second_delta_leaves_the_first_at_its_coefficient(
    tiny: Any, methods: tuple[Method, Method]
) -> None:
    asked = torch.tensor([[5, 6, 7, 8]])
    first = start_delta(tiny, methods[0], "forget", Recipe(rank=2))
    disturb(first)
    first.set_coefficient(-0.5)
    forgotten = first.model(asked).logits
    second = start_delta(first.model, methods[1], "learn", Recipe(rank=2))

    assert torch.allclose(second.model(asked).logits, forgotten, atol=1e-5)
    disturb(second)
    assert not torch.allclose(second.model(asked).logits, forgotten, atol=0.1)
    second.set_coefficient(0.0)
    assert torch.allclose(second.model(asked).logits, forgotten, atol=1e-5)


def test_modules_that_the_model_does_not_have_can_not_be_trained(tiny: Any) -> None:
    recipe = Recipe(target_modules=("no_such_layer",))
    with pytest.raises(InvalidSetting, match=r"^recipe\.target_modules: .*no_such_layer"):
        start_delta(tiny, "lora", "learn", recipe)


def test_without_linear_layers_there_is_nothing_to_adapt(tmp_path: Path) -> None:
    model, tokenizer = load_base(tiny_model(tmp_path, "llama", torch.float32), "cpu")
    with pytest.raises(InvalidSetting, match=r"^recipe\.method: .*no linear layers.*; use full"):
        start_delta(bigram_model(tokenizer, []), "lora", "learn", Recipe())
    with pytest.raises(InvalidSetting, match=r"^recipe\.method: .*no linear layers"):
        start_delta(model, "lora", "learn", Recipe(target_modules=()))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_in_16_bits_is_trained_in_32(tmp_path: Path, method: Method) -> None:
    model, _ = load_base(tiny_model(tmp_path, "llama", torch.bfloat16), "cpu")
    delta = start_delta(model.to(torch.bfloat16), method, "learn", Recipe(rank=2))

    assert {p.dtype for p in trained_weights(delta)} == {torch.float32}
    disturb(delta)
    assert {t.dtype for t in delta.result().tensors.values()} == {torch.float32}
