"""The history as lanes: where each commit stands, and which lines lead from it to its parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapterstore.identifiers import CommitId


@dataclass(frozen=True)
class GraphRow:
    """One commit's row; lanes are numbered from 0, left to right."""

    commit: CommitId
    lane: int
    from_above: bool
    """Whether a line comes down to the commit: a child was drawn before."""
    targets: tuple[int, ...]
    """The lanes in which the parents follow, the first parent's first."""
    passing: tuple[int, ...]
    """The lanes whose lines go by the commit and straight on."""
    joining: tuple[int, ...]
    """The lanes to the right whose lines go by and then join the commit's own: they lead to the
    same parent."""
    opened: tuple[int, ...]
    """Those of ``targets`` that begin here."""

    @property
    def width(self) -> int:
        """How many lanes the row has."""
        return 1 + max((self.lane, *self.targets, *self.passing, *self.joining))


def lay_out(
    commits: Iterable[tuple[CommitId, Sequence[CommitId]]], first: CommitId | None = None
) -> Iterator[GraphRow]:
    """Yield the rows of commits with their parents, children before parents.

    The leftmost lane is kept for the commit ``first``, which has to be among them.

    Each commit is awaited in at most one lane: lines that lead to one commit join, to the left. The
    first parent follows in the commit's own lane, unless it is awaited further left already;
    another parent takes the leftmost free lane to the right.
    """
    lanes: list[CommitId | None] = [] if first is None else [first]
    kept = first
    for commit, parents in commits:
        awaited = commit in lanes
        lane = lanes.index(commit) if awaited else _free_lane(lanes, 0)
        from_above = awaited and commit != kept
        kept = None if commit == kept else kept
        lanes[lane] = None
        lines = [n for n, c in enumerate(lanes) if c is not None and c != kept]
        targets, opened, joining = [], [], []
        for parent in dict.fromkeys(parents):
            known = lanes.index(parent) if parent in lanes else None
            if known is not None and known > lane and lanes[lane] is None:
                lanes[known], lanes[lane] = None, parent
                joining.append(known)
                targets.append(lane)
                opened.append(lane)
                continue
            if known is not None:
                targets.append(known)
                if parent == kept:
                    kept = None
                    opened.append(known)
                continue
            # The commit's own lane is the straight way on, for whichever parent needs one first.
            target = lane if lanes[lane] is None else _free_lane(lanes, lane + 1)
            lanes[target] = parent
            targets.append(target)
            opened.append(target)
        while lanes and lanes[-1] is None:
            lanes.pop()
        passing = tuple(line for line in lines if line not in joining)
        yield GraphRow(
            commit, lane, from_above, tuple(targets), passing, tuple(joining), tuple(opened)
        )


def _free_lane(lanes: list[CommitId | None], start: int) -> int:
    """Return the first lane from ``start`` on that nothing is awaited in; make one if need be."""
    for number in range(start, len(lanes)):
        if lanes[number] is None:
            return number
    lanes.append(None)
    return len(lanes) - 1


def simplify(
    history: Sequence[tuple[CommitId, Sequence[CommitId]]], shown: set[CommitId]
) -> dict[CommitId, list[CommitId]]:
    """Return the parents of each shown commit: the nearest shown commits below it.

    Args:
        history: commits with their parents, children before parents.
        shown: the commits that are drawn; the others are left out, and lines go through them.
    """
    nearest: dict[CommitId, list[CommitId]] = {}
    parents_of: dict[CommitId, list[CommitId]] = {}
    for commit, parents in reversed(history):
        below = list(dict.fromkeys(c for parent in parents for c in nearest.get(parent, ())))
        if commit in shown:
            parents_of[commit] = below
            nearest[commit] = [commit]
        else:
            nearest[commit] = below
    return parents_of


def draw(row: GraphRow, mark: str = "●") -> list[str]:
    """Return a row as text, two columns a lane: the commit, then a line for each way sideways."""
    width = row.width
    live = {*row.passing, *row.joining}
    lines = [_cells({**dict.fromkeys(live, "│"), row.lane: mark}, width)]
    goes_on = row.lane in row.targets
    if goes_on:
        live.add(row.lane)
    for lane in row.joining:
        live.remove(lane)
        lines.append(_bend(row.lane, lane, live, "├╯", width))
    sideways = [target for target in row.targets if target != row.lane]
    for number, target in enumerate(sideways, 1):
        # The commit's own lane is still needed if it goes on, or if another line leaves from it.
        own = goes_on or number < len(sideways)
        # Corners of a line to the right, and those of one to the left.
        through, end, into, down = "├╰┤╮" if target > row.lane else "┤╯├╭"
        corners = (through if own else end) + (into if target in live else down)
        lines.append(_bend(row.lane, target, live, corners, width))
        live.add(target)
    return lines


def _bend(own: int, other: int, live: set[int], corners: str, width: int) -> str:
    """Return a line between two lanes across those that are live, with the corners at its ends."""
    left, right = sorted((own, other))
    cells: dict[int, str] = dict.fromkeys(live, "│")
    for lane in range(left + 1, right):
        cells[lane] = "┼" if lane in live else "─"
    cells[own], cells[other] = corners[0], corners[1]
    return _cells(cells, width, between=range(left, right))


def _cells(cells: Mapping[int, str], width: int, between: range = range(0)) -> str:
    return "".join(
        cells.get(lane, " ") + ("─" if lane in between else " ") for lane in range(width)
    ).rstrip()


def continuation(row: GraphRow) -> str:
    """Return the lines that go on below a row, for text that belongs to its commit."""
    lanes = {*row.passing, *row.targets}
    return _cells(dict.fromkeys(lanes, "│"), row.width)
