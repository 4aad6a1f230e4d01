"""Refs and HEAD move by compare-and-swap under their lock, or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from adapterstore.errors import CorruptStore, RefInUse, RefMoved, StoreBusy, UnknownRevision
from adapterstore.identifiers import CommitId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.durable import write_file
from adapterstore.store.locks import file_lock
from adapterstore.store.messages import one_line
from adapterstore.store.reflog import (
    carry_reflog,
    check_reflogs,
    clear_stale_reflogs,
    cut_reflogs,
    reflog_sizes,
    remove_reflog,
)
from adapterstore.store.refusals import git_writing, naming
from adapterstore.store.repository import Repository

LOCK_NAME = "adapterstore.lock"
LOCK_WAIT_SECONDS = 20.0
_SWITCH = "change to one that 'adapterstore branch' lists: adapterstore switch BRANCH"


def read_ref(repository: Repository, name: str) -> CommitId | None:
    """Return the commit that a full ref name names, through a tag (None: no such ref).

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
        repository.check_there()
        return None
    try:
        return CommitId(str(reference.peel(pygit2.Commit).id))
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise CorruptStore(name, f"names no commit here ({error})") from error


def read_target(repository: Repository, name: str) -> str | None:
    """Return the id of the very object that a ref names: of an annotated tag, not its commit's."""
    reference = repository.git.references.get(name)
    return str(reference.resolve().target) if reference is not None else None


def ref_names(repository: Repository) -> list[str]:
    """Return the full names of all refs, broken ones too."""
    try:
        return list(repository.git.references)
    except pygit2.GitError as error:
        repository.check_there()
        raise CorruptStore("refs", str(error)) from error


def list_refs(repository: Repository, prefix: str) -> dict[str, CommitId]:
    """Return every ref that begins with ``prefix`` and names a commit: full name → commit.

    A tag may name any object, and a broken ref of one branch is no reason to refuse work on
    another: ``fsck`` tells of it.
    """
    found = {}
    for name in ref_names(repository):
        try:
            target = read_ref(repository, name) if name.startswith(prefix) else None
        except CorruptStore:
            continue
        if target is not None:
            found[name] = target
    return found


def head_branch(repository: Repository) -> str | None:
    """Return the full name of the branch that HEAD stands for, which may be gone.

    None: it stands for no branch: somebody detached or damaged it.
    """
    try:
        target = repository.git.references["HEAD"].target
    except (pygit2.GitError, KeyError):
        repository.check_there()
        return None
    return target if isinstance(target, str) else None


def current_branch(repository: Repository) -> str:
    """Return the full name of the branch that HEAD stands for.

    Raises:
        UnknownRevision: it stands for no branch, or for one that is gone.
    """
    branch = head_branch(repository)
    if branch is None:
        raise UnknownRevision("HEAD", "stands for no branch", _SWITCH)
    if read_ref(repository, branch) is None:
        raise UnknownRevision("HEAD", f"{branch}, for which it stands, is not there", _SWITCH)
    return branch


def move_ref(
    repository: Repository,
    name: str,
    expected: str | None,
    new: str,
    message: str,
    check: Callable[[], None] | None = None,
) -> None:
    """Make the ref ``name`` name the object ``new``, if it still names ``expected``.

    Args:
        repository: the store.
        name: full name, such as ``refs/heads/main``.
        expected: what the caller computed ``new`` from; None if there was no such ref.
        new: a commit or tag object, durable with all that it reaches.
        message: what the reflog shall say.
        check: what else must hold; called while no other ref of the store can move. What it raises
            leaves the ref as it is.

    Raises:
        RefMoved: the ref names something else by now; nothing was changed.
        CorruptStore: there is no such object (any more).
        StoreBusy: another process keeps a lock.
        OSError: the disk is full, or there is no permission to write.
    """
    with _moving(repository) as lock:
        if repository.git.get(new) is None:
            raise CorruptStore(name, f"is to name {new}, which is not in the store")
        if check is not None:
            check()
        _move(repository, lock, name, expected, new, message)


def check_movable(repository: Repository, name: str) -> None:
    """Take the locks of a move and give them back, so that hours of work do not end at one.

    Raises:
        StoreBusy: another process keeps a lock, or one that was killed has left git's.
        OSError: there is no permission to write, or no space.
    """
    with _moving(repository) as lock, _locked(repository, lock, name):
        check_reflogs(repository, _reflogs(repository, name))


def delete_ref(repository: Repository, name: str, expected: str) -> None:
    """Remove a ref and its reflog, if it still names ``expected``; what it named stays.

    Raises:
        RefMoved: it names something else by now; nothing was changed.
        RefInUse: it is the current branch.
        StoreBusy: another process keeps a lock.
    """
    with _moving(repository) as lock:
        if head_branch(repository) == name:
            raise RefInUse(name)
        _delete(repository, lock, name, expected)


def rename_ref(repository: Repository, old: str, new: str, expected: str, message: str) -> None:
    """Give a ref another name, with its reflog; HEAD goes with it.

    The new name is there before the old one goes: killed in between, the store has both.

    Raises:
        RefMoved: ``old`` names something else than ``expected``, or ``new`` is there.
        StoreBusy: another process keeps a lock.
    """
    with _moving(repository) as lock:
        if (actual := read_target(repository, old)) != expected:
            raise RefMoved(old, expected, actual)
        _move(repository, lock, new, None, expected, message)
        carry_reflog(repository, old, new, expected)
        if head_branch(repository) == old:
            _point_head(repository, lock, new, message)
        _delete(repository, lock, old, expected)


