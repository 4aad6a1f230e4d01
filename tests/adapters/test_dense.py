"""Dense deltas: base + Δ gives the tuned weights back bit for bit; folders that lie are refused."""

import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from adapterstore.adapters.dense import DenseDelta, dense_leaf, difference, read_delta, write_delta
from adapterstore.adapters.merged import merge_into_base
from adapterstore.algebra.coefficient import ONE
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import (
    MalformedAdapter,
    MalformedTensorFile,
    ShapeMismatch,
    UnreadableFile,
    UnsupportedFormat,
)
from tests.adapters.writing import write_model

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
DTYPES = pytest.mark.parametrize("dtype", list(BITS), ids=str)


def delta_of(folder: Path, base: dict[str, Any], tuned: dict[str, Any]) -> DenseDelta:
    write_model(folder / "base", base)
    write_model(folder / "tuned", tuned)
    return difference(folder / "base", folder / "tuned", folder / "delta", "org/base")


def merged(folder: Path, delta: DenseDelta) -> dict[str, torch.Tensor]:
    """Base + Δ, as the folder that an export writes."""
    (folder / "merged").mkdir()
    merge_into_base(folder / "base", [(ONE, dense_leaf(delta))], folder / "merged")
    return load_file(folder / "merged" / "model.safetensors")


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    kind = BITS[left.dtype]
    return left.dtype == right.dtype and torch.equal(left.view(kind), right.view(kind))


def dtype_of(delta: DenseDelta, name: str) -> str:
    return delta.shards[delta.placed[name]].tensors[name].dtype


@DTYPES
def test_base_plus_delta_is_the_tuned_model_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    base = {name: torch.randn(17, 5).to(dtype) for name in ("a.weight", "b.weight", "c.bias")}
    tuned = {name: (w.float() + 0.01 * torch.randn(17, 5)).to(dtype) for name, w in base.items()}
    delta = delta_of(tmp_path, base, tuned)
    found = merged(tmp_path, delta)
    assert all(same_bits(found[name], tuned[name]) for name in tuned)


@pytest.mark.parametrize(
    ("dtype", "base", "tuned", "stored"),
    [
        (torch.bfloat16, 1.0, 2.0**-16, "F32"),
        (torch.bfloat16, 1.0, 1.0078125 * 2.0**-24, "F64"),
        (torch.bfloat16, 3.0e4, 1.0e-6, "F64"),
        (torch.float16, 1.0, 5.960464477539063e-08, "F32"),
        (torch.float16, 65504.0, 6.103515625e-05, "F64"),
        (torch.float32, 1.0, 2.0, "F32"),
        (torch.float32, 1.0, 1.0000001192092896e-3, "F64"),
    ],
)
def test_float64_is_used_only_where_float32_does_not_bring_a_weight_back(
    tmp_path: Path, dtype: torch.dtype, base: float, tuned: float, stored: str
) -> None:
    before = torch.tensor([[base, 1.0]], dtype=dtype)
    after = torch.tensor([[tuned, 1.0]], dtype=dtype)
    delta = delta_of(tmp_path, {"w": before}, {"w": after})
    assert dtype_of(delta, "w") == stored
    assert same_bits(merged(tmp_path, delta)["w"], after)


@st.composite
def finite_bits(draw: st.DrawFn, dtype: torch.dtype, size: int) -> torch.Tensor:
    """Finite values of any sign, exponent (0: zeros and subnormals) and mantissa, by their bits."""
    total, mantissa = {torch.bfloat16: (16, 7), torch.float16: (16, 10), torch.float32: (32, 23)}[
        dtype
    ]
    highest = (1 << (total - 1 - mantissa)) - 2
    lowest = draw(st.integers(0, highest))
    exponents = st.integers(lowest, min(highest, lowest + draw(st.sampled_from([0, 24, highest]))))
    fields = st.tuples(st.booleans(), exponents, st.integers(0, (1 << mantissa) - 1))
    bits = [
        (exponent << mantissa | fraction) - (negative << (total - 1))
        for negative, exponent, fraction in draw(st.lists(fields, min_size=size, max_size=size))
    ]
    return torch.tensor(bits, dtype=BITS[dtype]).view(dtype)


