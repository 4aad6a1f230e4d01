"""What ``add`` and ``subtract`` can be given: a revision, a range, an update, or a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapterstore.algebra.composition import Composition
from adapterstore.errors import AmbiguousRevision, UnknownRevision
from adapterstore.history.snapshot import read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update, resolve

SHORT = 12
"""Digits of an abbreviated commit id in messages."""


@dataclass(frozen=True)
class Change:
    """The difference between two states: composition(after) − composition(before)."""

    before: CommitId | None
    after: CommitId

    def composition(self, repository: Repository) -> Composition:
        """Return the change as an exact sum of deltas."""
        after = read_snapshot(repository, self.after).composition
        if self.before is None:
            return after
        return after - read_snapshot(repository, self.before).composition


def resolve_change(repository: Repository, revision: str) -> Change:
    """Return what ``A..B``, ``update/ID`` or a commit changed.

    A commit's change is against its first parent; an update's, from before its first commit to its
    last one.

    Raises:
        UnknownRevision: no such thing, or a commit that has no parent.
        AmbiguousRevision: an abbreviated id that begins several.
    """
    if ".." in revision:
        start, _, end = revision.partition("..")
        if end.startswith(".") or not start or not end:
            raise UnknownRevision(revision, "a range is written A..B")
        return Change(resolve(repository, start), resolve(repository, end))
    if is_update(revision):
        commits = find_update(repository, revision.removeprefix("update/"))
        return Change(_parent(repository, commits[0], revision), commits[-1])
    commit_id = resolve(repository, revision)
    return Change(_parent(repository, commit_id, revision), commit_id)


def _parent(repository: Repository, commit_id: CommitId, revision: str) -> CommitId:
    parents = repository.parents(commit_id)
    if not parents:
        raise UnknownRevision(revision, "the first commit of the store changed nothing")
    return parents[0]


def is_update(revision: str) -> bool:
    """Return whether the text names an update itself (not ``update/ID~1``)."""
    return revision.startswith("update/") and not set(revision) & set("~^.")


def operand_path(repository: Repository, operand: str) -> Path | None:
    """Return the path that an operand names, or None if it names a revision.

    Raises:
        AmbiguousRevision: it could be either.
        UnknownRevision: it is neither.
    """
    if not operand.strip():
        raise UnknownRevision(operand, "names no revision, file or folder")
    path = Path(operand)
    there = path.exists() or path.is_symlink()
    if there and (path.is_absolute() or operand.startswith(("./", "../"))):
        return path
    try:
        if ".." in operand or is_update(operand):
            resolve_change(repository, operand)
        else:
            resolve(repository, operand)
    except UnknownRevision as error:
        if there:
            return path
        raise UnknownRevision(operand, f"no such revision, file or folder ({error.problem})") from (
            error
        )
    if there:
        raise AmbiguousRevision(operand, [f"./{operand} (the path)", f"{operand} (the revision)"])
    return None


def describe_revision(repository: Repository, operand: str) -> str:
    """Return an operand as it will still be understood later: with ids in the place of names."""
    if is_update(operand):
        return operand
    if ".." in operand:
        change = resolve_change(repository, operand)
        return f"{str(change.before)[:SHORT]}..{change.after[:SHORT]}"
    return resolve(repository, operand)[:SHORT]


def resolve_state(repository: Repository, operand: str) -> Composition:
    """Return the composition that an operand stands for: a whole state, or a change.

    Raises:
        UnknownRevision, AmbiguousRevision: see `resolve_change`.
    """
    if ".." in operand or is_update(operand):
        return resolve_change(repository, operand).composition(repository)
    return read_snapshot(repository, resolve(repository, operand)).composition
