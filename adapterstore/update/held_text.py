"""The text on which perplexity is watched: a file of the user's, or what the base writes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterstore.adapters.base_model import BaseModel
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.perplexity import perplexity, text_rows
from adapterstore.learning.sampling import sample_texts
from adapterstore.store.cache import Cache
from adapterstore.store.repository import Repository

SAMPLED_TEXTS = 64
_KIND = "held-text-1"
_MOST_BYTES = 1 << 20
"""More of a file is not read: a measure, not an evaluation."""

Rows = list[tuple[int, ...]]


@dataclass(frozen=True)
class HeldText:
    """Rows of tokens, and how the base takes them."""

    rows: Rows
    base_perplexity: float | None


def find_held_text(
    repository: Repository, base: BaseModel, path: Path | None, chat: str
) -> HeldText | None:
    """Return what `make_held_text` kept of the same base and file; None if nothing."""
    content = Cache(repository.folder, _KIND).read(_key(base, path, chat))
    try:
        return HeldText([tuple(row) for row in content["rows"]], content["base_perplexity"])
    except (TypeError, KeyError):
        return None


def make_held_text(
    repository: Repository,
    base: BaseModel,
    path: Path | None,
    chat: str,
    model: Any,
    tokenizer: Any,
) -> HeldText:
    """Read or sample the held text, measure the base on it, and keep both in the cache.

    Args:
        repository: the store.
        base: whose text it is.
        path: a text file (None: sample, with seed 0).
        chat: the recipe's chat mode; with a template, the base writes turns.
        model: the base itself.
        tokenizer: its tokenizer.

    Raises:
        InvalidSetting: the file can't be read, or is empty.
    """
    if path is not None:
        rows = text_rows(model, tokenizer, read_file(path).decode(errors="replace"))
    else:
        rows = _sample(model, tokenizer)
    held = HeldText(rows, perplexity(model, tokenizer, rows))
    value = {"rows": [list(row) for row in rows], "base_perplexity": held.base_perplexity}
    Cache(repository.folder, _KIND).write(_key(base, path, chat), value)
    return held


def _sample(model: Any, tokenizer: Any) -> Rows:
    import torch

    devices = [model.device] if model.device.type == "cuda" else []
    # The update's own draws stay what they are without this one.
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        return [tuple(text) for text in sample_texts(model, tokenizer, SAMPLED_TEXTS)]


def _key(base: BaseModel, path: Path | None, chat: str) -> str:
    text = hashlib.sha256(read_file(path)).hexdigest() if path is not None else None
    return json.dumps([base.digests, text, chat], sort_keys=True)


def read_file(path: Path) -> bytes:
    """Return the beginning of the user's file, as much as is measured.

    Raises:
        InvalidSetting: it can't be read, or says nothing.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidSetting("drift.held_text", f"{path}: {error.strerror or error}") from error
    if not data.strip():
        raise InvalidSetting("drift.held_text", f"{path} is empty")
    return data
