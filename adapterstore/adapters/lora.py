"""A PEFT LoRA folder as low-rank factors. Nothing of peft or torch is needed to read one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adapterstore.adapters.lora_config import Scalings, check_linear
from adapterstore.adapters.tensor_file import FLOAT_DTYPES, TensorFile, TensorInfo, read_tensor_file
from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.algebra.leaves import LoraLeaf, LowRankFactors
from adapterstore.errors import MalformedAdapter, NotLinear, UnreadableFile

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 16 << 20
_PREFIX = "base_model.model."
_SUFFIXES = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
# peft saves the frozen embedding beside an embedding's factors; it is the base's own weight.
_FROZEN_EMBEDDING = ".base_layer.weight"


@dataclass(frozen=True)
class LoraModule:
    """One adapted module: ΔW = scaling · B·A, with A (r, in) and B (out, r).

    For an embedding A is (r, rows) and B (dimensions, r), and its weight changes by (B·A)ᵀ.
    """

    name: str
    rank: int
    scaling: float
    in_features: int
    out_features: int
    embedding: bool
    a_key: str
    b_key: str
    dtype: str


@dataclass(frozen=True)
class LoraAdapter:
    """A checked PEFT LoRA folder."""

    folder: Path
    config: dict[str, Any]
    base_name: str | None
    revision: str | None
    modules: dict[str, LoraModule]
    fan_in_fan_out: bool
    tensor_file: TensorFile


def read_lora(folder: Path, label: str | None = None, weights: Path | None = None) -> LoraAdapter:
    """Read and check a PEFT folder; only the header of its tensor file is read.

    Args:
        folder: holds ``adapter_config.json``.
        label: what messages call it (None: the folder's path).
        weights: the tensor file, where it is not in the folder.

    Raises:
        UnreadableFile: a file is missing or can't be read.
        MalformedTensorFile: the tensor file is damaged.
        MalformedAdapter: config and tensors do not agree.
        NotLinear: DoRA, biases, saved modules, or anything else that has no exact sum.
    """
    label = label or str(folder)
    config = read_config(folder / CONFIG_NAME, label)
    check_linear(config, label)
    tensor_file = read_tensor_file(weights or folder / WEIGHTS_NAME)
    modules = _read_modules(tensor_file, Scalings(config, label), label)
    return LoraAdapter(
        folder=folder,
        config=config,
        base_name=_text_or_none(config, "base_model_name_or_path", label),
        revision=_text_or_none(config, "revision", label),
        modules=modules,
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        tensor_file=tensor_file,
    )


def read_config(path: Path, label: str) -> dict[str, Any]:
    """Return the content of an ``adapter_config.json``.

    Raises:
        UnreadableFile, MalformedAdapter: it can't be read, or is no JSON object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise MalformedAdapter(label, f"{path.name} is over {MAX_CONFIG_BYTES >> 20} MiB")
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise MalformedAdapter(label, f"{path.name} is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise MalformedAdapter(label, f"{path.name} is not a JSON object")
    return config


def _text_or_none(config: dict[str, Any], option: str, label: str) -> str | None:
    value = config.get(option)
    if value is not None and not isinstance(value, str):
        raise MalformedAdapter(label, f"{option} is not a text")
    return value or None


def _read_modules(tensor_file: TensorFile, scalings: Scalings, label: str) -> dict[str, LoraModule]:
    factors: dict[str, dict[str, tuple[str, bool]]] = {}
    frozen = set()
    for key in tensor_file.tensors:
        if key.startswith(_PREFIX) and key.endswith(_FROZEN_EMBEDDING):
            frozen.add(key.removeprefix(_PREFIX).removesuffix(_FROZEN_EMBEDDING))
            continue
        name, factor, embedding = _parse_key(key, label)
        factors.setdefault(name, {})[factor] = (key, embedding)
    if not factors:
        raise MalformedAdapter(label, "its tensor file has no LoRA factors")
    modules = {}
    for name, pair in sorted(factors.items()):
        if set(pair) != {"A", "B"} or pair["A"][1] != pair["B"][1]:
            raise MalformedAdapter(label, f"{name} has lora_{''.join(pair)} without its partner")
        modules[name] = _module(tensor_file, scalings, name, pair, label)
    for name in sorted(frozen):
        if name not in modules or not modules[name].embedding:
            raise NotLinear(
                label, f"tensor {name}.base_layer.weight", "a base weight stands in the adapter"
            )
    return modules


def _parse_key(key: str, label: str) -> tuple[str, str, bool]:
    if key.startswith(_PREFIX):
        for suffix, (factor, embedding) in _SUFFIXES.items():
            if key.endswith(suffix):
                return key.removeprefix(_PREFIX).removesuffix(suffix), factor, embedding
    if "lora_magnitude_vector" in key:
        raise NotLinear(label, f"tensor {key}", "DoRA rescales the whole weight")
    if key.endswith("lora_B.bias"):
        raise NotLinear(label, f"tensor {key}", "a bias on LoRA's B is no change of a weight")
    raise NotLinear(label, f"tensor {key}", "it is no LoRA factor, and nothing is dropped silently")


def _module(
    tensor_file: TensorFile,
    scalings: Scalings,
    name: str,
    pair: dict[str, tuple[str, bool]],
    label: str,
) -> LoraModule:
    (a_key, embedding), (b_key, _) = pair["A"], pair["B"]
    a, b = tensor_file.tensors[a_key], tensor_file.tensors[b_key]
    for key, info in ((a_key, a), (b_key, b)):
        _check_factor(key, info, label)
    if a.shape[0] != b.shape[1]:
        raise MalformedAdapter(label, f"{name}: A is {a.shape} and B {b.shape}: ranks differ")
    rank = a.shape[0]
    if rank != scalings.rank(name):
        raise MalformedAdapter(
            label, f"{name}: its tensors have rank {rank}, its config says {scalings.rank(name)}"
        )
    return LoraModule(
        name=name,
        rank=rank,
        scaling=scalings.scaling(name, rank),
        in_features=a.shape[1],
        out_features=b.shape[0],
        embedding=embedding,
        a_key=a_key,
        b_key=b_key,
        dtype=a.dtype,
    )


def _check_factor(key: str, info: TensorInfo, label: str) -> None:
    if len(info.shape) != 2:
        raise NotLinear(
            label, f"tensor {key} of shape {info.shape}", "only matrices, no convolutions"
        )
    if info.dtype not in FLOAT_DTYPES:
        raise NotLinear(label, f"tensor {key} of dtype {info.dtype}", "factors are F16, BF16, F32")
    if 0 in info.shape:
        raise MalformedAdapter(label, f"tensor {key} is empty: {info.shape}")


def lora_leaf(adapter: LoraAdapter) -> LoraLeaf:
    """Return the adapter as the algebra takes it; factors are read when asked for."""
    tensors = TensorReader(adapter.tensor_file.path)
    return LoraLeaf(
        label=str(adapter.folder.name),
        base_name=adapter.base_name,
        modules={
            name: LowRankFactors(
                rank=module.rank,
                scaling=module.scaling,
                in_features=module.in_features,
                out_features=module.out_features,
                embedding=module.embedding,
                transposed=module.embedding or adapter.fan_in_fan_out,
                load_a=partial(tensors.load, module.a_key),
                load_b=partial(tensors.load, module.b_key),
            )
            for name, module in adapter.modules.items()
        },
        fan_in_fan_out=adapter.fan_in_fan_out,
        task_type=adapter.config.get("task_type"),
    )
