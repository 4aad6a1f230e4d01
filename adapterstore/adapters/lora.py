"""A PEFT LoRA folder as low-rank factors. Nothing of peft or torch is needed to read one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adapterstore.adapters.json_file import read_json_object
from adapterstore.adapters.lora_config import Scalings, check_linear
from adapterstore.adapters.tensor_file import FLOAT_DTYPES, TensorFile, TensorInfo, read_tensor_file
from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.algebra.leaves import LoraLeaf, LowRankFactors
from adapterstore.errors import MalformedAdapter, NotLinear, ShapeMismatch

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
MAX_NAME_LENGTH = 250
MAX_TEXT_LENGTH = 4096
_PREFIX = "base_model.model."
_SUFFIXES = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
# peft saves the frozen layer beside the factors of an embedding or output layer.
_FROZEN = (".base_layer.weight", ".base_layer.bias")


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
        ShapeMismatch: a frozen layer beside its factors has another shape.
    """
    label = label or str(folder)
    config = read_json_object(folder / CONFIG_NAME, label)
    check_linear(config, label)
    tensor_file = read_tensor_file(weights or folder / WEIGHTS_NAME)
    fan_in_fan_out = bool(config.get("fan_in_fan_out"))
    _text_or_none(config, "task_type", label)
    modules = _read_modules(tensor_file, Scalings(config, label), fan_in_fan_out, label)
    return LoraAdapter(
        folder=folder,
        config=config,
        base_name=_text_or_none(config, "base_model_name_or_path", label),
        revision=_text_or_none(config, "revision", label),
        modules=modules,
        fan_in_fan_out=fan_in_fan_out,
        tensor_file=tensor_file,
    )


def _text_or_none(config: dict[str, Any], option: str, label: str) -> str | None:
    value = config.get(option)
    if value is not None and not isinstance(value, str):
        raise MalformedAdapter(label, f"{option} is not a text")
    if value is not None and (len(value) > MAX_TEXT_LENGTH or not value.isprintable()):
        # Names and paths are what stands there; half a character could not even be stored.
        raise MalformedAdapter(label, f"{option} is no name: {value[:40]!r}")
    return value or None


def _read_modules(
    tensor_file: TensorFile, scalings: Scalings, fan_in_fan_out: bool, label: str
) -> dict[str, LoraModule]:
    factors: dict[str, dict[str, tuple[str, bool]]] = {}
    frozen = []
    for key in tensor_file.tensors:
        if key.startswith(_PREFIX) and key.endswith(_FROZEN):
            frozen.append(key)
            continue
        name, factor, embedding = _parse_key(key, label)
        if factor in factors.setdefault(name, {}):
            raise MalformedAdapter(label, f"{name} has two kinds of lora_{factor}")
        factors[name][factor] = (key, embedding)
    if not factors:
        raise MalformedAdapter(label, "its tensor file has no LoRA factors")
    modules = {}
    for name, pair in sorted(factors.items()):
        if set(pair) != {"A", "B"} or pair["A"][1] != pair["B"][1]:
            raise MalformedAdapter(label, f"{name} has lora_{''.join(pair)} without its partner")
        modules[name] = _module(tensor_file, scalings, name, pair, label)
    for key in frozen:
        _check_frozen(key, tensor_file.tensors[key], modules, fan_in_fan_out, label)
    return modules


def _check_frozen(
    key: str,
    info: TensorInfo,
    modules: dict[str, LoraModule],
    fan_in_fan_out: bool,
    label: str,
) -> None:
    """A frozen layer changes nothing, if it is one of an adapted module and has its shape."""
    name, _, kind = key.removeprefix(_PREFIX).rpartition(".base_layer.")
    module = modules.get(name)
    if module is None:
        raise NotLinear(label, f"tensor {key}", "a base weight stands in the adapter")
    shape: tuple[int, ...] = (module.out_features,)
    if kind == "weight":
        shape = weight_shape(module, fan_in_fan_out)
    if info.shape != shape:
        raise ShapeMismatch(name, f"{label}: base_layer", info.shape, f"{label}: LoRA", shape)


def _parse_key(key: str, label: str) -> tuple[str, str, bool]:
    if len(key) > MAX_NAME_LENGTH:
        raise MalformedAdapter(label, f"a tensor's name is {len(key)} characters long")
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
        raise NotLinear(label, f"tensor {key} of dtype {info.dtype}", "factors are floats")
    if 0 in info.shape:
        raise MalformedAdapter(label, f"tensor {key} is empty: {info.shape}")


def largest_rank(tensor_file: TensorFile) -> int:
    """Return the largest rank of a module in the tensor file of a checked adapter."""
    a = tuple(suffix for suffix, (factor, _) in _SUFFIXES.items() if factor == "A")
    return max(info.shape[0] for key, info in tensor_file.tensors.items() if key.endswith(a))


def weight_shape(module: LoraModule, fan_in_fan_out: bool) -> tuple[int, int]:
    """Return the shape of the base weight that a module's factors change."""
    shape = (module.out_features, module.in_features)
    return shape[::-1] if module.embedding or fan_in_fan_out else shape


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
