"""Model folders in the transformers layout, whole or sharded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.errors import MalformedAdapter, UnreadableFile
from tests.adapters.writing import write_model

INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"


def sharded(folder: Path) -> Path:
    return write_model(folder, {"a": torch.ones(2)}, {"b": torch.ones(3)})


def test_whole_and_sharded_folders_read_the_same(tmp_path: Path) -> None:
    write_model(tmp_path / "whole", {"a": torch.ones(2), "b": torch.ones(3)})
    sharded(tmp_path / "sharded")
    for kind in ("whole", "sharded"):
        model = read_model_folder(tmp_path / kind)
        assert model.shapes == {"a": [2], "b": [3]}
        assert torch.equal(model.weights["b"].load(), torch.ones(3))


@pytest.mark.parametrize(
    "placed",
    [
        None,
        [],
        {"a": FIRST, "b": 7},
        {"a": FIRST, "b": "../model.safetensors"},
        {"a": FIRST, "b": "/model.safetensors"},
        {"a": FIRST, "b": "pytorch_model.bin"},
        {"a": FIRST, "b": "a\0.safetensors"},
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, placed: Any) -> None:
    folder = sharded(tmp_path)
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    with pytest.raises(MalformedAdapter, match="no proper weight_map"):
        read_model_folder(folder)


@pytest.mark.parametrize("placed", [{"a": FIRST, "c": FIRST}, {}, {"b": FIRST}])
def test_an_index_that_lies_is_refused(tmp_path: Path, placed: dict[str, str]) -> None:
    folder = sharded(tmp_path)
    (folder / FIRST.replace("00001", "00002", 1)).unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": placed or {"a": FIRST, "b": FIRST}}))
    with pytest.raises(MalformedAdapter, match="names other tensors than its files hold"):
        read_model_folder(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"config\.json: No such file"):
        read_model_folder(tmp_path)
    folder = sharded(tmp_path)
    (folder / FIRST).unlink()
    with pytest.raises(UnreadableFile, match=f"{FIRST}: No such file"):
        read_model_folder(folder)


def test_pickled_weights_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MalformedAdapter, match=r"pickled weights, .* save it as safetensors"):
        read_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("config", "tied"),
    [
        ({"tie_word_embeddings": True, "vocab_size": 5}, "embed.weight"),
        ({"text_config": {"vocab_size": 5}, "tie_word_embeddings": True}, "embed.weight"),
        ({"tie_word_embeddings": False, "vocab_size": 5}, None),
        ({"tie_word_embeddings": True, "vocab_size": 6}, None),
    ],
)
def test_the_embedding_that_is_the_output_layer_too(
    tmp_path: Path, config: dict[str, Any], tied: str | None
) -> None:
    weights = {"embed.weight": torch.ones(5, 3), "positions.weight": torch.ones(7, 3)}
    model = read_model_folder(write_model(tmp_path / "once", weights, **config))
    assert model.tied_embedding == tied
    # Files may hold it twice; of other values, it is loaded as a weight of its own.
    for value, expected in ((1.0, tied), (2.0, None)):
        twice = {**weights, "lm_head.weight": torch.full((5, 3), value)}
        model = read_model_folder(write_model(tmp_path / str(value), twice, **config))
        assert model.tied_embedding == expected