@DTYPES
@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_finite_bit_patterns_come_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, data: Any
) -> None:
    both = data.draw(finite_bits(dtype, 2 * data.draw(st.integers(1, 8))))
    before, after = both.chunk(2)
    assume(not torch.equal(before, after))
    before, after = before.clone(), after.clone()
    folder = tmp_path_factory.mktemp("patterns")
    # Of values over 2^29 times apart, float64 may have no difference: such a model may be refused.
    far = ((before.double() / after.double()).abs() > 2.0**29) & (after != 0)
    delta = None
    with contextlib.suppress(MalformedAdapter) if bool(far.any()) else contextlib.nullcontext():
        delta = delta_of(folder, {"w": before}, {"w": after})
    if delta is None:
        return
    # The one loss: a weight that was set to −0 from another value comes back as 0.
    was_minus_zero = (before == 0) & torch.signbit(before)
    lost = (after == 0) & torch.signbit(after) & ~was_minus_zero
    assert same_bits(merged(folder, delta)["w"], torch.where(lost, torch.zeros_like(after), after))


def test_an_unchanged_minus_zero_stays_minus_zero(tmp_path: Path) -> None:
    before = torch.tensor([-0.0, -0.0, 0.0, 1.0], dtype=torch.bfloat16)
    after = torch.tensor([-0.0, 0.0, 0.0, 2.0], dtype=torch.bfloat16)
    delta = delta_of(tmp_path, {"w": before}, {"w": after})
    assert same_bits(merged(tmp_path, delta)["w"], after)


