"""Files that are complete and on disk before anybody can see them."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from adapterstore.store.refusals import naming


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Make the bytes of a file durable that somebody else has written."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each name durable in its parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def put_file(path: Path, data: bytes) -> None:
    """Make a file; its bytes are durable, its name is not yet.

    Raises:
        OSError: the disk is full, or there is no permission; with the path.
    """
    with naming(path), path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, data: bytes) -> None:
    """Replace a file's content at once: old or new after a crash, never a mixture."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        put_file(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)
