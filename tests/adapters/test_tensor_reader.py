"""Tensors that are read one at a time are those that safetensors wrote."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.errors import MalformedTensorFile, UnreadableFile
from tests.adapters.test_tensor_file import TORCH_DTYPES


def test_every_dtype_and_shape_comes_back(tmp_path: Path) -> None:
    tensors = {
        f"é{number}": torch.arange(6).reshape(2, 3).to(dtype)
        for number, dtype in enumerate(TORCH_DTYPES)
    }
    tensors |= {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "cube": torch.ones(2, 1, 3),
    }
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    reader = TensorReader(tmp_path / "x.safetensors")
    for name, tensor in tensors.items():
        found = reader.load(name)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(
            found.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )
        if tensor.numel() > 1:
            row = reader.load(name, first=1)
            assert row.shape == tensor[:1].shape
            assert torch.equal(row.view(torch.uint8), tensor[:1].view(torch.uint8))


def test_what_is_loaded_is_a_copy_of_its_own(tmp_path: Path) -> None:
    save_file({"w": torch.ones(4)}, tmp_path / "x.safetensors")
    reader = TensorReader(tmp_path / "x.safetensors")
    reader.load("w").zero_()
    assert reader.load("w").tolist() == [1, 1, 1, 1]


def test_a_file_that_shrank_or_went_after_it_was_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.ones(4)}, path)
    reader = TensorReader(path)
    reader.load("w")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedTensorFile, match=r"x\.safetensors: .*cut short while it was read"):
        reader.load("w")
    path.unlink()
    with pytest.raises(UnreadableFile, match=r"x\.safetensors: No such file"):
        reader.load("w")