def test_a_tuned_model_in_a_wider_dtype_comes_back_in_that_dtype(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.randn(9, 4).bfloat16()
    after = before.float() + 1e-4 * torch.randn(9, 4)
    delta = delta_of(tmp_path, {"w": before}, {"w": after})
    change = dense_leaf(delta).weights["w"].load().double()
    assert same_bits((before.double() + change).float(), after)


def test_unchanged_weights_are_left_out(tmp_path: Path) -> None:
    base = {"a": torch.ones(2), "b": torch.ones(3)}
    delta = delta_of(tmp_path, base, {**base, "b": torch.zeros(3)})
    assert delta.shapes == {"b": (3,)}


def test_models_are_compared_over_their_shards(tmp_path: Path) -> None:
    write_model(tmp_path / "base", {"a": torch.ones(2)}, {"b": torch.ones(3)})
    write_model(tmp_path / "tuned", {"a": torch.ones(2), "b": torch.zeros(3)})
    delta = difference(tmp_path / "base", tmp_path / "tuned", tmp_path / "delta", None)
    assert delta.shapes == {"b": (3,)}


def test_a_tied_output_layer_may_stand_in_one_of_the_two(tmp_path: Path) -> None:
    embedding = {"model.embed_tokens.weight": torch.ones(4, 2)}
    output = {"lm_head.weight": torch.ones(4, 2)}
    write_model(tmp_path / "base", embedding | output, tie_word_embeddings=True, vocab_size=4)
    tuned = {name: 2 * weight for name, weight in embedding.items()}
    write_model(tmp_path / "tuned", tuned, tie_word_embeddings=True, vocab_size=4)
    delta = difference(tmp_path / "base", tmp_path / "tuned", tmp_path / "delta", None)
    assert set(delta.shapes) == {"model.embed_tokens.weight"}


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("config", [{"tie_word_embeddings": True}, {"tie_word_embeddings": False}])
def test_an_output_layer_of_its_own_over_a_tied_base_is_refused(
    tmp_path: Path, twice: bool, config: dict[str, bool]
) -> None:
    """transformers loads such files as two weights, whatever their config says."""
    embedding = {"model.embed_tokens.weight": torch.ones(4, 2)}
    output = {"lm_head.weight": torch.ones(4, 2)}
    base = {**embedding, **output} if twice else embedding
    write_model(tmp_path / "base", base, tie_word_embeddings=True, vocab_size=4)
    tuned = {"lm_head.weight": torch.full((4, 2), 2.0), **embedding}
    write_model(tmp_path / "tuned", tuned, vocab_size=4, **config)
    with pytest.raises(MalformedAdapter, match=r"tuned: has an output layer of its own .*base is"):
        difference(tmp_path / "base", tmp_path / "tuned", tmp_path / "delta", None)


W = torch.ones(2, 3)
V = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("base", "tuned", "error", "problem"),
    [
        ({"w": W}, {"w": torch.ones(3, 2)}, ShapeMismatch, r"base has shape \(2, 3\), but .*tuned"),
        (
            {"w": W, "v": V},
            {"w": W + 1},
            MalformedAdapter,
            "tuned: has no weight 'v', which .*base",
        ),
        (
            {"w": W},
            {"w": W + 1, "v": V},
            MalformedAdapter,
            "base: has no weight 'v', which .*tuned",
        ),
        ({"lm_head.weight": V, "w": W}, {"w": W + 1}, MalformedAdapter, "has no weight 'lm_head"),
        ({"w": W}, {"w": W * torch.nan}, MalformedAdapter, "'w' is not finite"),
        ({"w": W * torch.inf}, {"w": W}, MalformedAdapter, "'w' is not finite"),
        ({"w": W.int()}, {"w": W.int() + 1}, MalformedAdapter, "'w' of dtype I32 differs"),
        ({"w": W * 1e38}, {"w": W * 1e-38}, MalformedAdapter, "'w' lies too far from the base"),
        ({"w": W}, {"w": W}, MalformedAdapter, "is the base model: no weight differs"),
    ],
)
def test_what_has_no_difference_is_refused(
    tmp_path: Path,
    base: dict[str, torch.Tensor],
    tuned: dict[str, torch.Tensor],
    error: type[Exception],
    problem: str,
) -> None:
    with pytest.raises(error, match=problem):
        delta_of(tmp_path, base, tuned)


def weights(**tensors: torch.Tensor) -> dict[str, DenseWeight]:
    return {
        name: DenseWeight(tuple(tensor.shape), partial(torch.clone, tensor))
        for name, tensor in tensors.items()
    }


def test_shards_are_cut_at_weights_in_the_order_of_names(tmp_path: Path) -> None:
    some = weights(d=torch.ones(4), a=torch.ones(4), c=torch.ones(9), b=torch.ones(4))
    delta = write_delta(tmp_path, some, "org/base", shard_bytes=32)
    assert delta.placed == {
        "a": "delta-00001-of-00003.safetensors",
        "b": "delta-00001-of-00003.safetensors",
        "c": "delta-00002-of-00003.safetensors",
        "d": "delta-00003-of-00003.safetensors",
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == [*sorted(delta.shards), "delta.json"]


def test_equal_deltas_have_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3), "a": torch.tensor([0.1], dtype=torch.float64)}
    write_delta(tmp_path / "one", weights(**tensors), "é")
    write_delta(tmp_path / "two", weights(**dict(reversed(tensors.items()))), "é")
    names = [p.name for p in sorted((tmp_path / "one").iterdir())]
    assert names == ["delta-00001-of-00001.safetensors", "delta.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_sum_is_stored_in_float32_where_that_loses_nothing(tmp_path: Path) -> None:
    exact = torch.tensor([0.5, -3.0], dtype=torch.float64)
    delta = write_delta(tmp_path, weights(exact=exact, long=exact / 3), None)
    assert (dtype_of(delta, "exact"), dtype_of(delta, "long")) == ("F32", "F64")
    leaf = dense_leaf(delta)
    assert torch.equal(leaf.weights["exact"].load().double(), exact)
    assert torch.equal(leaf.weights["long"].load(), exact / 3)


def test_shards_may_lie_elsewhere_under_any_name(tmp_path: Path) -> None:
    write_delta(tmp_path / "delta", weights(a=torch.ones(3)), None)
    name = "delta-00001-of-00001.safetensors"
    moved = (tmp_path / "delta" / name).rename(tmp_path / "0a1b2c")
    assert read_delta(tmp_path / "delta", {name: moved}).shards[name].path == moved
    with pytest.raises(UnreadableFile, match=f"{name}: No such file"):
        read_delta(tmp_path / "delta")


SHARD = "delta-00001-of-00001.safetensors"


def changed(**parts: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["tensors"]["a"].update(parts)


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        (lambda c: c.pop("format"), MalformedAdapter, "names no format version"),
        (lambda c: c.update(format="1"), MalformedAdapter, "names no format version"),
        (lambda c: c.update(format=0), MalformedAdapter, "there is no format version 0"),
        (lambda c: c.update(format=2), UnsupportedFormat, "format version 2, but .* reads up to 1"),
        (lambda c: c.pop("tensors"), MalformedAdapter, "no proper tensors or base"),
        (lambda c: c.update(tensors={}), MalformedAdapter, "changes no weight"),
        (lambda c: c.update(base=1), MalformedAdapter, "no proper tensors or base"),
        (changed(file="../x.safetensors"), MalformedAdapter, "'a' has no proper dtype, shape and"),
        (changed(file="/x.safetensors"), MalformedAdapter, "'a' has no proper dtype, shape and"),
        (changed(file="delta-1\0.safetensors"), MalformedAdapter, "'a' has no proper dtype"),
        (changed(file=SHARD + "\n"), MalformedAdapter, "'a' has no proper dtype, shape and file"),
        (changed(file=[SHARD]), MalformedAdapter, "'a' has no proper dtype, shape and file"),
        (changed(dtype="I32"), MalformedAdapter, "'a' has no proper dtype, shape and file"),
        (changed(more=1), MalformedAdapter, "'a' has no proper dtype, shape and file"),
        (changed(dtype="F64"), MalformedAdapter, f"'a' is not in {SHARD} as delta.json says"),
        (changed(shape=[2]), MalformedAdapter, f"'a' is not in {SHARD} as delta.json says"),
        (changed(shape=[[3]]), MalformedAdapter, f"'a' is not in {SHARD} as delta.json says"),
        (lambda c: c["tensors"].pop("a"), MalformedAdapter, f"'a' is not in {SHARD}"),
        (lambda c: c["tensors"].update(c=c["tensors"]["a"]), MalformedAdapter, "'c' is not in"),
        (changed(file="delta-00002-of-00002.safetensors"), UnreadableFile, "No such file"),
    ],
)
def test_a_description_that_lies_is_refused(
    tmp_path: Path, change: Callable[[Any], object], error: type[Exception], problem: str
) -> None:
    write_delta(tmp_path, weights(a=torch.ones(3), b=torch.ones(1)), "org/base")
    content = json.loads((tmp_path / "delta.json").read_text())
    change(content)
    (tmp_path / "delta.json").write_text(json.dumps(content))
    with pytest.raises(error, match=problem):
        read_delta(tmp_path)


def test_a_damaged_shard_is_refused(tmp_path: Path) -> None:
    write_delta(tmp_path, weights(a=torch.ones(3)), None)
    path = tmp_path / SHARD
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedTensorFile, match="12 bytes of tensors, but there are 11"):
        read_delta(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_delta(tmp_path, weights(a=torch.ones(4), b=torch.ones(4)), None, shard_bytes=16)
    save_file(
        {"a": torch.ones(4), "b": torch.ones(4)}, tmp_path / "delta-00002-of-00002.safetensors"
    )
    with pytest.raises(MalformedAdapter, match="'a' is not in delta-00002-of-00002"):
        read_delta(tmp_path)
