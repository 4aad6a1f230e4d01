"""The updates of a history: what each changed, what it measured, what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adapterstore.algebra.composition import Composition
from adapterstore.history.ledger.factdiff import changed_facts, count_facts
from adapterstore.history.log import LogEntry, LogRange, read_log
from adapterstore.history.operands import Change
from adapterstore.history.update_report import (
    REPORT_PATH,
    curve_of,
    figures_of,
    find_report,
    old_answers_of,
    origins_of,
    table_of,
)
from adapterstore.history.viewing.log_filter import fact_file_names
from adapterstore.history.viewing.magnitude import Magnitude
from adapterstore.identifiers import CommitId
from adapterstore.store.refs import list_refs
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import REJECTED, update_chains


@dataclass(frozen=True)
class UpdateRecord:
    """One update, published or refused."""

    update: str
    status: Literal["applied", "reverted", "refused"]
    phases: list[LogEntry]
    """Its commits, oldest first."""

    @property
    def last(self) -> LogEntry:
        """The commit after which the update is whole."""
        return self.phases[-1]

    @property
    def before(self) -> CommitId | None:
        """The commit that it started from."""
        return next(iter(self.phases[0].parents), None)

    def change(self, repository: Repository) -> Composition:
        """Return what all of its phases together added to the sum."""
        return Change(self.before, self.last.commit).composition(repository)


def read_updates(
    repository: Repository, part: LogRange, entries: Sequence[LogEntry]
) -> list[UpdateRecord]:
    """Return the updates among some commits and those refused on top of them, oldest first.

    Args:
        repository: the store.
        part: the range that the commits are.
        entries: the commits, children before parents.
    """
    reverted = _reverted(entries)
    by_commit = {entry.commit: entry for entry in entries}
    chains = update_chains(repository.commit(entry.commit) for entry in entries)
    found = [
        UpdateRecord(
            update,
            "reverted" if commits[-1] in reverted else "applied",
            [by_commit[commit] for commit in commits],
        )
        for update, made in chains.items()
        for commits in made
    ]
    known = {*(entry.commit for entry in entries), *part.hidden}
    for name, tip in list_refs(repository, REJECTED).items():
        record = _refused(repository, name.removeprefix(REJECTED), tip)
        if record is not None and record.before in known:
            found.append(record)
    return sorted(found, key=lambda record: (record.last.time, record.update))


def _refused(repository: Repository, update: str, tip: CommitId) -> UpdateRecord | None:
    phases: list[LogEntry] = []
    for entry in read_log(repository, tip):
        if entry.update != update:
            break
        phases.insert(0, entry)
    return UpdateRecord(update, "refused", phases) if phases else None


def _reverted(entries: Sequence[LogEntry]) -> set[str]:
    """Return the commits that are taken back and not put back again."""
    undone: set[str] = set()
    for entry in entries:
        if entry.commit not in undone and "Reverts" in entry.trailers:
            undone.update(entry.trailers["Reverts"].replace(",", " ").split())
    return undone


def update_row(
    repository: Repository, record: UpdateRecord, magnitude: Magnitude
) -> dict[str, Any]:
    """Return what is shown of one update, as JSON values."""
    last = record.last
    report = find_report(repository, last.commit) or {}
    where = f"commit {last.commit[:12]}: {REPORT_PATH}"
    facts = changed_facts(repository, record.before, last.commit)
    old_answers = old_answers_of(report, where)
    return {
        "update": record.update,
        "status": record.status,
        "commit": last.commit,
        "time": last.time.isoformat(),
        "author": last.author,
        "files": fact_file_names(repository, last),
        "facts": count_facts(facts),
        "figures": {n: f.to_dict() for n, f in figures_of(report, where).items()},
        "coefficient": report.get("coefficient"),
        "curve": curve_of(report, where),
        "old_answers": old_answers,
        "origins": origins_of(old_answers),
        "table": table_of(report, where),
        "reasons": report.get("reasons") or [],
        "notes": report.get("notes") or [],
        "seconds": report.get("seconds") or {},
        "norm": magnitude.norm,
        "rank": magnitude.rank,
    }
