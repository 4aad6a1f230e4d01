"""The facts of a state, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from adapterstore.errors import FactFileError
from adapterstore.history.ledger.factdiff import changed_facts
from adapterstore.history.log import LogEntry
from adapterstore.history.snapshot import UPDATE
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
    def files_of(update: str) -> Mapping[str, Sequence[str]]:
        return _files_by_key(repository, updates[update][0])

    rows = []
    for fact in changed_facts(repository, start, tip):
        commits = updates.get(fact.update or "", ())
        files = files_of(str(fact.update)) if commits else {}
        rows.append(
            {
                **fact.to_dict(),
                "files": list(files.get(fact.key, files.get("", ()))),
                "commit": commits[0].commit if commits else None,
                "time": commits[0].time.isoformat() if commits else None,
            }
        )
    return rows


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
