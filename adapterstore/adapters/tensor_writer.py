"""Write a safetensors file tensor by tensor: memory for one tensor, whatever the file's size."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.tensor_file import DTYPE_SIZES
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 8


def write_tensor_file(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    load: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Write tensors, wide dtypes first and then by name, so that equal content has equal bytes.

    Args:
        path: the file to make.
        tensors: name → (dtype's name in the header, shape).
        load: gives a tensor; it is cast to the dtype stated.
        metadata: texts for the header.
        progress: told of every tensor.
    """
    import torch

    order = sorted(tensors, key=lambda name: (-DTYPE_SIZES[tensors[name][0]], name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name in order:
        dtype, shape = tensors[name]
        end = position + math.prod(shape) * DTYPE_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in order:
            dtype, shape = tensors[name]
            tensor = load(name).detach().to("cpu", torch_dtype(dtype)).contiguous()
            if tuple(tensor.shape) != tuple(shape):
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {shape}")
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            progress.advance()


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype of a header's dtype name."""
    import torch

    return {
        "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
        "BOOL": torch.bool, "U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32,
        "U64": torch.uint64, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
        "I64": torch.int64, "C64": torch.complex64, "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    }[name]  # fmt: skip
