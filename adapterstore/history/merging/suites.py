"""Suites of two sides brought together, prompt by prompt; a doubt leaves ours as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.history.ledger.reading import BlobChange, tree_difference
from adapterstore.history.operands import Change
from adapterstore.history.snapshot import SUITE
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.suite import SuitePrompt
from adapterstore.store.repository import Change as PathChange
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class SuiteMove:
    """What becomes of a suite."""

    changes: dict[str, PathChange] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What stayed although the other side has it otherwise."""


def merge_suites(
    repository: Repository, bases: Sequence[CommitId], ours: CommitId, theirs: CommitId
) -> SuiteMove:
    """Return what a merge changes of our suite: what only their side changed since the bases."""
    move = SuiteMove()
    trees = [repository.tree(base, SUITE) for base in bases]
    mine = repository.tree(ours, SUITE)
    for path, (now, other) in _difference(repository, ours, theirs).items():
        before = {_blob(tree, path) for tree in trees} or {None}
        if before == {now}:
            move.changes[path] = other
        elif before != {other}:
            move.notes.append(_kept(repository, mine, path, "both sides changed it"))
    return move


def revert_suite(repository: Repository, tip: CommitId, change: Change) -> SuiteMove:
    """Return what taking a change back does to a suite: what it changed, if it is still so."""
    rows = _difference(repository, change.before, change.after)
    back = {path: (after, before) for path, (before, after) in rows.items()}
    return _apply(repository, tip, back)


def pick_suite(repository: Repository, tip: CommitId, change: Change) -> SuiteMove:
    """Return what a picked change does to a suite: what it changed, if it was here as there."""
    return _apply(repository, tip, _difference(repository, change.before, change.after))


def _apply(repository: Repository, tip: CommitId, rows: dict[str, BlobChange]) -> SuiteMove:
    move = SuiteMove()
    suite = repository.tree(tip, SUITE)
    for path, (start, end) in rows.items():
        now = _blob(suite, path)
        if now == start:
            move.changes[path] = end
        elif now != end:
            move.notes.append(_kept(repository, suite, path, "it was changed otherwise here"))
    return move


def _difference(
    repository: Repository, before: CommitId | None, after: CommitId
) -> dict[str, BlobChange]:
    old = repository.tree(before, SUITE) if before is not None else None
    return tree_difference(old, repository.tree(after, SUITE), SUITE)


def _blob(suite: pygit2.Tree | None, path: str) -> pygit2.Oid | None:
    try:
        return suite[path.removeprefix(f"{SUITE}/")].id if suite is not None else None
    except KeyError:
        return None


def _kept(repository: Repository, suite: pygit2.Tree | None, path: str, why: str) -> str:
    blob, name = _blob(suite, path), path
    if blob is not None:
        try:
            name = repr(SuitePrompt.from_bytes(repository.blob(blob), path).prompt)
        except CorruptStore:
            name = path
    return f"the suite keeps this side's {name}: {why}"
