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
from adapterstore.progress import NO_PROGRESS, Progress

WRITERS_LOCK = "writers.lock"
WRITER_WAIT_SECONDS = 600.0
"""Long: what a writer has trained for hours must not be lost to a `gc` that runs a minute."""
GC_WAIT_SECONDS = 20.0
TELL_SECONDS = 1.0
"""Who waits longer than this is told what for."""
_POLL_SECONDS = 0.01


@contextmanager
def writing(folder: Path, waiting: Progress = NO_PROGRESS) -> Iterator[None]:
    """Keep `gc` out of the store in ``folder``; any number of writers may do so at once.

    Raises:
        StoreBusy: a `gc` runs for longer than any should.
    """
    problem = "gc is at work; try again later"
    path = folder / WRITERS_LOCK
    with file_lock(path, fcntl.LOCK_SH, WRITER_WAIT_SECONDS, problem, "gc", waiting):
        yield


@contextmanager
def collecting(folder: Path, waiting: Progress = NO_PROGRESS) -> Iterator[None]:
    """Keep all writers out of the store in ``folder``.

    Raises:
        StoreBusy: a writer is at work.
    """
    holder = "another command, an update or the daemon"
    problem = f"{holder} is writing; try again when it has ended"
    path = folder / WRITERS_LOCK
    with file_lock(path, fcntl.LOCK_EX, GC_WAIT_SECONDS, problem, holder, waiting):
        yield


@contextmanager
def file_lock(
    path: Path,
    kind: int,
    wait_seconds: float,
    problem: str,
    holder: str,
    waiting: Progress = NO_PROGRESS,
) -> Iterator[int]:
    """Hold a lock on a file, which is made if need be.

    Args:
        path: the file.
        kind: ``LOCK_SH`` or ``LOCK_EX``.
        wait_seconds: how long to wait for whoever holds it.
        problem: what it means that it did not come free.
        holder: who that is.
        waiting: told once, if it lasts, who is waited for; what it raises ends the wait.

    Raises:
        StoreBusy: the lock did not come free in time.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        begun, is_told = time.monotonic(), False
        while not try_lock(handle, kind):
            waited = time.monotonic() - begun
            if waited > wait_seconds:
                raise StoreBusy(str(path), problem)
            if waited > TELL_SECONDS and not is_told:
                waiting.note(f"waiting for {holder}, at most {wait_seconds:.0f} s")
                is_told = True
            waiting.advance(0)
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
