"""Tensors of a safetensors file, one at a time."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.tensor_file import TensorFile, read_tensor_file
from adapterstore.adapters.tensor_writer import torch_dtype
from adapterstore.errors import MalformedTensorFile, UnreadableFile

if TYPE_CHECKING:
    import torch


class TensorReader:
    """Reads single tensors; the header is read on first use.

    The file is not mapped: of a mapped file, what was read stays in the process's memory.
    """

    def __init__(self, path: Path):
        self._path = path
        self._header: TensorFile | None = None

    def load(self, name: str, first: int | None = None) -> torch.Tensor:
        """Return one tensor as it is stored, in memory of its own.

        Args:
            name: which.
            first: how many of its rows to read (None: all).

        Raises:
            UnreadableFile, MalformedTensorFile: the file can't be read, or is damaged.
        """
        import torch

        if self._header is None:
            self._header = read_tensor_file(self._path)
        info = self._header.tensors[name]
        dtype = torch_dtype(info.dtype)
        if info.begin == info.end:
            return torch.empty(info.shape, dtype=dtype)
        shape = info.shape if first is None else (first, *info.shape[1:])
        size = (info.end - info.begin) * prod(shape) // prod(info.shape)
        tensor = torch.empty(size, dtype=torch.uint8)
        left = tensor.numpy().data
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(self._header.data_start + info.begin, os.SEEK_SET)
                while left and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise UnreadableFile(str(self._path), error.strerror or str(error)) from error
        if left:
            raise MalformedTensorFile(str(self._path), "it was cut short while it was read")
        return tensor.view(dtype).reshape(shape)
