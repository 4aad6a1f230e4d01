"""Which updates and picks a merge leaves out: those that lost every fact that they changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from adapterstore.history.ledger.reading import tree_difference
from adapterstore.history.log import log_entry
from adapterstore.history.merging.ancestry import commits_between
from adapterstore.history.merging.effect import Atoms, Effects
from adapterstore.history.merging.ledgers import empty_ledger, ledger_tree
from adapterstore.history.updates import phases_of
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Unit:
    """Commits of one side that brought facts together: an update, or a cherry-pick."""

    name: str
    update: UpdateId | None
    """None: a cherry-pick."""
    paths: frozenset[str]
    """The ledger files that it changed."""
    atoms: Atoms


def find_losing_units(
    effects: Effects,
    repository: Repository,
    bases: Sequence[CommitId],
    loser: CommitId,
    winner: CommitId,
    lost: Collection[str],
) -> list[Unit]:
    """Return what of the losing side is to be left out of the sum.

    Args:
        effects: of the store.
        repository: the store.
        bases: where the two sides part.
        loser: the side whose answers lost.
        winner: the other side; what is in effect there too stays.
        lost: ledger paths of the facts that the loser lost.
    """
    if not lost:
        return []
    there, here = effects.at(winner), effects.at(loser)
    return [
        unit
        for unit in _units(effects, repository, bases, loser)
        if unit.paths
        and unit.paths <= set(lost)
        and all(here[atom] == n == 1 and not there[atom] for atom, n in unit.atoms.items())
    ]


def _units(
    effects: Effects, repository: Repository, bases: Sequence[CommitId], side: CommitId
) -> list[Unit]:
    groups: list[tuple[str, UpdateId | None, list[CommitId]]] = []
    for commit_id in reversed(commits_between(repository, bases, side)):
        entry = log_entry(repository.commit(commit_id))
        if entry.ends_update:
            phases = phases_of(repository, commit_id)
            groups.append((f"update/{entry.update}", entry.update, phases))
        elif entry.operation == "cherry-pick":
            groups.append((f"{entry.subject} ({commit_id[:12]})", None, [commit_id]))
    return [make_unit(effects, repository, *group) for group in groups]


def make_unit(
    effects: Effects,
    repository: Repository,
    name: str,
    update: UpdateId | None,
    commits: Sequence[CommitId],
) -> Unit:
    """Return what some commits in a row, oldest first, brought together."""
    parents = repository.parents(commits[0])
    before = ledger_tree(repository, parents[0]) if parents else empty_ledger(repository)
    paths = frozenset(tree_difference(before, ledger_tree(repository, commits[-1])))
    return Unit(name, update, paths, effects.sum(commits))
