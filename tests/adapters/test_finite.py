"""Values that are not finite are found as a file's bytes go by, in parts of any size."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from adapterstore.adapters.finite import FiniteCheck
from adapterstore.adapters.tensor_file import read_tensor_file
from adapterstore.errors import MalformedAdapter

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def check(path: Path, part: int) -> None:
    looked = FiniteCheck(read_tensor_file(path))
    data = memoryview(path.read_bytes())
    for start in range(0, len(data), part):
        looked(data[start : start + part])
    looked.finish(path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@given(place=st.integers(0, 29), part=st.integers(1, 300))
def test_one_value_is_found_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: torch.dtype,
    value: float,
    place: int,
    part: int,
) -> None:
    tensors = {f"t{number}": torch.randn(10).to(dtype) for number in range(3)}
    tensors[f"t{place // 10}"][place % 10] = value
    path = tmp_path_factory.mktemp("finite") / "x.safetensors"
    save_file(tensors, path)
    with pytest.raises(MalformedAdapter, match=rf"x\.safetensors: tensor t{place // 10} holds"):
        check(path, part)


@pytest.mark.parametrize("part", [1, 7, 64, 1 << 20])
def test_the_largest_finite_values_are_finite(tmp_path: Path, part: int) -> None:
    tensors = {
        f"{number}{sign}": torch.full((5,), sign * torch.finfo(dtype).max, dtype=dtype)
        for number, dtype in enumerate(DTYPES)
        for sign in (1, -1)
    }
    whole = torch.full((5,), 0x7FFF, dtype=torch.int16)
    save_file({**tensors, "whole": whole, "none": torch.empty(0)}, tmp_path / "x.safetensors")
    check(tmp_path / "x.safetensors", part)
