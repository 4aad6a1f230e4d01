"""What ``add`` and ``subtract`` can be given: a revision, a range, an update, or a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from adapterstore.algebra.composition import Composition
from adapterstore.errors import AmbiguousRevision, MainlineNeeded, UnknownRevision, UnreadableFile
from adapterstore.history.merging.ancestry import is_ancestor, merge_bases
from adapterstore.history.snapshot import read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import check_text, find_update, resolve

SHORT = 12
"""Digits of an abbreviated commit id in messages."""


@dataclass(frozen=True)
class Change:
    """The difference between two states: composition(after) − composition(before)."""

    before: CommitId | None
    """None: the whole state at ``after`` (its difference from the base model)."""
    after: CommitId

    def composition(self, repository: Repository) -> Composition:
        """Return the change as an exact sum of deltas."""
        after = read_snapshot(repository, self.after).composition
        if self.before is None:
            return after
        return after - read_snapshot(repository, self.before).composition

    def trailers(self) -> dict[str, str]:
        """Return the trailers from which the change can be computed again."""
        start = {"Change-From": self.before} if self.before is not None else {}
        return {**start, "Change-To": self.after}


def resolve_change(repository: Repository, revision: str) -> Change:
    """Return what ``A..B``, ``update/ID`` or a commit changed.

    A commit's change is against its first parent; an update's, from before its first commit to its
    last one.

    Raises:
        UnknownRevision: no such thing, or a commit that has no parent.
        AmbiguousRevision: an abbreviated id that begins several.
    """
    check_text(revision)
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


def resolve_commits(repository: Repository, revision: str, mainline: int | None = None) -> Change:
    """Return which commits ``revert`` and ``cherry-pick`` are asked for: those of (before, after].

    ``A..B`` are the commits that B reaches and A does not, as in git.

    Args:
        repository: the store.
        revision: a commit, ``A..B`` or ``update/ID``.
        mainline: of a merge, the number of the parent that stays (from 1).

    Raises:
        UnknownRevision: no such thing; a range without a commit in it; A and B have no one commit
            where they part; ``mainline`` for what is no merge, or without such a parent.
        AmbiguousRevision: an abbreviated id that begins several.
        MainlineNeeded: a merge, and no ``mainline``.
    """
    check_text(revision)
    if ".." in revision or is_update(revision):
        if mainline is not None:
            raise UnknownRevision(revision, "is no merge, so it has no main line")
        change = resolve_change(repository, revision)
        assert change.before is not None
        if is_ancestor(repository, change.after, change.before):
            start, _, end = revision.partition("..")
            raise UnknownRevision(revision, f"an empty range: {start!r} has all commits of {end!r}")
        if is_ancestor(repository, change.before, change.after):
            return change
        bases = merge_bases(repository, change.before, change.after)
        if len(bases) != 1:
            raise UnknownRevision(revision, "its two ends do not part at one commit")
        return Change(bases[0], change.after)
    commit_id = resolve(repository, revision)
    parents = repository.parents(commit_id)
    if len(parents) < 2:
        if mainline is not None:
            raise UnknownRevision(revision, "is no merge, so it has no main line")
        return Change(_parent(repository, commit_id, revision), commit_id)
    if mainline is None:
        raise MainlineNeeded(revision, list(parents))
    if mainline not in range(1, len(parents) + 1):
        raise UnknownRevision(revision, f"has {len(parents)} parents, no number {mainline}")
    return Change(parents[int(mainline) - 1], commit_id)


def _parent(repository: Repository, commit_id: CommitId, revision: str) -> CommitId:
    parents = repository.parents(commit_id)
    if not parents:
        raise UnknownRevision(revision, "the first commit of the store changed nothing")
    return parents[0]


def is_update(revision: str) -> bool:
    """Return whether the text names an update itself (not ``update/ID~1``)."""
    return revision.startswith("update/") and not set(revision) & set("~^.")


def as_path(given: Path | str) -> Path:
    """Return what a caller named as a path.

    Raises:
        UnreadableFile: it is of another type, or no path can be so.
    """
    if not isinstance(given, str | Path):
        raise UnreadableFile(repr(given), "is no path; give text or a Path")
    if "\0" in str(given):
        raise UnreadableFile(repr(str(given)), "has a NUL, as no path has; name a file or folder")
    return Path(given)


def operand_path(repository: Repository, operand: str) -> Path | None:
    """Return the path that an operand names, or None if it names a revision.

    Raises:
        AmbiguousRevision: it could be either.
        UnknownRevision: it is neither.
        UnreadableFile: it can only be a path, and nothing is there.
    """
    check_text(operand)
    if not operand.strip():
        raise UnknownRevision(operand, "names no revision, file or folder")
    path = Path(operand)
    # Not Path.exists: of a name that is too long it says that the system refused.
    there = os.path.lexists(path)
    # No name that git takes begins or ends so.
    if path.is_absolute() or operand.startswith(("./", "../")) or operand.endswith("/"):
        if not there:
            raise UnreadableFile(operand, "no such file or folder")
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


def resolve_operand(repository: Repository, operand: str) -> Change:
    """Return what an operand that is no path stands for: a whole state, or a change.

    Raises:
        UnknownRevision, AmbiguousRevision: see `resolve_change`.
    """
    if ".." in operand or is_update(operand):
        return resolve_change(repository, operand)
    return Change(None, resolve(repository, operand))
