"""Read and check the header of a safetensors file, without reading its tensors.

Format: https://github.com/huggingface/safetensors#format: eight bytes little-endian header length,
the header as JSON, then the tensors' bytes without holes.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterstore.errors import MalformedTensorFile, UnreadableFile

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""

DTYPE_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes of one element, by the dtype's name in the header."""

MAX_DIMENSIONS = 64
MAX_SIZE = 2**63 - 1
MAX_NAME_LENGTH = 1000
"""Far over what any model has; a header beyond them can take for ever to check or to tell of."""

FLOAT_DTYPES = frozenset({"F16", "BF16", "F32", "F64"})


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: dtype, shape, and its bytes [begin, end) of the data section."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorFile:
    """A checked header: every byte of the file is accounted for."""

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int
    size: int


def read_tensor_file(path: Path) -> TensorFile:
    """Return the header of a safetensors file.

    Raises:
        UnreadableFile: no such file, no permission, or not a regular file.
        MalformedTensorFile: header and bytes do not agree.
    """
    try:
        # Asked before opening: to open a named pipe is to wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFile(str(path), "not a regular file")
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            header, data_start = _read_header(file.read, str(path), status.st_size)
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedTensorFile(str(path), "__metadata__ is not a map of texts")
    tensors = {name: _read_info(str(path), name, info) for name, info in header.items()}
    _check_layout(str(path), tensors, status.st_size - data_start)
    return TensorFile(path, tensors, metadata, data_start, status.st_size)


def _read_header(read: Any, path: str, size: int) -> tuple[dict[str, Any], int]:
    prefix = read(8)
    if len(prefix) < 8:
        raise MalformedTensorFile(path, f"only {size} bytes long")
    (length,) = struct.unpack("<Q", prefix)
    if length > MAX_HEADER_BYTES or 8 + length > size:
        raise MalformedTensorFile(
            path, f"its header claims {length} bytes, but the file has {size} in all"
        )
    text = b""
    while len(text) < length and (part := read(length - len(text))):
        text += part
    if not text.startswith(b"{"):
        raise MalformedTensorFile(path, "its header does not begin with {")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise MalformedTensorFile(path, f"its header is not JSON ({error})") from error
    assert isinstance(header, dict)
    return header, 8 + length


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key[:MAX_NAME_LENGTH]!r} stands twice")
        result[key] = value
    return result


def _read_info(path: str, name: str, info: Any) -> TensorInfo:
    if len(name) > MAX_NAME_LENGTH:
        raise MalformedTensorFile(path, f"a tensor's name is {len(name)} characters long")
    if not name.isprintable():
        raise MalformedTensorFile(path, f"the name {name!r} holds control characters")
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise MalformedTensorFile(path, f"tensor {name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_SIZES:
        raise MalformedTensorFile(
            path, f"tensor {name!r} has the unknown dtype {str(dtype)[:40]!r}"
        )
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise MalformedTensorFile(path, f"tensor {name!r} has no proper shape or data_offsets")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPE_SIZES[dtype]:
        raise MalformedTensorFile(
            path, f"tensor {name!r} has {end - begin} bytes, not those of {dtype} {shape}"
        )
    return TensorInfo(dtype, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(
            isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= MAX_SIZE
            for item in value
        )
    )


def _check_layout(path: str, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position:
            raise MalformedTensorFile(
                path, f"tensor {name!r} begins at {info.begin}, not at {position}"
            )
        position = info.end
    if position != data_bytes:
        raise MalformedTensorFile(
            path, f"its header describes {position} bytes of tensors, but there are {data_bytes}"
        )
