"""A safetensors file is read only if every byte of it is accounted for."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from adapterstore.adapters.tensor_file import DTYPE_SIZES, TensorInfo, read_tensor_file
from adapterstore.errors import MalformedTensorFile, UnreadableFile
from tests.adapters.writing import write_header

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NEXT = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}

TORCH_DTYPES = (
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16,
    torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu,
)  # fmt: skip


def test_every_dtype_is_read_as_safetensors_writes_it(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.zeros(3, 2, dtype=dtype) for dtype in TORCH_DTYPES}
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(tensors, {"format": "pt"}))
    found = read_tensor_file(path)
    assert set(found.tensors) == set(tensors)
    for name, info in found.tensors.items():
        assert info.shape == (3, 2)
        assert info.end - info.begin == tensors[name].nbytes
    assert {info.dtype for info in found.tensors.values()} == set(DTYPE_SIZES)
    assert found.metadata == {"format": "pt"}
    assert found.size == path.stat().st_size


def test_offsets_say_where_the_bytes_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": torch.tensor([1.5]), "b": torch.tensor([2.5])}))
    found = read_tensor_file(path)
    assert found.tensors["b"] == TensorInfo("F32", (1,), 4, 8)
    data = path.read_bytes()[found.data_start :]
    assert struct.unpack("<2f", data) == (1.5, 2.5)


def test_scalars_and_empty_tensors_are_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"scalar": torch.tensor(1.0), "empty": torch.zeros(0, 4)}))
    found = read_tensor_file(path).tensors
    assert found["scalar"].shape == ()
    assert found["empty"].shape == (0, 4)


HOSTILE: dict[str, tuple[object, bytes, str]] = {
    "not JSON": (b"{" + b"!" * 8, b"", "its header is not JSON"),
    "not UTF-8": (b'{"\xff":1}', b"", "its header is not JSON"),
    "not an object": ([ONE], b"", "does not begin with {"),
    "space before the object": (b" {}", b"", "does not begin with {"),
    "empty header": (b"", b"", "does not begin with {"),
    "nested without end": (b'{"a":' * 50_000, b"", "its header is not JSON"),
    "a name twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        bytes(1),
        "'a' stands twice",
    ),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8), "'a' lacks dtype"),
    "one field more": ({"a": {**ONE, "stride": 1}}, bytes(8), "'a' lacks dtype"),
    "info is no object": ({"a": 7}, bytes(8), "'a' lacks dtype"),
    "unknown dtype": ({"a": {**ONE, "dtype": "F31"}}, bytes(8), "the unknown dtype 'F31'"),
    "dtype is no text": ({"a": {**ONE, "dtype": ["F32"]}}, bytes(8), "the unknown dtype"),
    "negative size": (
        {"a": {**ONE, "shape": [-2]}}, bytes(8), "'a' has no proper shape or data_offsets",
    ),
    "fractional size": ({"a": {**ONE, "shape": [2.0]}}, bytes(8), "'a' has no proper shape"),
    "size is a truth value": ({"a": {**ONE, "shape": [True]}}, bytes(8), "'a' has no proper shape"),
    "three offsets": ({"a": {**ONE, "data_offsets": [0, 8, 8]}}, bytes(8), "'a' has no proper"),
    "offsets reversed": (
        {"a": {**ONE, "data_offsets": [8, 0]}}, bytes(8), "'a' has -8 bytes, not those of F32",
    ),
    "product beyond 64 bits": (
        {"a": {**ONE, "shape": [2**62, 2**62]}}, bytes(8), "'a' has 8 bytes",
    ),
    "size beyond 64 bits": ({"a": {**ONE, "shape": [2**63]}}, bytes(8), "no proper shape"),
    # Either of these two would take hours to multiply.
    "sizes of thousands of digits": (
        {"a": {**ONE, "shape": [10**4000] * 3000}}, bytes(8), "no proper shape",
    ),
    "millions of dimensions": ({"a": {**ONE, "shape": [7] * 10**6}}, bytes(8), "no proper shape"),
    "a name of a million characters": (
        {"a" * 10**6: ONE}, bytes(7), "a tensor's name is 1000000 characters long",
    ),
    "a dtype of a million characters": (
        {"a": {**ONE, "dtype": "F" * 10**6}}, bytes(8), "unknown dtype 'F{40}'",
    ),
    "bytes are not shape × dtype": (
        {"a": {**ONE, "shape": [3]}}, bytes(8), r"'a' has 8 bytes, not those of F32 \[3\]",
    ),
    "hole before the first": ({"a": NEXT}, bytes(16), "'a' begins at 8, not at 0"),
    "hole between": (
        {"a": ONE, "b": {**NEXT, "data_offsets": [9, 17]}}, bytes(17), "'b' begins at 9, not at 8",
    ),
    "overlap": (
        {"a": ONE, "b": {**NEXT, "data_offsets": [7, 15]}}, bytes(15), "'b' begins at 7, not at 8",
    ),
    "two tensors in one place": ({"a": ONE, "b": ONE}, bytes(8), "'b' begins at 0, not at 8"),
    "bytes after the last": ({"a": ONE}, bytes(9), "8 bytes of tensors, but there are 9"),
    "truncated": ({"a": ONE}, bytes(7), "8 bytes of tensors, but there are 7"),
    "metadata is no object": ({"__metadata__": 1, "a": ONE}, bytes(8), "__metadata__ is not"),
    "metadata is not texts": (
        {"__metadata__": {"n": 1}, "a": ONE}, bytes(8), "__metadata__ is not a map of texts",
    ),
    "a name with a line end": ({"a\nb": ONE}, bytes(8), "control characters"),
    "a name that is no text": (b'{"\\ud800":%s}' % str(ONE).replace("'", '"').encode(), bytes(8),
                               "control characters"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_header_that_lies_is_refused(tmp_path: Path, kind: str) -> None:
    header, data, problem = HOSTILE[kind]
    path = write_header(tmp_path / "x.safetensors", header, data)
    with pytest.raises(MalformedTensorFile, match=problem) as caught:
        read_tensor_file(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "only 0 bytes long"),
        (bytes(7), "only 7 bytes long"),
        (struct.pack("<Q", 3) + b"{}", "claims 3 bytes, but the file has 10 in all"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "claims 18446744073709551615 bytes"),
    ],
)
def test_a_length_that_lies_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(MalformedTensorFile, match=problem):
        read_tensor_file(path)


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(100_000_009)
    with pytest.raises(MalformedTensorFile, match="claims 100000001 bytes"):
        read_tensor_file(path)


VALID = save({"a": torch.arange(3.0), "é": torch.zeros(2, 2, dtype=torch.bfloat16)}, {"k": "v"})


@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_what_is_accepted_after_damage_safetensors_accepts_too(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    del damaged[data.draw(st.integers(len(VALID) - 2, len(VALID))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damaged)
    try:
        found = read_tensor_file(path)
    except MalformedTensorFile:
        return
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(found.tensors)
        for name, info in found.tensors.items():
            assert tuple(file.get_slice(name).get_shape()) == info.shape


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match="No such file"):
        read_tensor_file(tmp_path / "missing")
    with pytest.raises(UnreadableFile, match="not a regular file"):
        read_tensor_file(tmp_path)
    with pytest.raises(UnreadableFile, match="not a regular file"):
        read_tensor_file(tmp_path / "pipe")
