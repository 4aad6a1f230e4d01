"""Tensors of a safetensors file, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class TensorReader:
    """Reads single tensors; the file is mapped on first use and stays so."""

    def __init__(self, path: Path):
        self._path = path
        self._file: Any = None

    def load(self, name: str) -> torch.Tensor:
        """Return one tensor as it is stored.

        It is the mapped file itself: whoever changes it in place changes what is loaded next.
        """
        if self._file is None:
            from safetensors import safe_open

            self._file = safe_open(self._path, "pt")
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor
