"""Dense deltas: ``delta.json`` and shards of float32 differences.

Law, checked when a delta is made of two models: base + Δ, rounded to the tuned model's dtype, is
the tuned weight bit for bit (but a weight that was set to −0 comes back as 0). float32 carries the
difference exactly while the two values lie within 2^16 (bf16) of each other; a weight for which it
does not come back is stored in float64.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.json_file import read_json_object
from adapterstore.adapters.model_folder import (
    OUTPUT_WEIGHT,
    ModelFolder,
    StoredWeight,
    read_model_folder,
)
from adapterstore.adapters.tensor_file import (
    DTYPE_SIZES,
    FLOAT_DTYPES,
    TensorFile,
    read_tensor_file,
)
from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.adapters.tensor_writer import write_tensor_file
from adapterstore.algebra.dense import match_weight
from adapterstore.algebra.leaves import DenseLeaf, DenseWeight
from adapterstore.errors import MalformedAdapter, ShapeMismatch, UnsupportedFormat
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch

DELTA_NAME = "delta.json"
DELTA_FORMAT = 1
SHARD_BYTES = 1 << 30
_SHARD_NAME = re.compile(r"delta-[0-9]{5}-of-[0-9]{5}\.safetensors")


@dataclass(frozen=True)
class DenseDelta:
    """A checked delta folder."""

    folder: Path
    base_name: str | None
    shapes: dict[str, tuple[int, ...]]
    shards: dict[str, TensorFile]
    placed: dict[str, str]
    """Weight name → shard."""


def read_delta(folder: Path, shards: Mapping[str, Path] | None = None) -> DenseDelta:
    """Read and check a delta folder; of its shards, only the headers.

    Args:
        folder: holds ``delta.json``.
        shards: where the shards lie, if not in the folder: name → path.

    Raises:
        UnreadableFile, MalformedTensorFile: a file can't be read, or is damaged.
        MalformedAdapter: ``delta.json`` and shards do not agree.
        UnsupportedFormat: a newer release wrote it.
    """
    path = folder / DELTA_NAME
    content = read_json_object(path)
    version = content.get("format")
    if not isinstance(version, int) or isinstance(version, bool):
        raise MalformedAdapter(str(path), "names no format version")
    if version > DELTA_FORMAT:
        raise UnsupportedFormat(str(path), version, DELTA_FORMAT)
    if version != DELTA_FORMAT:
        raise MalformedAdapter(str(path), f"there is no format version {version}")
    tensors, base_name = content.get("tensors"), content.get("base")
    if not isinstance(tensors, dict) or not (base_name is None or isinstance(base_name, str)):
        raise MalformedAdapter(str(path), "has no proper tensors or base")
    if not tensors:
        raise MalformedAdapter(str(path), "changes no weight")
    placed = {name: _shard_of(str(path), name, entry) for name, entry in tensors.items()}
    files = {
        name: read_tensor_file(shards[name] if shards and name in shards else folder / name)
        for name in sorted(set(placed.values()))
    }
    there = {
        (shard, name): (info.dtype, list(info.shape))
        for shard, tensor_file in files.items()
        for name, info in tensor_file.tensors.items()
    }
    stated = {(e["file"], n): (e["dtype"], e["shape"]) for n, e in tensors.items()}
    for place in sorted({*there, *stated}):
        if there.get(place) != stated.get(place):
            shard, name = place
            raise MalformedAdapter(
                str(path), f"tensor {name!r} is not in {shard} as {path.name} says"
            )
    # In Python, the true and 2.0 of a hand-made delta.json are the sizes 1 and 2.
    shapes = {name: files[shard].tensors[name].shape for name, shard in placed.items()}
    return DenseDelta(folder, base_name, shapes, files, placed)


def _shard_of(path: str, name: str, entry: Any) -> str:
    if (
        not isinstance(entry, dict)
        or set(entry) != {"dtype", "shape", "file"}
        or entry["dtype"] not in ("F32", "F64", "F16", "BF16")
        or not isinstance(entry["shape"], list)
        or not isinstance(entry["file"], str)
        or not _SHARD_NAME.fullmatch(entry["file"])
    ):
        raise MalformedAdapter(path, f"tensor {name!r} has no proper dtype, shape and file")
    return str(entry["file"])


def dense_leaf(delta: DenseDelta) -> DenseLeaf:
    """Return the delta as the algebra takes it; weights are read when asked for."""
    readers = {name: TensorReader(shard.path) for name, shard in delta.shards.items()}
    return DenseLeaf(
        label=delta.folder.name,
        base_name=delta.base_name,
        weights={
            name: DenseWeight(shape, partial(readers[delta.placed[name]].load, name))
            for name, shape in delta.shapes.items()
        },
    )


def write_delta(
    folder: Path,
    weights: Mapping[str, DenseWeight],
    base_name: str | None,
    dtypes: Mapping[str, str] | None = None,
    progress: Progress = NO_PROGRESS,
    shard_bytes: int = SHARD_BYTES,
) -> DenseDelta:
    """Write a delta folder: shards of at most 1 GiB, cut at weights in the order of their names.

    Args:
        folder: is made if it is not there.
        weights: differences; each is loaded twice if ``dtypes`` is not given.
        base_name: the base model's name.
        dtypes: F32 or F64 for each weight (None: F32 where that loses nothing, else F64).
        progress: told of every weight.
        shard_bytes: most bytes of a shard; a weight that is larger has a shard of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = (
        dict(dtypes) if dtypes is not None else {n: _exact_dtype(w) for n, w in weights.items()}
    )
    cut = _cut_shards({n: (chosen[n], w.shape) for n, w in weights.items()}, shard_bytes)
    progress.start("writing the delta", len(weights))
    tensors: dict[str, Any] = {}
    for number, shard in enumerate(cut, 1):
        name = f"delta-{number:05d}-of-{len(cut):05d}.safetensors"
        write_tensor_file(
            folder / name, shard, lambda key: weights[key].load(), {"format": "pt"}, progress
        )
        for key, (dtype, shape) in shard.items():
            tensors[key] = {"dtype": dtype, "shape": list(shape), "file": name}
    content = {"format": DELTA_FORMAT, "base": base_name, "tensors": dict(sorted(tensors.items()))}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / DELTA_NAME).write_text(text, encoding="utf-8")
    return read_delta(folder)


def _exact_dtype(weight: DenseWeight) -> str:
    import torch

    tensor = weight.load()
    if tensor.dtype != torch.float64:
        return "F32"
    return "F32" if torch.equal(tensor.to(torch.float32).to(torch.float64), tensor) else "F64"


def _cut_shards(
    tensors: dict[str, tuple[str, tuple[int, ...]]], shard_bytes: int
) -> list[dict[str, tuple[str, tuple[int, ...]]]]:
    shards: list[dict[str, tuple[str, tuple[int, ...]]]] = []
    room = 0
    for name in sorted(tensors):
        dtype, shape = tensors[name]
        size = math.prod(shape) * DTYPE_SIZES[dtype]
        if not shards or size > room:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = tensors[name]
        room -= size
    return shards


def difference(
    base_folder: Path,
    tuned_folder: Path,
    folder: Path,
    base_name: str | None,
    progress: Progress = NO_PROGRESS,
) -> DenseDelta:
    """Write tuned − base as a delta folder, weight by weight; unchanged weights are left out.

    The two may be of different dtypes: base + Δ gives the tuned weights in the tuned dtype.

    Args:
        base_folder: the base model, in the transformers layout.
        tuned_folder: the fine-tuned model, of the same weights and shapes.
        folder: the delta folder to write.
        base_name: the base model's name.
        progress: told of every weight, once for comparing and once for writing.

    Raises:
        ShapeMismatch: a weight has another shape.
        MalformedAdapter: a weight is missing, not finite, or an integer that changed; or nothing
            changed at all.
    """
    base, tuned = read_model_folder(base_folder), read_model_folder(tuned_folder)
    pairs = _pairs(base, tuned)
    progress.start("comparing with the base", len(pairs))
    dtypes = {}
    for name, (before, after) in pairs.items():
        dtype = _difference_dtype(name, before, after, tuned_folder)
        if dtype is not None:
            dtypes[name] = dtype
        progress.advance()
    if not dtypes:
        raise MalformedAdapter(str(tuned_folder), "is the base model: no weight differs")
    weights = {
        name: DenseWeight(before.info.shape, partial(_subtract, before, after))
        for name, (before, after) in pairs.items()
        if name in dtypes
    }
    return write_delta(folder, weights, base_name, dtypes, progress)


def _pairs(base: ModelFolder, tuned: ModelFolder) -> dict[str, tuple[StoredWeight, StoredWeight]]:
    before = base.weights
    after = _named_as(before, tuned)
    left_out = {name for name in set(before) ^ set(after) if _is_buffer(name, before, after)}
    if (embedding := base.tied_embedding) is not None:
        left_out.add(OUTPUT_WEIGHT)
        own = after.get(OUTPUT_WEIGHT)
        if own is not None and embedding in after and not own.equals(after[embedding]):
            raise MalformedAdapter(
                str(tuned.folder),
                f"has an output layer of its own ({OUTPUT_WEIGHT}), but that of {base.folder} is "
                f"its embedding ({embedding}); tune the two as one weight, or start from a base "
                "that is saved with two",
            )
    for name in sorted((set(before) ^ set(after)) - left_out):
        holder, lacking = (base, tuned) if name in before else (tuned, base)
        raise MalformedAdapter(
            str(lacking.folder), f"has no weight {name!r}, which {holder.folder} has"
        )
    pairs = {name: (before[name], after[name]) for name in sorted(set(before) & set(after))}
    for name, (left, right) in pairs.items():
        if left.info.shape != right.info.shape:
            raise ShapeMismatch(
                name, str(base.folder), left.info.shape, str(tuned.folder), right.info.shape
            )
    return pairs


def _named_as(before: Mapping[str, StoredWeight], tuned: ModelFolder) -> dict[str, StoredWeight]:
    """Return the tuned weights by the base's names: of GPT-2, the Hub's files lack the prefix."""
    named: dict[str, StoredWeight] = {}
    for name, weight in tuned.weights.items():
        own = match_weight(name, before) or name
        if own in named:
            raise MalformedAdapter(str(tuned.folder), f"has two weights that may be {own!r}")
        named[own] = weight
    return named


def _is_buffer(name: str, *weights: Mapping[str, StoredWeight]) -> bool:
    """Tell what older releases of transformers saved beside the weights, and all compute anew."""
    (info,) = (stored[name].info for stored in weights if name in stored)
    if name.endswith((".attn.bias", ".attention.bias", ".masked_bias")):
        # A mask, not the bias of a linear layer.
        return len(info.shape) != 1
    return name.endswith((".rotary_emb.inv_freq", ".position_ids"))


def _difference_dtype(
    name: str, before: StoredWeight, after: StoredWeight, tuned_folder: Path
) -> str | None:
    """Return the dtype that carries a weight's difference; None if there is none."""
    import torch

    old, new = before.load(), after.load()
    if torch.equal(old, new):
        return None
    if {before.info.dtype, after.info.dtype} - FLOAT_DTYPES:
        raise MalformedAdapter(
            str(tuned_folder), f"weight {name!r} of dtype {after.info.dtype} differs from the base"
        )
    if not bool(torch.isfinite(old).all() and torch.isfinite(new).all()):
        raise MalformedAdapter(str(tuned_folder), f"weight {name!r} is not finite")
    wide = old.to(torch.float64)
    exact = new.to(torch.float64) - wide
    narrow = exact.to(torch.float32).to(torch.float64)
    for dtype, delta in (("F32", narrow), ("F64", exact)):
        if torch.equal((wide + delta).to(new.dtype), new):
            return dtype
    raise MalformedAdapter(
        str(tuned_folder), f"weight {name!r} lies too far from the base for an exact difference"
    )


def _subtract(before: StoredWeight, after: StoredWeight) -> torch.Tensor:
    import torch

    old, new = before.load().to(torch.float64), after.load().to(torch.float64)
    delta = new - old
    # x + −0 is x for every x, −0 included; x + 0 would give a −0 of the base back as 0.
    lost_sign = torch.signbit(old) & ~torch.signbit(new)
    return torch.where((delta == 0) & ~lost_sign, -0.0, delta)
