"""Read the part of a history that is of interest, as a list or as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from adapterstore.history.log import LogEntry, LogRange, read_log
from adapterstore.history.viewing.graph import GraphRow, lay_out, simplify
from adapterstore.history.viewing.log_filter import LogFilter
from adapterstore.store.repository import Repository


def select(
    repository: Repository, part: LogRange, wanted: LogFilter, count: int | None = None
) -> Iterator[LogEntry]:
    """Yield the commits of a range that meet a filter, children before parents; at most ``count``.

    Raises:
        CorruptStore: a commit can't be read.
    """
    entries = read_log(repository, *part.tips, hidden=part.hidden)
    return islice((e for e in entries if wanted.matches(repository, e)), count)


def select_graph(
    repository: Repository, part: LogRange, wanted: LogFilter, count: int | None = None
) -> Iterator[tuple[LogEntry, GraphRow]]:
    """Yield the same commits, each with its place in the graph.

    The first tip stands leftmost. Where commits are left out, a line leads to the nearest ones that
    are shown. Lines that lead out of the range are not drawn; those to what ``count`` cuts off are.
    """
    entries = list(read_log(repository, *part.tips, hidden=part.hidden))
    shown = {entry.commit: entry for entry in entries if wanted.matches(repository, entry)}
    history = [(entry.commit, entry.parents) for entry in entries]
    parents = simplify(history, set(shown))
    first = next((tip for tip in part.tips if tip in shown), None)
    rows = lay_out(((commit, parents[commit]) for commit in shown), first)
    for row in islice(rows, count):
        yield shown[row.commit], row
