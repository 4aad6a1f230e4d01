"""What the system refuses, told by its reason and its place: libgit2 and open files lack either."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

_HINDRANCES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)
_NUMBERS = {os.strerror(number): number for number in _HINDRANCES}
_QUOTED_PATH = re.compile(r"'(/[^']+)'")
_PROBE_BYTES = 1 << 20


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file that can't be written: the error has its name only where it can't be opened.

    Raises:
        OSError: the disk is full, …; with the path.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def git_writing(folder: Path, size: int = 0) -> Iterator[None]:
    """Tell why libgit2 can't write below a folder, and where.

    It has no number for the reason. Where the disk gets full in the middle of an object, it has no
    reason either, and gives that of an earlier error, whatever it was about. So we try to write
    there, too; what the system then says is the reason.

    Args:
        folder: where it writes.
        size: how many bytes the largest object has, if that may be much.

    Raises:
        OSError: the disk is full, or there is no permission; with the path.
        pygit2.GitError: nothing hinders writing: the reason is another.
    """
    try:
        yield
    except (OSError, pygit2.GitError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # Not libgit2's.
            raise
        _try_to_write(folder, size + _PROBE_BYTES)
        problem, _, reason = str(error).rpartition(": ")
        if reason not in _NUMBERS:
            raise
        path = _QUOTED_PATH.search(problem)
        where = path[1] if path is not None else str(folder)
        raise OSError(_NUMBERS[reason], reason, where) from error


def _try_to_write(folder: Path, size: int) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
