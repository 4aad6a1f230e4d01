"""Refs move by compare-and-swap under their lock, or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from adapterstore.errors import RefMoved, StoreBusy
from adapterstore.identifiers import CommitId
from adapterstore.store.locks import file_lock
from adapterstore.store.repository import Repository

LOCK_NAME = "adapterstore.lock"
LOCK_WAIT_SECONDS = 20.0


def read_ref(repository: Repository, name: str) -> CommitId | None:
    """Return the commit that a full ref name names (None: no such ref)."""
    reference = repository.git.references.get(name)
    if reference is None:
        return None
    return CommitId(str(reference.peel(pygit2.Commit).id))


def list_refs(repository: Repository, prefix: str) -> dict[str, CommitId]:
    """Return every ref that begins with ``prefix``: full name → commit."""
    found = {}
    for name in repository.git.references:
        target = read_ref(repository, name) if name.startswith(prefix) else None
        if target is not None:
            found[name] = target
    return found


def current_branch(repository: Repository) -> str:
    """Return the full name of the branch that HEAD stands for."""
    target = repository.git.references["HEAD"].target
    return str(target)


def move_ref(
    repository: Repository, name: str, expected: CommitId | None, new: CommitId, message: str
) -> None:
    """Make the ref ``name`` name the commit ``new``, if it still names ``expected``.

    Args:
        repository: the store.
        name: full name, such as ``refs/heads/main``.
        expected: what the caller computed ``new`` from; None if there was no such ref.
        new: a commit, durable with all that it reaches.
        message: what the reflog shall say.

    Raises:
        RefMoved: the ref names something else by now; nothing was changed.
        CorruptStore: there is no such commit.
        StoreBusy: another process keeps a lock.
    """
    with repository.writing(), _store_lock(repository.folder) as lock:
        # Nobody removes it any more; what it reaches is there as long as it is.
        repository.commit(new)
        _remove_abandoned_lock(repository.folder, lock)
        _write_intent(lock, name)
        try:
            with repository.git.transaction() as transaction:
                transaction.lock_ref(name)
                actual = read_ref(repository, name)
                if actual != expected:
                    raise RefMoved(name, expected, actual)
                transaction.set_target(name, new, None, message)
        except (OSError, pygit2.GitError) as error:
            raise StoreBusy(
                str(repository.folder / f"{name}.lock"),
                f"{error}; if no other git process is at work there, delete this file",
            ) from error
        _write_intent(lock, "")


@contextmanager
def _store_lock(folder: Path) -> Iterator[int]:
    """Hold the lock that all writers of this store take before they move a ref.

    The kernel frees it when its holder dies, so a killed process never blocks the next.
    """
    problem = f"another process holds it for {LOCK_WAIT_SECONDS:.0f} s"
    with file_lock(folder / LOCK_NAME, fcntl.LOCK_EX, LOCK_WAIT_SECONDS, problem) as handle:
        yield handle


def _write_intent(lock: int, ref: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, ref.encode(), 0)
    os.fsync(lock)


def _remove_abandoned_lock(folder: Path, lock: int) -> None:
    """Remove git's lock file of a ref whose mover was killed.

    The mover wrote the ref's name into the store's lock file first. We hold that lock now, so the
    mover is dead and its ``.lock`` file is its own; one that another git process made is left.
    """
    ref = os.pread(lock, 4096, 0).decode(errors="replace")
    if ref.startswith("refs/") and ".." not in ref:
        (folder / f"{ref}.lock").unlink(missing_ok=True)
