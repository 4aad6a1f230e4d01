"""Which changes are in effect in a state: made, and neither taken back nor left out by a merge.

Every commit changed the state by itself, by a sum of *atoms*. Most commits (``commit``, ``add``, an
update's phases, …) are one atom. A cherry-pick is the atoms of what it picked once more; a revert,
and a forget phase that subtracts what an earlier update learned, those of what it took back with
the other sign; a merge, those that it left out. So a state is
Σ m(a)·a with m(a) = Σ over the commits that it reaches, and reverts, picks and merges keep every
m(a) at 0 (not in effect) or 1 (in effect).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pygit2

from adapterstore.algebra.composition import Composition
from adapterstore.errors import AmbiguousRevision, UnknownRevision
from adapterstore.history.log import LogEntry, log_entry
from adapterstore.history.merging.ancestry import commits_between, own_change
from adapterstore.identifiers import CommitId
from adapterstore.store.messages import listed
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import reachable_update

Atoms = Counter[CommitId]
"""Commit → how often its own change is in a sum; may be negative."""

LISTED = ","


class Effects:
    """Computes atoms, and remembers them."""

    def __init__(self, repository: Repository):
        self._repository = repository
        self._known: dict[CommitId, Atoms] = {}

    def of(self, commit_id: CommitId) -> Atoms:
        """Return the atoms of what one commit changed by itself."""
        known = self._known.get(commit_id)
        if known is None:
            known = self._known[commit_id] = self._compute(commit_id)
        return known

    def sum(self, commits: Iterable[CommitId]) -> Atoms:
        """Return the atoms of what several commits changed; those that cancel out are left out."""
        total: Atoms = Counter()
        # Parents first: what a commit names is known by then, however long the chain of reverts.
        for commit_id in reversed(list(commits)):
            total.update(self.of(commit_id))
        return Counter({atom: number for atom, number in total.items() if number})

    def at(self, tip: CommitId) -> Atoms:
        """Return the atoms of a state: those that are in effect have 1."""
        return self.sum(commits_between(self._repository, [], tip))

    def _compute(self, commit_id: CommitId) -> Atoms:
        entry = log_entry(self._repository.commit(commit_id))
        if entry.operation in ("revert", "cherry-pick") or is_subtraction(entry):
            named = self._named_commits(entry)
            if named is not None:
                return _scaled(self.sum(named), 1 if entry.operation == "cherry-pick" else -1)
        if len(entry.parents) > 1 and entry.operation == "merge":
            made = Counter([commit_id] if "Method" in entry.trailers else [])
            made.update(_scaled(self.named_atoms(entry, "Dropped"), -1))
            made.update(self.named_atoms(entry, "Restored"))
            return made
        return Counter([commit_id])

    def _named_commits(self, entry: LogEntry) -> list[CommitId] | None:
        """Return the commits that a revert or cherry-pick is about; None if they are gone."""
        start, end = entry.trailers.get("Change-From"), entry.trailers.get("Change-To")
        if start is None or end is None or not all(map(self._is_here, (start, end))):
            return None
        return commits_between(self._repository, [CommitId(start)], CommitId(end))

    def _is_here(self, commit_id: str) -> bool:
        try:
            return isinstance(self._repository.git.get(commit_id), pygit2.Commit)
        except ValueError:
            return False

    def named_atoms(self, entry: LogEntry, trailer: str) -> Atoms:
        """Return the atoms that a merge's ``Dropped`` or ``Restored`` names."""
        total: Atoms = Counter()
        for name in listed(entry.trailers, trailer):
            if self._is_here(name):
                total.update([CommitId(name)])
            else:
                try:
                    total.update(self.sum(reachable_update(self._repository, entry.commit, name)))
                except (UnknownRevision, AmbiguousRevision):
                    continue
        return total

    def change(self, atom: CommitId) -> Composition:
        """Return what one atom is: the commit's own change, without the atoms of others in it."""
        others = Counter({a: n for a, n in self.of(atom).items() if a != atom})
        own = own_change(self._repository, atom)
        return own - self.changes(others) if others else own

    def changes(self, atoms: Atoms) -> Composition:
        """Return Σ m(a)·a."""
        total = Composition()
        for atom, number in sorted(atoms.items()):
            for _ in range(abs(number)):
                change = self.change(atom)
                total = total + change if number > 0 else total - change
        return total


def is_subtraction(entry: LogEntry) -> bool:
    """Return whether a commit forgets by taking out what an earlier update learned."""
    return entry.operation == "forget" and "Change-To" in entry.trailers


def _scaled(atoms: Atoms, factor: int) -> Atoms:
    return Counter({atom: factor * number for atom, number in atoms.items()})


def difference(left: Atoms, right: Atoms) -> Atoms:
    """Return left − right, negative numbers and all."""
    total = Counter(left)
    total.subtract(right)
    return Counter({atom: number for atom, number in total.items() if number})
