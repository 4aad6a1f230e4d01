"""Which commits lie below which, and the sum of all that lies below several of them."""

from __future__ import annotations

from collections.abc import Iterable

import pygit2
from pygit2.enums import SortMode

from adapterstore.algebra.composition import Composition
from adapterstore.history.snapshot import read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository, intact


def is_ancestor(repository: Repository, older: CommitId, newer: CommitId) -> bool:
    """Return whether ``newer`` is ``older`` or reaches it."""
    with intact("history"):
        return older == newer or repository.git.descendant_of(
            pygit2.Oid(hex=newer), pygit2.Oid(hex=older)
        )


def commits_between(
    repository: Repository, without: Iterable[CommitId], tip: CommitId
) -> list[CommitId]:
    """Return the commits that ``tip`` reaches and ``without`` do not, children before parents."""
    with intact("history"):
        walker = repository.git.walk(pygit2.Oid(hex=tip), SortMode.TOPOLOGICAL)
        for commit_id in without:
            walker.hide(pygit2.Oid(hex=commit_id))
        return [CommitId(str(commit.id)) for commit in walker]


def merge_bases(repository: Repository, left: CommitId, right: CommitId) -> list[CommitId]:
    """Return the best common ancestors of two commits, as ``git merge-base --all``.

    None of them lies below another. Crossed merges have several; unrelated histories none.
    """
    with intact("history"):
        first = repository.git.merge_base(pygit2.Oid(hex=left), pygit2.Oid(hex=right))
    if first is None:
        return []
    found = CommitId(str(first))
    # Another common ancestor is one that the first does not reach.
    ours = commits_between(repository, [found], left)
    theirs = set(commits_between(repository, [found], right))
    common = {commit_id for commit_id in ours if commit_id in theirs}
    below = {parent for commit_id in common for parent in repository.parents(commit_id)}
    return independent(repository, [found, *(common - below)])


def independent(repository: Repository, commits: Iterable[CommitId]) -> list[CommitId]:
    """Return those of some commits that no other of them reaches, in the order of their ids."""
    distinct = sorted(set(commits))
    return [
        commit_id
        for commit_id in distinct
        if not any(
            other != commit_id and is_ancestor(repository, commit_id, other) for other in distinct
        )
    ]


def virtual_sum(repository: Repository, tips: Iterable[CommitId]) -> Composition:
    """Return the sum of what every commit that the tips reach changed by itself.

    Of one tip, that is its composition. Of several, the composition of the merge that git's
    recursive strategy would make of them:
    S(t₁, t₂, …) = comp(t₁) + S(t₂, …) − S(best common ancestors of t₁ and of t₂, …).
    """
    distinct = independent(repository, tips)
    if not distinct:
        return Composition()
    first, *rest = distinct
    composition = read_snapshot(repository, first).composition
    if not rest:
        return composition
    shared = {base for tip in rest for base in merge_bases(repository, first, tip)}
    return composition + virtual_sum(repository, rest) - virtual_sum(repository, shared)


def own_change(repository: Repository, commit_id: CommitId) -> Composition:
    """Return what a commit changed by itself: its state without that of its parents.

    comp(c) − comp(parent), for a merge comp(c) − the virtual sum of the parents, which is 0 where
    it left nothing out.
    """
    parents = repository.parents(commit_id)
    return read_snapshot(repository, commit_id).composition - virtual_sum(repository, parents)
