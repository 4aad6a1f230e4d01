"""What is in effect once two sides are merged: what only one did, and once what both did.

Both did the same where one atom is in effect on both sides, and where each made an update of the
same facts: trained twice, that is two atoms and may be two deltas, but it has to count once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from adapterstore.history.log import log_entry
from adapterstore.history.merging.ancestry import commits_between, independent, merge_bases
from adapterstore.history.merging.effect import Atoms, Effects, difference
from adapterstore.history.merging.losers import Unit, make_unit
from adapterstore.history.updates import phases_of
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Twice:
    """Two updates of the same facts, one of each side: ours stays."""

    ours: Unit
    theirs: Unit


@dataclass(frozen=True)
class ThreeWay:
    """Two states merged."""

    atoms: Atoms
    """Those of the merge."""
    plain: Atoms
    """Those of comp(ours) + comp(theirs) − comp(base), which has twice what both sides did."""
    twice: list[Twice]


def merge_atoms(
    effects: Effects,
    repository: Repository,
    ours: CommitId,
    theirs: CommitId,
    left_out: Atoms | None = None,
) -> ThreeWay:
    """Return what merging two states brings together, without the atoms ``left_out`` of either."""
    base = _virtual(effects, repository, merge_bases(repository, ours, theirs))
    mine, other = effects.at(ours), effects.at(theirs)
    lost = left_out or Atoms()
    twice = _find_twice(effects, repository, base, mine, other, lost)
    plain = Counter(mine)
    plain.update(effects.sum(commits_between(repository, [ours], theirs)))
    return ThreeWay(difference(_three_way(base, mine, other, twice), lost), plain, twice)


def _virtual(effects: Effects, repository: Repository, tips: Iterable[CommitId]) -> Atoms:
    """Return the atoms of the merge that git's recursive strategy would make of some tips."""
    distinct = independent(repository, tips)
    if not distinct:
        return Counter()
    first, *rest = distinct
    merged = effects.at(first)
    done = [first]
    for tip in rest:
        shared = {b for other in done for b in merge_bases(repository, other, tip)}
        base, theirs = _virtual(effects, repository, shared), effects.at(tip)
        twice = _find_twice(effects, repository, base, merged, theirs, Atoms())
        merged = _three_way(base, merged, theirs, twice)
        done.append(tip)
    return merged


def _three_way(base: Atoms, ours: Atoms, theirs: Atoms, twice: Iterable[Twice]) -> Atoms:
    for pair in twice:
        # As if they had never made it. What it took back of their own stays so: ours never had it.
        made = {a: n for a, n in pair.theirs.atoms.items() if n > 0 or base[a]}
        theirs = difference(theirs, Atoms(made))
    merged: Atoms = Counter()
    for atom in dict.fromkeys((*base, *ours, *theirs)):
        # As git's merges: the side that differs from the base decides.
        number = ours[atom] if ours[atom] != base[atom] else theirs[atom]
        if number:
            merged[atom] = number
    return merged


def _find_twice(
    effects: Effects, repository: Repository, base: Atoms, ours: Atoms, theirs: Atoms, lost: Atoms
) -> list[Twice]:
    """Return the updates of the same facts that both sides have and the base has not.

    Facts that came, went and came again, as a table's may, are two updates of one side: each stands
    for one of the other side's, from the oldest on. Two that filed the facts under other keys, as
    the sides' ledgers knew them by other names, stay two: neither's entries are the other's.
    """
    mine = [a for a, n in ours.items() if n == 1 and not (base[a] or theirs[a] or lost[a])]
    other = [a for a, n in theirs.items() if n == 1 and not (base[a] or ours[a] or lost[a])]
    last_of_ours, last_of_theirs = _by_facts(repository, mine), _by_facts(repository, other)
    return [
        Twice(*pair)
        for digest in last_of_ours
        if digest in last_of_theirs
        for pair in zip(
            _whole(effects, repository, ours, set(mine), last_of_ours[digest]),
            _whole(effects, repository, theirs, set(other), last_of_theirs[digest]),
            strict=False,
        )
        if pair[0].paths == pair[1].paths
    ]


def _by_facts(repository: Repository, atoms: Iterable[CommitId]) -> dict[str, list[CommitId]]:
    """Return the atoms that end an update, in their order, by the digest of its facts."""
    found: dict[str, list[CommitId]] = {}
    for atom in atoms:
        entry = log_entry(repository.commit(atom))
        if entry.ends_update and "Facts-SHA256" in entry.trailers:
            found.setdefault(entry.trailers["Facts-SHA256"], []).append(atom)
    return found


def _whole(
    effects: Effects,
    repository: Repository,
    state: Atoms,
    new: Collection[CommitId],
    ends: Iterable[CommitId],
) -> list[Unit]:
    """Return the updates, by their last commits, that are in effect in all their parts."""
    units = []
    for last in ends:
        update = log_entry(repository.commit(last)).update
        name = f"update/{update} ({last[:12]})"
        unit = make_unit(effects, repository, name, update, phases_of(repository, last))
        if all(a in new if n > 0 else not state[a] for a, n in unit.atoms.items()):
            units.append(unit)
    return units
