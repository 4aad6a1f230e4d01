"""Tensor files written tensor by tensor are those that safetensors writes and reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterstore.adapters.tensor_file import read_tensor_file
from adapterstore.adapters.tensor_writer import torch_dtype, write_tensor_file
from tests.adapters.test_tensor_file import TORCH_DTYPES


def test_every_dtype_is_written_as_safetensors_writes_it(tmp_path: Path) -> None:
    tensors = {
        f"é{number}": torch.arange(6).reshape(2, 3).to(dtype)
        for number, dtype in enumerate(TORCH_DTYPES)
    }
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "theirs.safetensors", {"format": "pt"})
    infos = read_tensor_file(tmp_path / "theirs.safetensors").tensors
    described = {name: (info.dtype, info.shape) for name, info in infos.items()}
    ours = tmp_path / "ours.safetensors"
    write_tensor_file(ours, described, tensors.__getitem__, {"format": "pt"})
    assert {n: (i.dtype, i.shape) for n, i in read_tensor_file(ours).tensors.items()} == described
    for name, tensor in load_file(ours).items():
        assert tensor.dtype == tensors[name].dtype == torch_dtype(described[name][0])
        assert torch.equal(
            tensor.view(-1).view(torch.uint8), tensors[name].view(-1).view(torch.uint8)
        )


def test_bytes_do_not_depend_on_the_order_of_the_tensors(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(2), "a": torch.ones(3, dtype=torch.float64), "c": torch.ones(1)}
    described = {"b": ("F32", (2,)), "a": ("F64", (3,)), "c": ("BF16", (1,))}
    write_tensor_file(tmp_path / "one", described, tensors.__getitem__)
    write_tensor_file(tmp_path / "two", dict(sorted(described.items())), tensors.__getitem__)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_tensor_of_another_shape_than_announced_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a has shape \(2,\), not \(3,\)"):
        write_tensor_file(tmp_path / "x", {"a": ("F32", (3,))}, lambda _: torch.ones(2))
