"""Everything that a commit says about itself, read for showing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.composition import Term
from adapterstore.history.leaves import DeltaSummary, summarize_delta
from adapterstore.history.ledger.factdiff import (
    FactChange,
    Resolution,
    facts_of_commit,
    resolutions,
)
from adapterstore.history.ledger.suite import SuiteChange, suite_changes
from adapterstore.history.log import LogEntry, log_entry, names_of_commits
from adapterstore.history.snapshot import Snapshot, read_snapshot
from adapterstore.history.update_report import find_report
from adapterstore.history.viewing.log_filter import fact_file_names
from adapterstore.history.viewing.stat import TermChange, changed_terms_of_commit
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class CommitDescription:
    """A commit: how it came to be, the state that it is, and what it changed."""

    entry: LogEntry
    names: list[str]
    """Branches, tags and refused updates that end here."""
    snapshot: Snapshot
    terms: list[tuple[Term, DeltaSummary]]
    changed_terms: list[TermChange]
    facts: list[FactChange]
    """Against the first parent."""
    suite: list[SuiteChange]
    """Of the regression suite, against the first parent."""
    conflicts: list[Resolution]
    """Of a merge: facts that both sides had changed."""
    files: list[str]
    """The update's fact files."""
    report: dict[str, Any] | None
    """The update's ``report.json``."""

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return {
            **self.entry.to_dict(),
            "body": self.entry.body,
            "names": self.names,
            "base": self.snapshot.base.name,
            "terms": [
                {
                    "delta": term.delta,
                    "coefficient": format_coefficient(term.coefficient),
                    "role": term.role,
                    "kind": delta.kind,
                    "rank": delta.rank,
                    "bytes": delta.size,
                }
                for term, delta in self.terms
            ],
            "changed_terms": [term.to_dict() for term in self.changed_terms],
            "facts": [fact.to_dict() for fact in self.facts],
            "suite": [change.to_dict() for change in self.suite],
            "conflicts": [conflict.to_dict() for conflict in self.conflicts],
            "files": self.files,
            "report": self.report,
        }


def describe_commit(repository: Repository, commit: CommitId) -> CommitDescription:
    """Read a commit; no tensor is read.

    Raises:
        CorruptStore: something that the commit names is not what it should be.
    """
    entry = log_entry(repository.commit(commit))
    snapshot = read_snapshot(repository, commit)
    return CommitDescription(
        entry=entry,
        names=names_of_commits(repository).get(commit, []),
        snapshot=snapshot,
        terms=[(t, summarize_delta(repository, t.delta)) for t in snapshot.composition],
        changed_terms=changed_terms_of_commit(repository, entry),
        facts=facts_of_commit(repository, commit),
        suite=suite_changes(repository, commit),
        conflicts=resolutions(repository, entry),
        files=fact_file_names(repository, entry),
        report=find_report(repository, commit),
    )
