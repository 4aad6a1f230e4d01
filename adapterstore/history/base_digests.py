"""SHA-256 of the base's files, remembered by what tells that a file is the same one.

Hashing a base of 14 GB takes longer than a small update. A file counts as hashed before if path,
device, inode, size and both times are the same; the change time can't be set by hand. A file that
changed within the last seconds is hashed anew, as another change could leave it the same times.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from adapterstore.adapters.base_model import file_digest
from adapterstore.store.cache import Cache

KIND = "base-digests"
SETTLED_NS = 10_000_000_000
"""Nanoseconds after its last change for which a file's digest is not remembered."""


def remembered_digest(store_folder: Path) -> Callable[[Path], str]:
    """Return a function that gives a file's SHA-256 and hashes it where it must."""
    cache = Cache(store_folder, KIND)

    def digest(path: Path) -> str:
        before = _identity(path)
        known = cache.read(before)
        if isinstance(known, str):
            return known
        found = file_digest(path)
        if _identity(path) == before and _is_settled(path):
            cache.write(before, found)
        return found

    return digest


def _identity(path: Path) -> str:
    status = path.stat()
    return json.dumps(
        [
            str(path.resolve()),
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        ]
    )


def _is_settled(path: Path) -> bool:
    status = path.stat()
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS
