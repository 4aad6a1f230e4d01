"""The facts of a state, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from adapterstore.errors import FactFileError
from adapterstore.history.ledger.factdiff import changed_facts
from adapterstore.history.log import LogEntry
from adapterstore.history.snapshot import UPDATE
from adapterstore.history.update_report import (
    REPORT_PATH,
    find_report,
    old_answers_of,
    table_of,
)
from adapterstore.history.viewing.log_filter import fact_file_names
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository


def fact_rows(
    repository: Repository,
    start: CommitId | None,
    tip: CommitId,
    updates: Mapping[str, Sequence[LogEntry]],
) -> list[dict[str, Any]]:
    """Return the facts of ``tip``, or those that differ from ``start``, as JSON values.

    Args:
        repository: the store.
        start: None: every fact of the ledger.
        tip: the state.
        updates: the commits of each update below ``tip``, newest first.
    """

    @cache
    def taught_by(update: str) -> _Taught:
        return _read_taught(repository, updates[update][0])

    rows = []
    for fact in changed_facts(repository, start, tip):
        commits = updates.get(fact.update or "", ())
        taught = taught_by(str(fact.update)) if commits else _Taught()
        rows.append(
            {
                **fact.to_dict(),
                "files": list(taught.files.get(fact.key, taught.files.get("", ()))),
                "old_answer": taught.old_answers.get(fact.prompt),
                "cell": taught.cells.get(fact.prompt),
                "commit": commits[0].commit if commits else None,
                "time": commits[0].time.isoformat() if commits else None,
            }
        )
    return rows


@dataclass(frozen=True)
class _Taught:
    """What an update says of the facts that it taught."""

    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By the digest of a fact's key; "" stands for the rest."""
    old_answers: Mapping[str, dict[str, str]] = field(default_factory=dict)
    """What was forgotten of a fact, and who said so, by its prompt."""
    cells: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Where in a table a fact stands, by its prompt."""


def _read_taught(repository: Repository, entry: LogEntry) -> _Taught:
    report = find_report(repository, entry.commit) or {}
    where = f"commit {entry.commit[:12]}: {REPORT_PATH}"
    table = table_of(report, where) or {"name": "", "changed": []}
    return _Taught(
        files=_files_by_key(repository, entry),
        old_answers={
            row["prompt"]: {"answer": row["old_answer"], "origin": row["origin"]}
            for row in old_answers_of(report, where)
        },
        cells={
            change["prompt"]: {
                "table": table["name"],
                **{name: change[name] for name in ("row", "line", "column")},
            }
            for change in table["changed"]
        },
    )


def _files_by_key(repository: Repository, entry: LogEntry) -> dict[str, list[str]]:
    """Return which of an update's files state a fact, by its key's digest; "" stands for the rest.

    A file is read only where there are several to choose from.
    """
    names = fact_file_names(repository, entry)
    found: dict[str, list[str]] = {}
    if len(names) > 1:
        from adapterstore.knowledge.formats import parse_fact_file

        for name in names:
            data = repository.read_required(entry.commit, f"{UPDATE}/{name}")
            try:
                facts = parse_fact_file(data, name).facts
            except FactFileError:
                # A later release may read it no more; the file is the update's all the same.
                continue
            for fact in facts:
                found.setdefault(fact.key_digest, []).append(name)
    return {**found, "": names}
