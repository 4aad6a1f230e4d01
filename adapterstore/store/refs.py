"""Refs move by compare-and-swap under their lock, or not at all."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from adapterstore.errors import CorruptStore, RefMoved, StoreBusy, UnknownRevision
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository

LOCK_NAME = "adapterstore.lock"
LOCK_WAIT_SECONDS = 20.0
_LOCK_POLL_SECONDS = 0.01
_ATTACH = "point it at a branch with 'git symbolic-ref HEAD refs/heads/main' in the store"


def read_ref(repository: Repository, name: str) -> CommitId | None:
    """Return the commit that a full ref name names (None: no such ref).

    Raises:
        CorruptStore: the ref is there, but names no commit.
    """
    try:
        reference = repository.git.references.get(name)
    except ValueError:
        # Not even a possible name of a ref.
        return None
    except pygit2.GitError as error:
        raise CorruptStore(name, str(error)) from error
    if reference is None:
        return None
    try:
        return CommitId(str(reference.peel(pygit2.Commit).id))
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise CorruptStore(name, f"names no commit here ({error})") from error


def list_refs(repository: Repository, prefix: str) -> dict[str, CommitId]:
    """Return every ref that begins with ``prefix`` and names a commit: full name → commit.

    A tag may name any object, and a broken ref of one branch is no reason to refuse work on
    another: ``fsck`` tells of it.
    """
    found = {}
    for name in repository.git.references:
        try:
            target = read_ref(repository, name) if name.startswith(prefix) else None
        except CorruptStore:
            continue
        if target is not None:
            found[name] = target
    return found


def current_branch(repository: Repository) -> str:
    """Return the full name of the branch that HEAD stands for.

    Raises:
        UnknownRevision: it stands for no branch: somebody detached or damaged it.
    """
    try:
        target = repository.git.references["HEAD"].target
    except (pygit2.GitError, KeyError) as error:
        raise UnknownRevision("HEAD", f"{error}; {_ATTACH}") from error
    if not isinstance(target, str):
        raise UnknownRevision("HEAD", f"stands for commit {str(target)[:12]}; {_ATTACH}")
    return target


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
        StoreBusy: another process keeps a lock.
        OSError: the disk is full, or there is no permission to write.
    """
    with store_lock(repository.folder) as lock:
        _remove_abandoned_lock(repository.folder, lock)
        git_lock = repository.folder / f"{name}.lock"
        if git_lock.exists():
            raise _busy(git_lock)
        _write_intent(lock, name)
        try:
            with repository.git.transaction() as transaction:
                transaction.lock_ref(name)
                actual = read_ref(repository, name)
                if actual != expected:
                    raise RefMoved(name, expected, actual)
                transaction.set_target(name, new, None, message)
        except (OSError, pygit2.GitError) as error:
            if git_lock.exists():
                raise _busy(git_lock) from error
            raise OSError(str(error)) from error
        finally:
            # Left standing, it would let the next writer remove a lock that is not ours.
            _write_intent(lock, "")


def _busy(git_lock: Path) -> StoreBusy:
    return StoreBusy(
        str(git_lock),
        "another git process holds it; if no other git process is at work there, delete this file",
    )


@contextmanager
def store_lock(folder: Path) -> Iterator[int]:
    """Hold the lock that all writers of this store take before they move a ref.

    The kernel frees it when its holder dies, so a killed process never blocks the next.
    """
    path = folder / LOCK_NAME
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        str(path), f"another process holds it for {LOCK_WAIT_SECONDS:.0f} s"
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
        yield handle
    finally:
        os.close(handle)


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
