"""A state's sum as it was before `compact` folded terms of it: what of it is still in effect."""

from __future__ import annotations

from collections.abc import Iterable

from adapterstore.algebra.composition import Composition
from adapterstore.history.log import LogEntry
from adapterstore.history.snapshot import read_snapshot
from adapterstore.identifiers import DeltaId
from adapterstore.store.repository import Repository

COMPACT = "compact"


def unfold(repository: Repository, now: Composition, entries: Iterable[LogEntry]) -> Composition:
    """Return a sum with each leaf that a `compact` made replaced by the terms that it stands for.

    What folding lost is left out of account: the terms are those that somebody added.

    Args:
        repository: the store.
        now: the sum.
        entries: the history that led to it, children before parents.
    """
    for entry in entries:
        now = unfold_once(repository, now, entry)
    return now


def unfold_once(repository: Repository, now: Composition, entry: LogEntry) -> Composition:
    """Return a sum with the leaf of one `compact` replaced; any other commit changes nothing."""
    if entry.operation != COMPACT or not entry.parents or "Delta" not in entry.trailers:
        return now
    leaf = DeltaId(entry.trailers["Delta"])
    coefficient = now.coefficient(leaf)
    if not coefficient:
        return now
    names = {part.strip() for part in entry.trailers.get("Folded", "").split(",")}
    before = read_snapshot(repository, entry.parents[0]).composition
    folded = Composition.of(term for term in before if term.delta in names)
    kept = Composition.of(term for term in now if term.delta != leaf)
    return kept + folded.scaled(coefficient)
