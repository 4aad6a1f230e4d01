"""The base as it was loaded last, kept in a process that makes one update after the other.

An update needs the base several times, unchanged: to train, to measure before, to measure after.
Kept is one base, if it is small, on the CPU; what is handed out is a copy.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MOST_BYTES = 1 << 28
"""Weights of a kept base: 256 MiB. Of a larger one, reading is little beside training."""

Loader = Callable[[], tuple[Any, Any]]

_kept: dict[tuple[object, ...], tuple[Any, Any]] = {}
_handed_out: list[weakref.ref[Any]] = []
"""Bases that are not kept, as long as they live."""


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
        _free_memory()
        model, tokenizer = load()
        if not _can_be_kept(model):
            _handed_out.append(weakref.ref(model))
            return model, tokenizer
        kept = _kept[key] = (model, tokenizer)
    return copy.deepcopy(kept[0]), copy.deepcopy(kept[1])


def _free_memory() -> None:
    """Give back what a large base still holds that nobody uses: its modules refer to each other.

    There may be no room for another one beside it.
    """
    if any(model() is not None for model in _handed_out):
        gc.collect()
        torch.cuda.empty_cache()
    _handed_out[:] = [model for model in _handed_out if model() is not None]


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
