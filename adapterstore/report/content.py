"""What a report says, as JSON values: the page and ``report --json`` are made from the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapterstore.errors import UnknownRevision
from adapterstore.history.leaves import summarize_delta
from adapterstore.history.log import LogEntry, LogRange, names_of_commits, read_log, resolve_range
from adapterstore.history.snapshot import Snapshot, read_snapshot
from adapterstore.history.store import Store
from adapterstore.history.viewing.graph import GraphRow
from adapterstore.history.viewing.log_filter import LogFilter
from adapterstore.history.viewing.log_query import select_graph
from adapterstore.history.viewing.magnitude import magnitude
from adapterstore.history.viewing.stat import commit_stat
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.report.facts import fact_rows
from adapterstore.report.layers import norms_by_layer
from adapterstore.report.updates import UpdateRecord, read_updates, update_row
from adapterstore.store.repository import Repository

FORMAT = 1


def collect_report(
    store: Store, revision: str = "HEAD", progress: Progress = NO_PROGRESS
) -> dict[str, Any]:
    """Return what there is to show of a revision's whole history, or of a range ``A..B``.

    For a range: the commits that B has and A has not, their updates, and the facts that differ.

    Raises:
        UnknownRevision, AmbiguousRevision: the revision names nothing, or several things.
        CorruptStore, ObjectMissing: something in the store is not what it should be.
    """
    repository = store.repository
    part = resolve_range(repository, [revision])
    tip, start = part.tips[0], next(iter(part.hidden), None)
    drawn = list(select_graph(repository, part, LogFilter()))
    if not drawn:
        raise UnknownRevision(revision, "there is no commit in this range")
    names = names_of_commits(repository)
    progress.start("reading the history", len(drawn))
    commits = []
    for entry, row in drawn:
        commits.append(_commit(repository, entry, row, names.get(entry.commit, [])))
        progress.advance()
    updates = read_updates(repository, part, [entry for entry, _ in drawn])
    sizes = [magnitude(repository, update.change(repository), progress) for update in updates]
    rows = [
        {"number": number, **update_row(repository, update, size)}
        for number, (update, size) in enumerate(zip(updates, sizes, strict=True), 1)
    ]
    facts = fact_rows(repository, start, tip, _whole_history(repository, part))
    return {
        "format": FORMAT,
        "revision": revision,
        "from": start,
        "to": tip,
        "names": names.get(tip, []),
        "since": drawn[-1][0].time.isoformat(),
        "until": drawn[0][0].time.isoformat(),
        "state": _state(repository, read_snapshot(repository, tip), progress),
        "counts": {"facts": len(facts), **_counts(commits, updates)},
        "commits": commits,
        "updates": rows,
        "layers": norms_by_layer(
            [
                (row["number"], size)
                for row, size in zip(rows, sizes, strict=True)
                if row["status"] != "refused"
            ]
        ),
        "facts": facts,
    }


def _commit(
    repository: Repository, entry: LogEntry, row: GraphRow, names: Sequence[str]
) -> dict[str, Any]:
    return {
        **entry.to_dict(),
        "names": list(names),
        "stat": commit_stat(repository, entry).to_dict(),
        "graph": {
            "lane": row.lane,
            "from_above": row.from_above,
            "targets": list(row.targets),
            "passing": list(row.passing),
            "joining": list(row.joining),
        },
    }


def _state(repository: Repository, snapshot: Snapshot, progress: Progress) -> dict[str, Any]:
    deltas = [summarize_delta(repository, term.delta) for term in snapshot.composition]
    return {
        "base": snapshot.base.name,
        "base_revision": snapshot.base.revision,
        "terms": len(deltas),
        "rank": sum(delta.rank or 0 for delta in deltas),
        "dense_terms": sum(delta.kind == "dense" for delta in deltas),
        "bytes": sum(delta.size for delta in deltas),
        "norm": magnitude(repository, snapshot.composition, progress).norm,
    }


def _counts(commits: Sequence[dict[str, Any]], updates: Sequence[UpdateRecord]) -> dict[str, int]:
    return {
        "commits": len(commits),
        "applied": sum(update.status == "applied" for update in updates),
        "reverted": sum(update.status == "reverted" for update in updates),
        "refused": sum(update.status == "refused" for update in updates),
    }


def _whole_history(repository: Repository, part: LogRange) -> dict[str, list[LogEntry]]:
    """Return the commits of each update below the tip, newest first, by the update's id."""
    found: dict[str, list[LogEntry]] = {}
    for entry in read_log(repository, *part.tips):
        if entry.update is not None:
            found.setdefault(entry.update, []).append(entry)
    return found
