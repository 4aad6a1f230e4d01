"""What lies at a path: a PEFT folder, a delta folder, or a fine-tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adapterstore.adapters.dense import DELTA_NAME
from adapterstore.adapters.lora import CONFIG_NAME, WEIGHTS_NAME
from adapterstore.adapters.model_folder import CONFIG_NAME as MODEL_CONFIG_NAME
from adapterstore.errors import MalformedAdapter, UnreadableFile

OperandKind = Literal["lora", "delta", "model"]


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
    folder = path if path.is_dir() else path.parent
    if folder is not path and path.suffix != ".safetensors":
        raise MalformedAdapter(str(path), "is neither a folder nor a .safetensors file")
    names = {entry.name for entry in folder.iterdir()}
    if CONFIG_NAME in names:
        if WEIGHTS_NAME not in names and "adapter_model.bin" in names:
            raise MalformedAdapter(
                str(folder), "holds pickled weights (.bin); save it again as safetensors"
            )
        return "lora", folder
    if DELTA_NAME in names:
        return "delta", folder
    if MODEL_CONFIG_NAME in names:
        return "model", folder
    raise MalformedAdapter(
        str(path),
        f"is no PEFT adapter ({CONFIG_NAME}), delta ({DELTA_NAME}) or model ({MODEL_CONFIG_NAME})",
    )
