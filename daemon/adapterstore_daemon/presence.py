"""Which daemon a store has: one at a time, and what it watches, for others to read."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from adapterstore.errors import StoreBusy
from adapterstore_daemon.journal import OPEN_STATES, Delivery
from adapterstore_daemon.landing import find_fact_files, printable

_LOCK = "lock"
_PATIENCE = 1.0
"""Seconds for which a start waits for the lock: who only looks holds it, too, for an instant."""


@dataclass(frozen=True)
class Daemon:
    """A daemon of a store, the one that runs or the last one that did."""

    process: int
    folder: str
    branch: str
    since: str
    runs: bool


@contextmanager
def only_daemon(state_folder: Path, watched: Path, branch: str) -> Iterator[Path]:
    """Hold the lock of the one daemon of a store; the kernel frees it if we are killed.

    Args:
        state_folder: where the daemon keeps its state; it is made.
        watched: the folder that this daemon watches.
        branch: the branch that it updates.

    Raises:
        StoreBusy: another one runs.
    """
    state_folder.mkdir(exist_ok=True)
    path = state_folder / _LOCK
    with path.open("a+") as lock:
        deadline = time.monotonic() + _PATIENCE
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise StoreBusy(str(path), "another adapterstored runs on this store")
            time.sleep(0.02)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        daemon = Daemon(os.getpid(), str(watched), branch, now, runs=True)
        lock.truncate(0)
        json.dump(asdict(daemon), lock)
        lock.flush()
        yield state_folder


def last_daemon(state_folder: Path) -> Daemon | None:
    """Return the daemon that runs, or else the last one that did (None: there was none)."""
    try:
        with (state_folder / _LOCK).open() as lock:
            runs = not _try_lock(lock.fileno(), fcntl.LOCK_SH)
            return Daemon(**{**json.load(lock), "runs": runs})
    except (FileNotFoundError, ValueError, TypeError):
        # It is just starting, or is one of a former release.
        return None


def files_behind(daemon: Daemon, deliveries: Sequence[Delivery]) -> list[str]:
    """Return the names of files that wait for the daemon and have not been begun, oldest first."""
    here = (printable(daemon.folder), daemon.branch)
    begun = {d.name for d in deliveries if d.state in OPEN_STATES and (d.folder, d.branch) == here}
    try:
        files, _ = find_fact_files(Path(daemon.folder))
    except OSError:
        return []
    return [name for path in files if (name := printable(path.name)) not in begun]


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
