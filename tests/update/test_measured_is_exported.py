"""What an update measures is what an export writes, bit for bit, whatever way the base is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterstore import Store
from adapterstore.evaluation.gate import Gate
from adapterstore.history.base import stored_dtypes
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.update import run_update
from adapterstore.update.asking import load_state
from tests.learning.tiny import EURO, TWO_STEPS, tiny_model, trained_weights

NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
RECIPE = TWO_STEPS.model_copy(update={"method": "full", "learning_rate": 1e-3})


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a base in bf16 whose norms are float32, as of models on the Hub."""
    folder = tiny_model(tmp_path / "base", "llama", torch.bfloat16)
    file = folder / "model.safetensors"
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: t if t.ndim > 1 else 1 + 0.1 * torch.randn(t.shape, generator=generator)
        for name, t in load_file(file).items()
    }
    save_file(tensors, file, {"format": "pt"})
    return folder


def test_every_weight_has_the_dtype_of_its_own_header(mixed: Path) -> None:
    for name, dtype in stored_dtypes(mixed).items():
        assert dtype == (torch.float32 if "norm" in name else torch.bfloat16), name


def full_update(store: Store) -> None:
    result = run_update(store, [EURO], recipe=RECIPE, gate=NO_GATE)
    assert [store.entry(commit).operation for commit in result.commits] == ["forget", "learn"]


def test_each_weight_is_rounded_to_its_own_dtype(mixed: Path, tmp_path: Path) -> None:
    store = Store.init(tmp_path / "work", base=str(mixed))
    full_update(store)
    store.export("HEAD", tmp_path / "out", "model")
    exported = load_file(tmp_path / "out" / "model.safetensors")
    before = load_file(mixed / "model.safetensors")
    model, _ = load_state(store, "HEAD")
    measured = dict(model.named_parameters())
    assert set(measured) == set(exported)
    for name, tensor in exported.items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(measured[name], tensor.float()), name
    norm = exported["model.norm.weight"]
    assert not torch.equal(norm, before["model.norm.weight"])
    assert not torch.equal(norm, norm.bfloat16().float()), "rounded as bf16 is"


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_base_whose_files_name_weights_without_the_models_prefix(
    tmp_path: Path, prefix: str
) -> None:
    """As the Hub's GPT-2, which holds masks, too; what is tuned of it is saved with the prefix."""
    base = tiny_model(tmp_path / "base", "gpt2", torch.bfloat16)
    tensors = load_file(base / "model.safetensors")
    short = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    mask = {"h.0.attn.bias": torch.ones(1, 1, 128, 128, dtype=torch.bool).tril()}
    tuned = tmp_path / "tuned"
    shutil.copytree(base, tuned)
    save_file({**short, **mask}, base / "model.safetensors", {"format": "pt"})
    short["h.0.mlp.c_fc.weight"] += 0.1
    named = {f"{prefix}{name}": tensor for name, tensor in short.items()}
    save_file(named, tuned / "model.safetensors", {"format": "pt"})
    store = Store.init(tmp_path / "work", base=str(base))
    store.commit(None, tuned)
    full_update(store)
    store.export("HEAD", tmp_path / "out", "model")
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(exported.pop("h.0.attn.bias"), mask["h.0.attn.bias"])
    model, _ = load_state(store, "HEAD")
    measured = dict(model.named_parameters())
    assert {f"transformer.{name}" for name in exported} == set(measured)
    for name, tensor in exported.items():
        assert torch.equal(measured[f"transformer.{name}"], tensor.float()), name
    changed = "h.0.mlp.c_fc.weight"
    assert not torch.equal(exported[changed], short[changed])


def test_training_sees_each_weight_rounded_as_it_is_stored(mixed: Path) -> None:
    model, _ = load_base(mixed, "cpu")
    delta = start_delta(model, "full", "learn", RECIPE, stored_dtypes(mixed))
    with torch.no_grad():
        for parameter in trained_weights(delta):
            parameter.add_(0.01 * torch.randn(parameter.shape))
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    with delta.as_stored():
        for name, parameter in model.named_parameters():
            wanted = trained[name] if "norm" in name else trained[name].bfloat16().float()
            assert torch.equal(parameter, wanted), name
    delta.finish()
    delta.set_coefficient(0.5)
    for name, parameter in model.named_parameters():
        rounded = torch.equal(parameter, parameter.bfloat16().float())
        assert rounded == ("norm" not in name), name
