"""A small base is read once in a process, and each caller has its own."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.evaluation.gate import Gate
from adapterstore.learning import loading, warm_base
from adapterstore.learning.loading import load_base, load_for
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.update import run_update
from tests.learning.tiny import EURO, TWO_STEPS, tiny_model


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every folder that a base is read from, from now on."""
    folders: list[Path] = []

    def counted(folder: Path, *args: Any) -> Any:
        folders.append(folder)
        return load_base(folder, *args)

    monkeypatch.setattr(loading, "load_base", counted)
    warm_base._kept.clear()
    return folders


def test_what_one_caller_changes_the_next_does_not_see(read: list[Path]) -> None:
    recipe = Recipe(device="cpu")
    first, _ = load_for(MODEL_PATH, recipe)
    fresh, _ = load_base(MODEL_PATH, "cpu")
    with torch.no_grad():
        for weight in first.parameters():
            weight.zero_()
    first.requires_grad_(False)
    second, tokenizer = load_for(MODEL_PATH, recipe)
    assert read == [MODEL_PATH]
    expected = dict(fresh.named_parameters())
    for name, weight in second.named_parameters():
        assert torch.equal(weight, expected[name])
        assert weight.requires_grad
    assert second.lm_head.weight is second.model.embed_tokens.weight
    assert tokenizer("Zagreb")["input_ids"]


def test_changed_files_and_other_folders_are_read_and_only_the_last_is_kept(
    tmp_path: Path, read: list[Path]
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(MODEL_PATH, folder)
    recipe = Recipe(device="cpu")
    load_for(folder, recipe)
    (folder / "config.json").touch()
    load_for(folder, recipe)
    load_for(MODEL_PATH, recipe)
    load_for(folder, recipe)
    assert read == [folder, folder, MODEL_PATH, folder]
    assert len(warm_base._kept) == 1


def test_a_large_base_is_not_kept(read: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_base, "MOST_BYTES", 1 << 20)
    for _ in range(2):
        load_for(MODEL_PATH, Recipe(device="cpu"))
    assert len(read) == 2
    assert warm_base._kept == {}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_large_base_is_let_go_before_it_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    monkeypatch.setattr(warm_base, "MOST_BYTES", 0)
    loaded: list[weakref.ref[Any]] = []
    beside: list[int] = []

    def counted(folder: Path, *args: Any) -> Any:
        beside.append(sum(model() is not None for model in loaded))
        model, tokenizer = load_base(folder, *args)
        loaded.append(weakref.ref(model))
        return model, tokenizer

    monkeypatch.setattr(loading, "load_base", counted)
    base = tiny_model(tmp_path / "base", "llama", torch.float32)
    store = Store.init(tmp_path / "store", base=str(base))
    recipe = TWO_STEPS.model_copy(update={"method": method})
    gate = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
    assert run_update(store, [EURO], recipe=recipe, gate=gate).status == "applied"
    # To train, to learn from what was written where the base's own weights change, to measure; and
    # for drift, where the base can't be had by switching terms off.
    # Of what full fine-tuning needs several times, there is room for the base beside the state.
    assert beside == ([0, 0] if method == "lora" else [0, 0, 0, 1])
