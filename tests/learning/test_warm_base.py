"""A small base is read once in a process, and each caller has its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.demo import MODEL_PATH
from adapterstore.learning import loading, warm_base
from adapterstore.learning.loading import load_base, load_for
from adapterstore.learning.recipe import Recipe


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
