"""What a merge would do: sums, ledgers, conflicts. Nothing is written that anybody can see."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from adapterstore.algebra.composition import Composition
from adapterstore.errors import FactConflict, InvalidSetting
from adapterstore.history.ledger.reading import tree_difference
from adapterstore.history.merging.ancestry import is_ancestor, merge_bases, virtual_sum
from adapterstore.history.merging.effect import Atoms, Effects, difference
from adapterstore.history.merging.ledgers import (
    Side,
    blob_of,
    choose_sides,
    describe_conflict,
    ledger_tree,
    merge_ledgers,
    rename_updates,
    unlike,
    virtual_ledger,
)
from adapterstore.history.merging.losers import Unit, find_losing_units
from adapterstore.history.merging.three_way import Twice, merge_atoms
from adapterstore.history.snapshot import read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Change, Repository
from adapterstore.store.revisions import update_chains, walk

FastForward = Literal["auto", "never", "only"]
Outcome = Literal["up-to-date", "fast-forward", "merge", "conflict"]


@dataclass(frozen=True)
class MergePlan:
    """What a merge would do, before anything is computed or written."""

    outcome: Outcome
    ours: CommitId
    theirs: CommitId
    bases: tuple[CommitId, ...] = ()
    """The best common ancestors: one, or several after crossed merges."""
    composition: Composition = field(default_factory=Composition)
    """The exact sum: comp(ours) + comp(theirs) − comp(base) − Σ comp(dropped)."""
    ledger: dict[str, Change] = field(default_factory=dict)
    """Ledger files that differ from ours afterwards."""
    conflicts: tuple[FactConflict, ...] = ()
    sides: dict[str, Side] = field(default_factory=dict)
    """Key digest of a conflict → whose answer stays; those without one are not decided."""
    dropped: tuple[str, ...] = ()
    """Updates, else commits, that are left out: they lost all their facts, or are there twice."""
    restored: tuple[CommitId, ...] = ()
    """Commits that both sides took back, and that the plain sum takes back twice."""
    lost_by_ours: Atoms = field(default_factory=Atoms)
    correction: Atoms = field(default_factory=Atoms)
    """The atoms to add to the plain sum."""
    notes: tuple[str, ...] = ()

    @property
    def undecided(self) -> list[FactConflict]:
        """The conflicts that nobody has decided."""
        return [conflict for conflict in self.conflicts if conflict.key not in self.sides]


def plan_merge(
    repository: Repository,
    ours: CommitId,
    theirs: CommitId,
    *,
    fast_forward: FastForward = "auto",
    keep_ours: Collection[str] = (),
    keep_theirs: Collection[str] = (),
) -> MergePlan:
    """Return what merging ``theirs`` into ``ours`` would do.

    Args:
        repository: the store.
        ours: the state that is merged into.
        theirs: the state that is merged.
        fast_forward: ``never`` makes a commit where moving the branch would do.
        keep_ours: facts in conflict whose answer on our side stays; ``all`` is every one.
        keep_theirs: facts in conflict to be answered as on their side.

    Raises:
        InvalidSetting: no such way of ``fast_forward``, or facts that are no list.
        NoSuchConflict: a name that fits no conflict, or a fact given to both sides.
    """
    if fast_forward not in get_args(FastForward):
        raise InvalidSetting("fast_forward", f"must be of {', '.join(get_args(FastForward))}")
    for name, facts in (("ours", keep_ours), ("theirs", keep_theirs)):
        # Of a text, each letter would be a fact.
        if isinstance(facts, str) or not isinstance(facts, Collection):
            raise InvalidSetting(name, f"must be a list of facts, not {facts!r}")
    if is_ancestor(repository, theirs, ours):
        return MergePlan("up-to-date", ours, theirs)
    our_ledger, their_ledger = (ledger_tree(repository, side) for side in (ours, theirs))
    if fast_forward != "never" and is_ancestor(repository, ours, theirs):
        changed = tree_difference(our_ledger, their_ledger)
        return MergePlan(
            "fast-forward",
            ours,
            theirs,
            composition=read_snapshot(repository, theirs).composition,
            ledger={path: after for path, (_, after) in changed.items()},
        )
    bases = merge_bases(repository, ours, theirs)
    base_ledger = virtual_ledger(repository, bases)
    merged = merge_ledgers(repository, base_ledger, our_ledger, their_ledger)
    paths = {
        path: describe_conflict(repository, path, base_ledger, ours, theirs)
        for path in merged.conflicts
    }
    conflicts = list(paths.values())
    sides = dict(choose_sides(conflicts, keep_ours, keep_theirs))
    ledger = dict(merged.changes)
    for path, conflict in paths.items():
        if sides.get(conflict.key) == "theirs":
            ledger[path] = blob_of(their_ledger, path)
    effects = Effects(repository)
    lost: dict[Side, set[str]] = {
        "ours": {path for path, c in paths.items() if sides.get(c.key) == "theirs"},
        "theirs": {path for path, c in paths.items() if sides.get(c.key) == "ours"},
    }
    units: dict[Side, list[Unit]] = {
        "ours": find_losing_units(effects, repository, bases, ours, theirs, lost["ours"]),
        "theirs": find_losing_units(effects, repository, bases, theirs, ours, lost["theirs"]),
    }
    left_out = [*units["ours"], *units["theirs"]]
    lost_by_ours = sum((unit.atoms for unit in units["ours"]), Atoms())
    lost_by_theirs = sum((unit.atoms for unit in units["theirs"]), Atoms())
    three_way = merge_atoms(effects, repository, ours, theirs, lost_by_ours + lost_by_theirs)
    correction = difference(three_way.atoms, three_way.plain)
    units["theirs"] += [pair.theirs for pair in three_way.twice]
    dropped, restored = _names(
        repository, (ours, theirs), [*units["ours"], *units["theirs"]], correction
    )
    kept = {
        path
        for loser in units
        for path in lost[loser]
        if not any(path in unit.paths for unit in units[loser])
    }
    return MergePlan(
        outcome="conflict" if len(sides) < len(conflicts) else "merge",
        ours=ours,
        theirs=theirs,
        bases=tuple(bases),
        composition=virtual_sum(repository, [ours, theirs]) + effects.changes(correction),
        ledger=unlike(
            repository,
            our_ledger,
            rename_updates(repository, ledger, _stand_ins(three_way.twice)),
        ),
        conflicts=tuple(conflicts),
        sides=sides,
        dropped=dropped,
        restored=restored,
        lost_by_ours=lost_by_ours,
        correction=correction,
        notes=tuple(_notes(paths, sides, kept, left_out, three_way.twice, correction)),
    )


def _stand_ins(twice: Sequence[Twice]) -> dict[str, str]:
    """Return the updates of theirs that one of ours stands for, where their ids differ."""
    pairs = ((str(pair.theirs.update), str(pair.ours.update)) for pair in twice)
    return {theirs: ours for theirs, ours in pairs if theirs != ours}


def _names(
    repository: Repository, tips: Sequence[CommitId], units: Sequence[Unit], correction: Atoms
) -> tuple[tuple[str, ...], tuple[CommitId, ...]]:
    """Return what is left out, by update where its id says which, else by commit; and restored."""
    rest = Atoms({atom: -number for atom, number in correction.items()})
    made = update_chains(walk(repository, *tips)) if units else {}
    names = []
    for unit in units:
        # What was picked may be of a branch that is not merged.
        is_clear = unit.update is not None and len(made.get(unit.update, ())) == 1
        if is_clear and all(rest[atom] == number for atom, number in unit.atoms.items()):
            names.append(str(unit.update))
            rest.subtract(unit.atoms)
    dropped = sorted(atom for atom, number in rest.items() for _ in range(number))
    return (*names, *dropped), tuple(sorted(a for a, n in rest.items() for _ in range(-n)))


def _notes(
    paths: dict[str, FactConflict],
    sides: dict[str, Side],
    kept: set[str],
    units: Sequence[Unit],
    twice: Sequence[Twice],
    correction: Atoms,
) -> list[str]:
    notes = [f"left out, as all its facts lost to the other side: {unit.name}" for unit in units]
    notes += [
        f"both sides took the same facts, and they count once: {pair.ours.name} stays, "
        f"{pair.theirs.name} is left out"
        for pair in twice
    ]
    told = {atom for unit in (*units, *(pair.theirs for pair in twice)) for atom in unit.atoms}
    notes += [
        f"both sides did it, and it counts once: {atom[:12]}"
        for atom in sorted(correction)
        if atom not in told
    ]
    for path in sorted(kept):
        conflict = paths[path]
        notes.append(
            f"{conflict.fact}: {sides[conflict.key]} stays, but what the other side did for it did "
            "more than that and stays in the sum; ask the model: adapterstore eval"
        )
    return notes
