"""The lines of the history graph as SVG paths, one row of the table each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ROW_HEIGHT = 44
LANE_WIDTH = 14
COLOURS = 6
"""Lanes repeat the page's line colours after so many."""


@dataclass(frozen=True)
class Line:
    """One path of a row and the number of its colour."""

    path: str
    colour: int


@dataclass(frozen=True)
class LaneRow:
    """What a commit's row of the graph draws."""

    lines: list[Line]
    x: float
    """Where the commit's mark stands, half way down the row."""
    colour: int


def lane_row(graph: Mapping[str, Any]) -> LaneRow:
    """Return the drawing of one row; see `adapterstore.history.viewing.graph.GraphRow`."""
    lane, half = graph["lane"], ROW_HEIGHT / 2
    x = _x(lane)
    lines = [Line(f"M{_x(p):g} 0V{ROW_HEIGHT}", p % COLOURS) for p in graph["passing"]]
    if graph["from_above"]:
        lines.append(Line(f"M{x:g} 0V{half:g}", lane % COLOURS))
    for target in graph["targets"]:
        to = _x(target)
        if target == lane:
            lines.append(Line(f"M{x:g} {half:g}V{ROW_HEIGHT}", lane % COLOURS))
        else:
            bend = f"M{x:g} {half:g}C{x:g} {ROW_HEIGHT * 0.8:g} {to:g} {half:g} {to:g} {ROW_HEIGHT}"
            lines.append(Line(bend, max(lane, target) % COLOURS))
    for joining in graph["joining"]:
        start = _x(joining)
        bend = f"M{start:g} 0C{start:g} {half:g} {x:g} {half:g} {x:g} {ROW_HEIGHT}"
        lines.append(Line(bend, joining % COLOURS))
    return LaneRow(lines, x, lane % COLOURS)


def lanes_width(graphs: Iterable[Mapping[str, Any]]) -> int:
    """Return how wide the graph's column is."""
    lanes = [
        max((graph["lane"], *graph["targets"], *graph["passing"], *graph["joining"]))
        for graph in graphs
    ]
    return (max(lanes, default=0) + 1) * LANE_WIDTH + 4


def _x(lane: int) -> float:
    return lane * LANE_WIDTH + LANE_WIDTH / 2 + 2
