"""Branches and tags: which there are, making, renaming and deleting them, and changing to one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import pygit2

from adapterstore.errors import (
    BranchNotMerged,
    InvalidName,
    NameTaken,
    RefMoved,
    UnknownRevision,
)
from adapterstore.history.advance import Forward, Result, advance
from adapterstore.history.log import LogEntry, log_entry
from adapterstore.history.merging.ancestry import commits_between, is_ancestor
from adapterstore.history.operands import SHORT
from adapterstore.history.snapshot import Snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.dates import date_of
from adapterstore.store.messages import subject_of
from adapterstore.store.reflog import ReflogEntry, read_reflog
from adapterstore.store.refs import (
    delete_ref,
    head_branch,
    list_refs,
    move_ref,
    point_head,
    read_ref,
    read_target,
    ref_names,
    rename_ref,
)
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import branch_ref, resolve

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
_SWITCHED = re.compile(r"checkout: moving from (\S+) to \S+")
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{40}")
_LONGEST_PART = 250
"""Bytes: a file's name has 255, and git locks a ref by one with ".lock" behind it."""


@dataclass(frozen=True)
class Branch:
    """One branch, and the commit that it is at."""

    name: str
    entry: LogEntry
    current: bool


@dataclass(frozen=True)
class Tag:
    """One tag; a light one, which stock git can make, has no message and no tagger."""

    name: str
    commit: CommitId
    message: str | None
    tagger: str | None
    time: datetime | None

    @property
    def subject(self) -> str | None:
        """The first line of the message."""
        return subject_of(self.message) if self.message is not None else None


# --- branches ------------------------------------------------------------------------------------


def list_branches(repository: Repository) -> list[Branch]:
    """Return every branch, by name."""
    current = head_branch(repository)
    return [
        Branch(name.removeprefix(BRANCHES), log_entry(repository.commit(tip)), name == current)
        for name, tip in sorted(list_refs(repository, BRANCHES).items())
    ]


def create_branch(repository: Repository, name: str, start: str = "HEAD") -> CommitId:
    """Make a branch at a revision; return its commit.

    Raises:
        InvalidName: git refuses the name.
        NameTaken: it is there, or in the way of another one.
        UnknownRevision: no such start.
    """
    ref = check_new_name(repository, BRANCHES, name)
    commit_id = resolve(repository, start)
    try:
        move_ref(repository, ref, None, commit_id, f"branch: created from {start}")
    except RefMoved as error:
        raise NameTaken(name, name) from error
    return commit_id


def delete_branch(repository: Repository, name: str, *, force: bool = False) -> CommitId:
    """Delete a branch; return the commit that it was at, which stays until it is collected.

    Raises:
        UnknownRevision: no such branch.
        RefInUse: the current one.
        BranchNotMerged: no other branch or tag reaches its commits, and not ``force``.
        RefMoved: it moved meanwhile.
    """
    ref = branch_ref(repository, name)
    tip = read_ref(repository, ref)
    assert tip is not None
    if not force and ref != head_branch(repository):
        others = [
            commit_id
            for prefix in (BRANCHES, TAGS)
            for other, commit_id in list_refs(repository, prefix).items()
            if other != ref
        ]
        if not any(is_ancestor(repository, tip, other) for other in others):
            raise BranchNotMerged(name, tip, len(commits_between(repository, others, tip)))
    delete_ref(repository, ref, tip)
    return tip


def rename_branch(repository: Repository, old: str | None, new: str) -> None:
    """Give a branch (None: the current one) another name; its reflog and HEAD go with it.

    Raises:
        UnknownRevision: no such branch.
        InvalidName, NameTaken: see `create_branch`.
        RefMoved: it moved meanwhile.
    """
    ref = branch_ref(repository, old)
    target = check_new_name(repository, BRANCHES, new)
    tip = read_ref(repository, ref)
    assert tip is not None
    message = f"branch: renamed {ref} to {target}"
    rename_ref(repository, ref, target, tip, message)


def switch_branch(repository: Repository, name: str) -> CommitId:
    """Make a branch the current one (``-``: the one before); return its commit.

    Raises:
        UnknownRevision: no such branch.
        RefMoved: another process switched meanwhile.
    """
    before = head_branch(repository)
    ref = branch_ref(repository, _previous(repository) if name == "-" else name)
    if ref != before:
        moved = f"{(before or 'HEAD').removeprefix(BRANCHES)} to {ref.removeprefix(BRANCHES)}"
        # In git's own words: 'main@{1}' and '@{-1}' are read from them.
        point_head(repository, before, ref, f"checkout: moving from {moved}")
    tip = read_ref(repository, ref)
    if tip is None:
        raise UnknownRevision(name, "no such branch")
    return tip


