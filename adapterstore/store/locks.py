"""File locks that the kernel frees when their holder dies, so that no killed process blocks others.

``writers.lock`` is held shared from the first object that somebody writes, or finds there already
and relies on, until the ref that names it has moved; `adapterstore.history.housekeeping.gc` holds
it alone. So nothing is removed between the moment in which a writer sees it and the moment in which
a ref keeps it, whatever its age.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapterstore.errors import StoreBusy

WRITERS_LOCK = "writers.lock"
WRITER_WAIT_SECONDS = 600.0
"""Long: what a writer has trained for hours must not be lost to a `gc` that runs a minute."""
GC_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.01


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keep `gc` out of the store in ``folder``; any number of writers may do so at once.

    Raises:
        StoreBusy: a `gc` runs for longer than any should.
    """
    with file_lock(
        folder / WRITERS_LOCK, fcntl.LOCK_SH, WRITER_WAIT_SECONDS, "gc is at work; try again later"
    ):
        yield


@contextmanager
def collecting(folder: Path) -> Iterator[None]:
    """Keep all writers out of the store in ``folder``.

    Raises:
        StoreBusy: a writer is at work.
    """
    problem = "another command, an update or the daemon is writing; try again when it has ended"
    with file_lock(folder / WRITERS_LOCK, fcntl.LOCK_EX, GC_WAIT_SECONDS, problem):
        yield


@contextmanager
def file_lock(path: Path, kind: int, wait_seconds: float, problem: str) -> Iterator[int]:
    """Hold a lock of a kind (``LOCK_SH`` or ``LOCK_EX``) on a file, which is made if need be.

    Raises:
        StoreBusy: it did not come free in time; ``problem`` says what that means.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        while not try_lock(handle, kind):
            if time.monotonic() > deadline:
                raise StoreBusy(str(path), problem)
            time.sleep(_POLL_SECONDS)
        yield handle
    finally:
        os.close(handle)


def try_lock(handle: int, kind: int) -> bool:
    """Take a lock on an open file or folder if it is free; it ends when the file is closed."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
