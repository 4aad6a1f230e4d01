"""Which model a store is about, and how to tell that the weights at hand are that model's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from adapterstore.adapters.lora import LoraAdapter, weight_shape
from adapterstore.adapters.model_folder import CONFIG_NAME, OUTPUT_WEIGHT, read_model_folder
from adapterstore.algebra.dense import match_weight
from adapterstore.errors import (
    BaseModelMismatch,
    BaseModelUnavailable,
    CorruptStore,
    MalformedAdapter,
    NotLinear,
    ShapeMismatch,
    UnreadableFile,
    UnsupportedFormat,
)

FORMAT = 1
Alias = str | PurePath
"""Another name of a base model, or the folder with its weights."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
)
_CHAT_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
_CONV1D = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})
"""What GPT-2 and its kin call their Conv1D layers, and GPTBigCode some of its linear ones."""
_TWO_LAYOUTS = "an adapter of layers of both layouts can be saved as two"


@dataclass(frozen=True)
class BaseModel:
    """What a store knows of its base model."""

    name: str | None = None
    """Name on the Hub, ``demo``, or a folder's name; None until an adapter says it."""
    revision: str | None = None
    shapes: dict[str, list[int]] = field(default_factory=dict)
    """Weight name → shape: all of them once the weights were seen, before that the adapters'.

    An output layer that is the embedding has its own entry, though the files have none.
    """
    digests: dict[str, str] | None = None
    """SHA-256 of config, weights, tokenizer and chat template; None until they were seen."""
    quantization: dict[str, Any] | None = None
    rope: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """Return the canonical JSON text (``base.json``)."""
        content = {"format": FORMAT, **asdict(self)}
        return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> BaseModel:
        """Read ``base.json``.

        Raises:
            CorruptStore: it is not what `to_bytes` writes.
            UnsupportedFormat: a newer release wrote it.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptStore(where, f"base.json is not JSON ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise CorruptStore(where, "base.json names no format version")
        version = content.pop("format")
        if version > FORMAT:
            raise UnsupportedFormat(f"{where}: base.json", version, FORMAT)
        try:
            base = cls(**content)
        except TypeError as error:
            raise CorruptStore(where, f"base.json has other fields ({error})") from error
        if base.to_bytes() != data:
            raise CorruptStore(where, "base.json is not in canonical form")
        if not base._is_typed():
            raise CorruptStore(where, "base.json has a field of another type")
        return base

    def _is_typed(self) -> bool:
        return (
            all(text is None or isinstance(text, str) for text in (self.name, self.revision))
            and all(
                part is None or isinstance(part, dict)
                for part in (self.digests, self.quantization, self.rope)
            )
            and all(isinstance(digest, str) for digest in (self.digests or {}).values())
            and isinstance(self.shapes, dict)
            and all(isinstance(shape, list) for shape in self.shapes.values())
        )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_base(
    folder: Path,
    name: str | None,
    revision: str | None,
    digest: Callable[[Path], str] = file_digest,
) -> BaseModel:
    """Return what is to be recorded of the model in a folder; every byte of it is hashed.

    Args:
        folder: the model's.
        name: to be recorded.
        revision: to be recorded.
        digest: gives a file's SHA-256; one that remembers need not read the file.

    Raises:
        BaseModelUnavailable: there is no model in the folder that can be read.
        MalformedTensorFile: a tensor file of it is damaged.
    """
    shown = name or str(folder)
    try:
        model = read_model_folder(folder)
        digests = {
            "config": _digest([folder / CONFIG_NAME], digest),
            "weights": _digest((f.path for f in model.files.values()), digest),
        }
        for role, names in (
            ("tokenizer", TOKENIZER_FILES),
            ("chat_template", _CHAT_TEMPLATE_FILES),
        ):
            found = [folder / file for file in names if (folder / file).is_file()]
            if found:
                digests[role] = _digest(found, digest)
    except (MalformedAdapter, UnreadableFile, OSError) as error:
        raise BaseModelUnavailable(shown, str(error)) from error
    shapes = model.shapes
    if (tied := model.tied_embedding) is not None:
        shapes.setdefault(OUTPUT_WEIGHT, shapes[tied])
    rope = model.config.get("rope_parameters") or model.config.get("rope_scaling")
    return BaseModel(
        name=name,
        revision=revision,
        shapes=dict(sorted(shapes.items())),
        digests=digests,
        quantization=model.config.get("quantization_config"),
        rope=rope,
    )


def _digest(paths: Iterable[Path], digest: Callable[[Path], str]) -> str:
    """Return the SHA-256 of a file, or of the sorted SHA-256s of several (names do not count)."""
    digests = [digest(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def check_same_base(recorded: BaseModel, loaded: BaseModel) -> None:
    """Raise unless the model at hand is the recorded one, as far as it is recorded.

    Raises:
        BaseModelMismatch: a digest or a shape differs; it is named.
    """
    name = str(recorded.name)
    if recorded.digests is not None:
        found = loaded.digests or {}
        for role in sorted({*recorded.digests, *found}):
            if recorded.digests.get(role) != found.get(role):
                raise BaseModelMismatch(
                    name,
                    str(loaded.name),
                    f"base model {name!r}: its {role} {_digest_shown(found.get(role))}, but the "
                    f"store was made over one that {_digest_shown(recorded.digests.get(role))}; "
                    "set base.path to the right weights",
                )
    if recorded.digests is not None or loaded.quantization is not None:
        return
    for weight, shape in recorded.shapes.items():
        stored = match_weight(weight, loaded.shapes)
        if stored is None or list(loaded.shapes[stored]) != list(shape):
            found_shape = loaded.shapes.get(stored) if stored else None
            raise BaseModelMismatch(
                name,
                str(loaded.name),
                f"base model {name!r}: weight {weight} has shape {found_shape}, but the store's "
                f"adapters change one of shape {shape}; set base.path to the right weights",
            )


def _digest_shown(digest: str | None) -> str:
    return f"has SHA-256 {digest[:12]}" if digest is not None else "is not there"


def check_adapter_fits(base: BaseModel, adapter: LoraAdapter, aliases: Sequence[Alias]) -> None:
    """Raise unless an adapter belongs to the base model, by name and by shapes.

    An adapter that names no base is taken by its shapes alone. A name fits if it is the base's,
    an alias, or a local path (a folder, or a snapshot in the Hub cache) that ends with one of them.
    An alias that is a `Path` is the base's folder here: its own path fits, and a relative one with
    which that ends, for peft writes what the user gave, from wherever that was.

    Raises:
        BaseModelMismatch: it names another base, or adapts a module that the base does not have.
        NotLinear: a module is laid out the other way round than the adapter says, or may be.
        ShapeMismatch: a module has another shape.
    """
    label = str(adapter.folder)
    if base.name is not None and adapter.base_name is not None:
        known: list[Alias] = [base.name, *aliases]
        if not any(_same_name(name, adapter.base_name) for name in known):
            raise BaseModelMismatch(base.name, adapter.base_name)
    for module in adapter.modules.values():
        shape = list(weight_shape(module, adapter.fan_in_fan_out))
        stored = match_weight(f"{module.name}.weight", base.shapes)
        if stored is None:
            if base.digests is not None:
                raise BaseModelMismatch(
                    str(base.name),
                    label,
                    f"{label}: adapts {module.name}, which the base model {base.name!r} "
                    "does not have",
                )
        elif list(base.shapes[stored]) != shape and base.quantization is None:
            if not module.embedding and list(base.shapes[stored]) == shape[::-1]:
                raise NotLinear(
                    label,
                    f"{module.name} with fan_in_fan_out={adapter.fan_in_fan_out}",
                    f"the base keeps that weight as {base.shapes[stored]}, the other way round; "
                    f"{_TWO_LAYOUTS}",
                )
            # Packed weights of a quantized base have other shapes than the modules they stand for.
            raise ShapeMismatch(
                module.name, f"base model {base.name!r}", base.shapes[stored], label, shape
            )
    if base.quantization is None:
        _check_square(base, adapter)


def _check_square(base: BaseModel, adapter: LoraAdapter) -> None:
    """Raise where a square weight, whose shape does not tell its layout, has the other one.

    peft says one layout of all modules of an adapter: that of the one it came to last.
    """
    linear = [module for module in adapter.modules.values() if not module.embedding]
    square = [module for module in linear if module.in_features == module.out_features]
    has_conv1d = _has_conv1d(base)
    for module in square:
        named = _last(module.name) in _CONV1D
        transposed = has_conv1d and named
        if has_conv1d is not None and transposed != adapter.fan_in_fan_out:
            kept = "(in, out)" if transposed else "(out, in)"
            why = f"the base keeps that weight as {kept}, the other way round"
        elif (
            has_conv1d is None
            and base.digests is None
            and named
            and not adapter.fan_in_fan_out
            and any(_last(other.name) not in _CONV1D for other in linear)
        ):
            why = "the base may keep that weight as (in, out), and has not been seen yet"
        else:
            continue
        raise NotLinear(
            str(adapter.folder),
            f"{module.name} with fan_in_fan_out={adapter.fan_in_fan_out}",
            f"{why}; {_TWO_LAYOUTS}",
        )


def _has_conv1d(base: BaseModel) -> bool | None:
    """Return whether a base's layers are GPT-2's, kept as (in, out); None if nothing tells.

    Its c_attn gives queries, keys and values at once, or two of them, so it has more columns than
    rows; as a linear layer it would have more rows.
    """
    for name, shape in base.shapes.items():
        if len(shape) == 2 and shape[0] != shape[1] and name.endswith(".c_attn.weight"):
            return bool(shape[0] < shape[1])
    return None


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _same_name(known: Alias, given: str) -> bool:
    if isinstance(known, PurePath):
        folder, parts = PureWindowsPath(known).parts, PureWindowsPath(given).parts
        if not given.startswith(("/", "~")) and not PureWindowsPath(given).drive:
            end = tuple(part for part in parts if part not in (".", ".."))
            return bool(end) and folder[-len(end) :] == end
        return folder == parts
    if known == given:
        return True
    if not (given.startswith(("/", ".", "~")) or "\\" in given):
        return False
    # Takes both kinds of separators: adapters travel between systems.
    parts = PureWindowsPath(given).parts
    cached = "models--" + known.replace("/", "--")
    return parts[-1:] == (known.rpartition("/")[2],) or cached in parts
