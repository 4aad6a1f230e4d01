"""``cache/``: figures that can be computed again, kept so that they need not be.

The folder, or any file in it, may be deleted at any time. An entry that can't be read is as good as
none, and one that can't be written is done without.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

CACHE_NAME = "cache"


def clear_cache(store_folder: Path) -> None:
    """Remove all of it: answers and the index of the ledger may quote a text that is to go."""
    shutil.rmtree(store_folder / CACHE_NAME, ignore_errors=True)


class Cache:
    """JSON values by kind and key, one file each."""

    def __init__(self, store_folder: Path, kind: str):
        """Use the folder ``cache/<kind>`` of a store; it is made when something is written."""
        self._folder = store_folder / CACHE_NAME / kind

    def read(self, key: str) -> Any:
        """Return the value of a key; None if there is none, or it is not what was written."""
        try:
            content = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(content, dict) or content.get("key") != key:
            return None
        text = _canonical(content.get("value"))
        return content["value"] if content.get("sha256") == _digest(text) else None

    def write(self, key: str, value: Any) -> None:
        """Keep a value: whole or not at all, and silently not where the disk refuses."""
        text = _canonical(value)
        content = json.dumps({"key": key, "sha256": _digest(text), "value": value})
        path = self._path(key)
        draft = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(content, encoding="utf-8")
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        name = _digest(key)
        return self._folder / name[:2] / f"{name}.json"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
