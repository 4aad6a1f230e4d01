"""Files that a killed process left half-written, and that nobody will finish."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapterstore.store.locks import try_lock
from adapterstore.store.repository import FOLDER_NAME, Repository

LEAST_AGE_SECONDS = 60.0
"""Nothing younger is a leftover, whatever grace is asked for: it may just have been made."""
_OWN = re.compile(r"\..*\.[0-9a-f]{32}")
"""What `adapterstore.store.durable.write_file` writes before it renames."""
_DRAFT = re.compile(re.escape(FOLDER_NAME) + r"-[0-9a-f]{32}")
_GIT = ("objects/tmp_*", "objects/??/tmp_*", "objects/pack/tmp_*", "objects/pack/pack_git2_*")
"""Temporary files of git and libgit2."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that is in nobody's use."""

    path: Path
    size: int
    modified: float
    """When the newest of it was written."""

    def remove(self) -> None:
        """Remove it."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def list_leftovers(repository: Repository) -> list[Leftover]:
    """Return the leftovers in and beside a store that no running process holds a lock on."""
    folder = repository.folder
    paths = [*(folder / "lfs" / "tmp").glob("*")]
    paths += [path for pattern in _GIT for path in folder.glob(pattern)]
    paths += [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]
    if folder.name == FOLDER_NAME:
        paths += [path for path in folder.parent.iterdir() if _DRAFT.fullmatch(path.name)]
    return [found for path in sorted(paths) for found in _measure(path)]


def _measure(path: Path) -> Iterator[Leftover]:
    try:
        if path.is_dir() and not path.is_symlink() and _is_locked(path):
            return
        statuses = [path.lstat(), *(inner.lstat() for inner in path.rglob("*"))]
    except OSError:
        # Its owner has taken it away meanwhile, or it is not ours to look at.
        return
    size = sum(status.st_size for status in statuses[1:] or statuses)
    yield Leftover(path, size, max(status.st_mtime for status in statuses))


def _is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return not try_lock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)
