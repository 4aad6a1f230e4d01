"""What lies at a path: a PEFT folder, a delta folder, or a fine-tuned model."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from adapterstore.adapters.dense import DELTA_NAME
from adapterstore.adapters.lora import CONFIG_NAME, WEIGHTS_NAME
from adapterstore.adapters.model_folder import CONFIG_NAME as MODEL_CONFIG_NAME
from adapterstore.errors import MalformedAdapter, UnreadableFile

OperandKind = Literal["lora", "delta", "model"]

_TENSOR_FILES: dict[OperandKind, str] = {
    "lora": WEIGHTS_NAME,
    "delta": "delta-*.safetensors",
    "model": "model*.safetensors",
}
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_SAVE_AGAIN = "holds pickled weights, which can run code; save it again as safetensors"


def identify_operand(path: Path) -> tuple[OperandKind, Path]:
    """Return the kind of a folder, or of the folder around a safetensors file, and that folder.

    Raises:
        UnreadableFile: there is nothing, or no permission.
        MalformedAdapter: it is none of these.
    """
    try:
        return _identify(path)
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error


def _identify(path: Path) -> tuple[OperandKind, Path]:
    path.stat()
    if path.is_dir():
        return _kind(path), path
    if path.suffix in _PICKLED:
        raise MalformedAdapter(str(path), _SAVE_AGAIN)
    if path.suffix != ".safetensors":
        raise MalformedAdapter(str(path), "is neither a folder nor a .safetensors file")
    kind = _kind(path.parent)
    if not fnmatch(path.name, _TENSOR_FILES[kind]):
        raise MalformedAdapter(
            str(path),
            f"is not part of the {kind} in its folder, whose weights are {_TENSOR_FILES[kind]}",
        )
    return kind, path.parent


def _kind(folder: Path) -> OperandKind:
    names = {entry.name for entry in folder.iterdir()}
    if CONFIG_NAME in names:
        if WEIGHTS_NAME not in names and "adapter_model.bin" in names:
            raise MalformedAdapter(str(folder / "adapter_model.bin"), _SAVE_AGAIN)
        return "lora"
    if DELTA_NAME in names:
        return "delta"
    if MODEL_CONFIG_NAME in names:
        return "model"
    raise MalformedAdapter(
        str(folder),
        f"holds no PEFT adapter ({CONFIG_NAME}), delta ({DELTA_NAME}) or model "
        f"({MODEL_CONFIG_NAME})",
    )
