"""The base as it was loaded last, kept in a process that makes one update after the other.

An update needs the base several times, unchanged: to train, to measure before, to measure after.
Kept is one base, if it is small, on the CPU; what is handed out is a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 28
"""Weights of a kept base: 256 MiB. Of a larger one, reading is little beside training."""

Loader = Callable[[], tuple[Any, Any]]

_kept: dict[tuple[object, ...], tuple[Any, Any]] = {}


def warm(folder: Path, device: str, device_map: str | None, load: Loader) -> tuple[Any, Any]:
    """Return a model and its tokenizer as ``load`` does, from memory if the files are the same.

    Args:
        folder: the base's; its files are the same if their inodes, sizes and times are.
        device: for which it is loaded.
        device_map: for which it is loaded.
        load: reads it from the folder.
    """
    key = (str(folder), device, device_map, _identity(folder))
    kept = _kept.get(key)
    if kept is None:
        # Only the last is kept.
        _kept.clear()
        model, tokenizer = load()
        if not _can_be_kept(model):
            return model, tokenizer
        kept = _kept[key] = (model, tokenizer)
    return copy.deepcopy(kept[0]), copy.deepcopy(kept[1])


def _can_be_kept(model: Any) -> bool:
    weights = list(model.parameters())
    # Of layers that are spread or quantised, nobody promises that a copy is one.
    spread = getattr(model, "hf_device_map", None) is not None
    quantised = getattr(model.config, "quantization_config", None) is not None
    if spread or quantised or any(weight.device.type != "cpu" for weight in weights):
        return False
    size: int = sum(weight.numel() * weight.element_size() for weight in weights)
    return size <= MOST_BYTES


def _identity(folder: Path) -> tuple[object, ...]:
    statuses = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return tuple(
        (name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in statuses
    )