def _previous(repository: Repository) -> str:
    for entry in read_reflog(repository, "HEAD"):
        match = _SWITCHED.fullmatch(entry.message)
        if match is not None:
            return match[1]
    raise UnknownRevision("-", "there was no other branch before")


def reset(
    repository: Repository, branch: str | None, revision: str, *, expect: str | None = None
) -> Result:
    """Move a branch to a revision; see `Store.reset`."""
    target = resolve(repository, revision)

    def plan(tip: Snapshot) -> Forward | None:
        if tip.commit == target:
            return None
        return Forward(target, f"reset: moving to {revision}")

    before = read_ref(repository, branch_ref(repository, branch))
    result = advance(repository, branch, plan, expect)
    notes = [f"it was at {before[:SHORT]}; 'adapterstore reflog' keeps it"] if before else []
    return Result(result.commit, result.changed, notes if result.changed else result.notes)


def reflog(repository: Repository, name: str = "HEAD") -> list[ReflogEntry]:
    """Return where HEAD or a branch has been, newest first.

    Raises:
        UnknownRevision: no such branch.
    """
    return read_reflog(repository, name if name == "HEAD" else branch_ref(repository, name))


# --- tags ----------------------------------------------------------------------------------------


def list_tags(repository: Repository) -> list[Tag]:
    """Return every tag of a commit, by name."""
    tags = []
    for name, commit_id in sorted(list_refs(repository, TAGS).items()):
        short = name.removeprefix(TAGS)
        found = repository.git[read_target(repository, name) or commit_id]
        if not isinstance(found, pygit2.Tag):
            tags.append(Tag(short, commit_id, None, None, None))
            continue
        by = found.tagger
        tags.append(
            Tag(
                short,
                commit_id,
                found.message,
                f"{by.name} <{by.email}>" if by is not None else None,
                date_of(by) if by is not None else None,
            )
        )
    return tags


def create_tag(
    repository: Repository, name: str, revision: str = "HEAD", message: str | None = None
) -> CommitId:
    """Make an annotated tag of a revision; return its commit.

    Raises:
        InvalidName, NameTaken: see `create_branch`.
        UnknownRevision: no such revision.
    """
    ref = check_new_name(repository, TAGS, name)
    commit_id = resolve(repository, revision)
    tag = repository.write_tag(name, commit_id, message or name)
    try:
        move_ref(repository, ref, None, tag, f"tag: {name}")
    except RefMoved as error:
        raise NameTaken(name, name) from error
    return commit_id


def delete_tag(repository: Repository, name: str) -> CommitId:
    """Delete a tag; return the commit that it named.

    Raises:
        UnknownRevision: no such tag.
        RefMoved: it moved meanwhile.
    """
    ref = f"{TAGS}{name}"
    commit_id = read_ref(repository, ref)
    target = read_target(repository, ref) if commit_id is not None else None
    if target is None or commit_id is None:
        raise UnknownRevision(name, "no such tag")
    delete_ref(repository, ref, target)
    return commit_id


# --- names ---------------------------------------------------------------------------------------


def check_new_name(repository: Repository, prefix: str, name: str) -> str:
    """Return the full ref name for a new branch or tag.

    Args:
        repository: the store.
        prefix: ``refs/heads/`` or ``refs/tags/``.
        name: the short name.

    Raises:
        InvalidName: git refuses it, or it would be read as something else.
        NameTaken: it is there; or it is ``a/b`` and there is ``a``, or the other way round.
    """
    if not isinstance(name, str):
        raise InvalidName(str(name), f"is no text but of type {type(name).__name__}")
    ref = f"{prefix}{name}"
    if "\0" in name:
        raise InvalidName(name, "git takes no such name (see 'git check-ref-format')")
    if name.encode(errors="replace").decode() != name:
        raise InvalidName(name, "is not UTF-8 text")
    if name.startswith("-") or name in {"HEAD", "@"} or not pygit2.reference_is_valid_name(ref):
        raise InvalidName(name, "git takes no such name (see 'git check-ref-format')")
    if any(len(part.encode()) > _LONGEST_PART for part in name.split("/")):
        raise InvalidName(name, f"a part of it has more than {_LONGEST_PART} bytes")
    if _OBJECT_ID.fullmatch(name):
        raise InvalidName(name, "looks like a commit id")
    if name.startswith(("update/", "refs/")):
        raise InvalidName(name, f"names beginning with {name.partition('/')[0]}/ mean other things")
    for other in ref_names(repository):
        if other == ref or other.startswith(f"{ref}/") or ref.startswith(f"{other}/"):
            raise NameTaken(name, other.removeprefix(prefix))
    return ref
