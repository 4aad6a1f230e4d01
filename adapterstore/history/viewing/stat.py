"""What a commit did, in figures: facts, the size of its change, and what its update measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.ledger.factdiff import FactChange, count_facts, facts_of_commit
from adapterstore.history.log import LogEntry
from adapterstore.history.operands import Change
from adapterstore.history.snapshot import read_snapshot
from adapterstore.history.update_report import REPORT_PATH, Figure, figures_of, find_report
from adapterstore.history.viewing.magnitude import Magnitude, magnitude
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class CommitStat:
    """One commit against its first parent."""

    facts: list[FactChange]
    change: Composition
    magnitude: Magnitude
    figures: dict[str, Figure]
    """What the update measured of this state; only the update's last phase has any."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "facts": count_facts(self.facts),
            "terms": len(self.change),
            "norm": self.magnitude.norm,
            "rank": self.magnitude.rank,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
        }


def commit_stat(
    repository: Repository, entry: LogEntry, progress: Progress = NO_PROGRESS
) -> CommitStat:
    """Return a commit's figures; tensors are read if the size of its change is not kept yet.

    Raises:
        CorruptStore, ObjectMissing: something that the commit names is not what it should be.
    """
    change = state_change(repository, entry)
    return CommitStat(
        facts=facts_of_commit(repository, entry.commit),
        change=change,
        magnitude=magnitude(repository, change, progress),
        figures=measured_figures(repository, entry),
    )


def state_change(repository: Repository, entry: LogEntry) -> Composition:
    """Return composition(commit) − composition(first parent); the whole state of a first commit."""
    return Change(next(iter(entry.parents), None), entry.commit).composition(repository)


def measured_figures(repository: Repository, entry: LogEntry) -> dict[str, Figure]:
    """Return what the update that ends with a commit measured; nothing for any other commit."""
    report = find_report(repository, entry.commit) if entry.ends_update else None
    if report is None:
        return {}
    return figures_of(report, f"commit {entry.commit[:12]}: {REPORT_PATH}")


@dataclass(frozen=True)
class TermChange:
    """A delta whose coefficient differs between two states."""

    term: Term
    """The term in whichever state has it; the later one's if both do."""
    before: str
    after: str

    def to_dict(self) -> dict[str, str]:
        """Return the change as JSON values; coefficients are exact decimals as text."""
        return {
            "delta": self.term.delta,
            "role": self.term.role,
            "left": self.before,
            "right": self.after,
        }


def changed_terms(before: Composition, after: Composition) -> list[TermChange]:
    """Return the deltas whose coefficients differ, in the order of their ids."""
    terms = {term.delta: term for state in (before, after) for term in state}
    rows = []
    for delta, term in sorted(terms.items()):
        left, right = before.coefficient(delta), after.coefficient(delta)
        if left != right:
            rows.append(TermChange(term, format_coefficient(left), format_coefficient(right)))
    return rows


def changed_terms_of_commit(repository: Repository, entry: LogEntry) -> list[TermChange]:
    """Return what a commit changed in the sum, against its first parent."""
    after = read_snapshot(repository, entry.commit).composition
    if not entry.parents:
        return changed_terms(Composition(), after)
    return changed_terms(read_snapshot(repository, entry.parents[0]).composition, after)
