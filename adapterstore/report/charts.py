"""Charts as SVG whose colours are the page's own, so that light and dark both read.

matplotlib draws with stand-in colours; each is then replaced with a variable of the page's style.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterstore.errors import MissingLibrary
from adapterstore.knowledge.figures import FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT_LEVELS = 9
_HEAT = [f"#0b00{level:02x}" for level in range(HEAT_LEVELS)]
_INK, _MUTED, _GRID, _PAPER = "#010101", "#020202", "#030303", "#040404"
_FIRST, _SECOND, _BAD, _LOW_INK, _HIGH_INK = "#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005"
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _GRID: "--grid",
    _PAPER: "--paper",
    _FIRST: "--first",
    _SECOND: "--second",
    _BAD: "--bad",
    _LOW_INK: "--ink",
    _HIGH_INK: "--heat-ink",
    **{colour: f"--heat-{level}" for level, colour in enumerate(_HEAT)},
}
_POINTS = 72.0
"""SVG units to an inch, in which matplotlib measures."""
MOST_CURVES = 60
"""Of so many updates, the newest ones, the search for λ is drawn."""
_CELL_TEXT_UPDATES = 40
"""With more columns than these, the cells of a heat map are narrow and carry no numbers."""


def draw_charts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the charts of a report: ``figures`` by name, ``curves`` by update, and ``layers``.

    Args:
        content: what `adapterstore.report.content.collect_report` gave.

    Raises:
        MissingLibrary: matplotlib is not installed.
    """
    _import()
    updates = content["updates"]
    return {
        "figures": {
            name: draw_figure(name, updates)
            for name in FIGURES
            if any(name in update["figures"] for update in updates)
        },
        "curves": [
            draw_curve(number, update["curve"], update["coefficient"])
            if update["curve"] and number >= len(updates) - MOST_CURVES
            else None
            for number, update in enumerate(updates)
        ],
        "layers": draw_layers(content["layers"]) if content["layers"]["norms"] else None,
    }


def draw_figure(name: str, updates: Sequence[Mapping[str, Any]]) -> str:
    """Return one figure over the updates: a line through those applied, crosses for the refused."""
    figure, axes = _axes(320, 150)
    floor = min(f["value"] for update in updates for f in update["figures"].values())
    points = [
        (number, update["figures"][name]["value"], update["status"] == "refused")
        for number, update in enumerate(updates, 1)
        if name in update["figures"]
    ]
    kept = [(x, y) for x, y, refused in points if not refused]
    gone = [(x, y) for x, y, refused in points if refused]
    if kept:
        (line,) = axes.plot(*zip(*kept, strict=True), color=_FIRST, marker="o", markersize=4)
        line.set_gid(f"figure-{name}-applied")
    if gone:
        (line,) = axes.plot(*zip(*gone, strict=True), color=_BAD, marker="x", linestyle="")
        line.set_gid(f"figure-{name}-refused")
    axes.set_xlim(0.5, len(updates) + 0.5)
    axes.set_xticks(_few(range(1, len(updates) + 1), 10))
    _shares(axes, floor)
    return _svg(figure, f"figure-{name}", f"{name} over the updates")


def draw_curve(number: int, curve: Sequence[Mapping[str, Any]], chosen: str | None) -> str:
    """Return the search for λ: old answers still given, and control prompts answered as before."""
    figure, axes = _axes(320, 170)
    places = range(len(curve))
    for key, colour, marker in (("old_answers", _BAD, "s"), ("control", _FIRST, "o")):
        values = [row[key] for row in curve]
        (line,) = axes.plot(places, values, color=colour, marker=marker, markersize=4)
        line.set_gid(f"curve-{number}-{key}")
    labels = [str(row["coefficient"]) for row in curve]
    if chosen in labels:
        axes.axvline(labels.index(chosen), color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(-0.5, len(curve) - 0.5)
    ticks = _few(places, 12)
    # What a label says is data: not to be read as a formula.
    axes.set_xticks(ticks, [labels[place] for place in ticks], parse_math=False)
    _shares(axes, 0.0)
    return _svg(figure, f"curve-{number}", "search for the coefficient of forgetting")


def draw_layers(layers: Mapping[str, Any]) -> str:
    """Return the heat map: one row a layer, one column an update, darker for a larger ‖Δ‖."""
    from matplotlib.colors import ListedColormap

    norms: list[list[float]] = layers["norms"]
    columns = len(layers["updates"])
    numbered = columns <= _CELL_TEXT_UPDATES
    cell, row = (44 if numbered else 12), 22
    figure, axes = _axes(70 + cell * columns, 34 + row * len(norms), left=52, top=8, bottom=26)
    largest = max((norm for line in norms for norm in line), default=0.0)
    levels = [[heat_level(norm, largest) for norm in line] for line in norms]
    mesh = axes.pcolormesh(
        levels,
        cmap=ListedColormap(_HEAT),
        vmin=-0.5,
        vmax=HEAT_LEVELS - 0.5,
        edgecolors=_PAPER,
        linewidth=1.5,
    )
    mesh.set_gid("layers-cells")
    if numbered:
        for y, line in enumerate(norms):
            for x, norm in enumerate(line):
                colour = _HIGH_INK if levels[y][x] > HEAT_LEVELS // 2 else _LOW_INK
                axes.text(
                    x + 0.5, y + 0.5, f"{norm:.3g}", color=colour, ha="center", va="center", size=9
                )
    axes.grid(visible=False)
    axes.invert_yaxis()
    ticks = _few(range(columns), 40)
    axes.set_xticks([x + 0.5 for x in ticks], [str(layers["updates"][x]) for x in ticks])
    axes.set_yticks([y + 0.5 for y in range(len(norms))], layers["layers"])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _svg(figure, "layers", "norm of the change by layer and update")


def heat_level(norm: float, largest: float) -> int:
    """Return how dark a norm is shown, from 0 (none) on; square roots, so that small ones show."""
    if largest <= 0 or norm <= 0:
        return 0
    return max(1, math.ceil(math.sqrt(norm / largest) * (HEAT_LEVELS - 1)))


def _axes(
    width: int, height: int, left: int = 40, top: int = 8, bottom: int = 24
) -> tuple[Figure, Axes]:
    """Return an empty chart of so many SVG units; no global state of matplotlib is touched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _POINTS, height / _POINTS), dpi=_POINTS)
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - 10) / width,
            (height - top - bottom) / height,
        )
    )
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(colors=_MUTED, labelsize=10, length=3, color=_GRID)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_GRID)
    return figure, axes


def _shares(axes: Axes, floor: float) -> None:
    """Give the y axis to shares, from a tenth below the smallest one up to 1."""
    bottom = max(0.0, math.floor(floor * 10 - 1) / 10)
    room = 0.04 * (1 - bottom)
    axes.set_ylim(bottom - room, 1 + room)
    ticks = [bottom, (1 + bottom) / 2, 1]
    axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])


def _few(places: Sequence[int], most: int) -> list[int]:
    """Return every place, or evenly spaced ones where there are too many to label."""
    return list(places[:: max(1, math.ceil(len(places) / most))])


def _svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an inline SVG element; equal figures give equal text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    # The name in the salt keeps ids of one chart apart from those of the others on the page.
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    width, height = figure.get_size_inches() * _POINTS
    opening = (
        f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    text = re.sub(r"<svg[^>]*>", opening, text, count=1)
    # Ids that every chart has alike; nothing refers to them.
    text = re.sub(r' id="[a-z0-9.]+_\d+"', "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def _import() -> None:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingLibrary("report", "matplotlib") from error
    del mpl
