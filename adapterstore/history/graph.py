"""The history as lanes: where each commit stands, and which lines lead from it to its parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapterstore.identifiers import CommitId


@dataclass(frozen=True)
class GraphRow:
    """One commit's row. Lanes are numbered from 0, left to right; none ever moves sideways."""

    commit: CommitId
    lane: int
    from_above: bool
    """Whether a line comes down to the commit: a child was drawn before."""
    targets: tuple[int, ...]
    """The lanes in which the parents follow, the first parent's first."""
    passing: tuple[int, ...]
    """The lanes whose lines go by the commit."""
    opened: tuple[int, ...]
    """Those of ``targets`` that begin here."""

    @property
    def width(self) -> int:
        """How many lanes the row has."""
        return 1 + max((self.lane, *self.targets, *self.passing))


def lay_out(commits: Iterable[tuple[CommitId, Sequence[CommitId]]]) -> Iterator[GraphRow]:
    """Yield the rows of commits with their parents, children before parents.

    Each commit is awaited in at most one lane, so a line that two commits share is drawn once. The
    first parent follows in the commit's own lane, unless it is awaited elsewhere already; another
    parent takes the leftmost free lane to the right.
    """
    lanes: list[CommitId | None] = []
    for commit, parents in commits:
        from_above = commit in lanes
        lane = lanes.index(commit) if from_above else _free_lane(lanes, 0)
        lanes[lane] = None
        passing = tuple(number for number, awaited in enumerate(lanes) if awaited is not None)
        targets, opened = [], []
        for parent in dict.fromkeys(parents):
            if parent in lanes:
                targets.append(lanes.index(parent))
                continue
            # The commit's own lane is the straight way on, for whichever parent needs one first.
            target = lane if lanes[lane] is None else _free_lane(lanes, lane + 1)
            lanes[target] = parent
            targets.append(target)
            opened.append(target)
        while lanes and lanes[-1] is None:
            lanes.pop()
        yield GraphRow(commit, lane, from_above, tuple(targets), passing, tuple(opened))


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
    lines = [_cells({**dict.fromkeys(row.passing, "│"), row.lane: mark}, width)]
    live = {*row.passing, *([row.lane] if row.lane in row.targets else [])}
    sideways = [target for target in row.targets if target != row.lane]
    for number, target in enumerate(sideways):
        # The commit's own lane is still needed if it goes on, or if another line leaves from it.
        goes_on = row.lane in row.targets or number < len(sideways) - 1
        lines.append(_bend(row, target, live, goes_on, width))
        live.add(target)
    return lines


def _bend(row: GraphRow, target: int, live: set[int], goes_on: bool, width: int) -> str:
    left, right = sorted((row.lane, target))
    cells: dict[int, str] = dict.fromkeys(live, "│")
    for lane in range(left + 1, right):
        cells[lane] = "┼" if lane in live else "─"
    # The corners of a line to the left are those of a line to the right, mirrored.
    through_here, end_here, into, down = "├╰┤╮" if target > row.lane else "┤╯├╭"
    own = through_here if goes_on else end_here
    other = into if target in live else down
    cells[row.lane], cells[target] = own, other
    return _cells(cells, width, between=range(left, right))


def _cells(cells: Mapping[int, str], width: int, between: range = range(0)) -> str:
    return "".join(
        cells.get(lane, " ") + ("─" if lane in between else " ") for lane in range(width)
    ).rstrip()


def continuation(row: GraphRow) -> str:
    """Return the lines that go on below a row, for text that belongs to its commit."""
    lanes = {*row.passing, *row.targets}
    return _cells(dict.fromkeys(lanes, "│"), row.width)