def point_head(repository: Repository, expected: str | None, branch: str, message: str) -> None:
    """Make HEAD stand for another branch, if it still stands for ``expected``.

    Args:
        repository: the store.
        expected: full name of the branch that HEAD stood for when the caller looked (None: none).
        branch: full name of the one that it shall stand for.
        message: what HEAD's reflog shall say.

    Raises:
        RefMoved: HEAD stands for another branch by now, or ``branch`` is gone.
        StoreBusy: another process keeps a lock.
    """
    with _moving(repository) as lock:
        if (actual := head_branch(repository)) != expected:
            raise RefMoved("HEAD", expected, actual)
        if read_ref(repository, branch) is None:
            raise RefMoved(branch, "a commit", None)
        _point_head(repository, lock, branch, message)


def _move(
    repository: Repository, lock: int, name: str, expected: str | None, new: str, message: str
) -> None:
    with _locked(repository, lock, name) as transaction:
        actual = read_target(repository, name)
        if actual != expected:
            raise RefMoved(name, expected, actual)
        if expected is None:
            clear_stale_reflogs(repository, name)
        transaction.set_target(name, new, None, one_line(message))


def _delete(repository: Repository, lock: int, name: str, expected: str) -> None:
    with _locked(repository, lock, name, "packed-refs") as transaction:
        actual = read_target(repository, name)
        if actual != expected:
            raise RefMoved(name, expected, actual)
        transaction.remove(name)
    remove_reflog(repository, name)


def _point_head(repository: Repository, lock: int, branch: str, message: str) -> None:
    with _locked(repository, lock, "HEAD") as transaction:
        try:
            repository.git.references.get("HEAD")
        except pygit2.GitError:
            # Git can't replace what it can't read.
            write_file(repository.folder / "HEAD", f"ref: {branch}\n".encode())
        transaction.set_symbolic_target("HEAD", branch, None, one_line(message))


@contextmanager
def _locked(
    repository: Repository, lock: int, name: str, *more: str
) -> Iterator[pygit2.transaction.ReferenceTransaction]:
    """Hold git's own lock of a ref; the changes made in the block take effect at its end."""
    _remove_abandoned_locks(repository.folder, lock)
    git_lock = repository.folder / f"{name}.lock"
    if git_lock.exists():
        raise _busy(git_lock)
    before: dict[str, int | None] = {}
    try:
        with naming(repository.folder / LOCK_NAME):
            _write_intent(lock, name, *more)
        with git_writing(repository.folder), repository.git.transaction() as transaction:
            transaction.lock_ref(name)
            yield transaction
            before = reflog_sizes(repository, _reflogs(repository, name))
    except (OSError, pygit2.GitError) as error:
        # libgit2 writes of a move before it moves the ref, which a full disk may then prevent.
        cut_reflogs(repository, before)
        if git_lock.exists():
            raise _busy(git_lock) from error
        if isinstance(error, OSError):
            raise
        raise OSError(str(error)) from error
    finally:
        # Alive, we leave no lock behind: one that is there now is somebody else's.
        _write_intent(lock)


def _reflogs(repository: Repository, name: str) -> set[str]:
    """Return the names of the reflogs that a move of a ref goes to."""
    return {name, "HEAD"} if head_branch(repository) == name else {name}


def _busy(git_lock: Path) -> StoreBusy:
    return StoreBusy(
        str(git_lock),
        "another git process holds it; if no other git process is at work there, delete this file",
    )


@contextmanager
def store_lock(folder: Path, waiting: Progress = NO_PROGRESS) -> Iterator[int]:
    """Hold the lock that all writers of this store take before they move a ref.

    The kernel frees it when its holder dies, so a killed process never blocks the next.
    """
    problem = f"another process holds it for {LOCK_WAIT_SECONDS:.0f} s"
    path, holder = folder / LOCK_NAME, "another process that moves a branch"
    with file_lock(path, fcntl.LOCK_EX, LOCK_WAIT_SECONDS, problem, holder, waiting) as lock:
        yield lock


@contextmanager
def _moving(repository: Repository) -> Iterator[int]:
    """Keep `gc` and all who would move a ref away."""
    with repository.writing(), store_lock(repository.folder, repository.waiting) as lock:
        yield lock


def _write_intent(lock: int, *names: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, "\n".join(names).encode(), 0)
    os.fsync(lock)


def _remove_abandoned_locks(folder: Path, lock: int) -> None:
    """Remove git's lock files that a killed mover left.

    The mover wrote the names into the store's lock file first. We hold that lock now, so the mover
    is dead and its ``.lock`` files are its own; one that another git process made is left.
    """
    for name in os.pread(lock, 4096, 0).decode(errors="replace").splitlines():
        if ".." not in name and (name.startswith("refs/") or name in {"HEAD", "packed-refs"}):
            (folder / f"{name}.lock").unlink(missing_ok=True)
