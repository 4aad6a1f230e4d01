"""The page: a template, its style and its script in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from importlib import resources
from typing import Any

from adapterstore.knowledge.figures import FIGURES
from adapterstore.report.charts import MOST_CURVES, draw_charts
from adapterstore.report.lanes import ROW_HEIGHT, lane_row, lanes_width

PAGE_SIZE = 100
"""Facts shown at a time."""
MOST_LISTED = 40
"""Old answers and cells that are listed of one update; the data has all."""


def render_page(content: Mapping[str, Any]) -> str:
    """Return a report as one self-contained HTML file.

    All text is escaped, and the page's own policy lets it load nothing and run nothing but its own
    script, named by its hash: text of a fact file stays text.

    Args:
        content: what `adapterstore.report.content.collect_report` gave.

    Raises:
        MissingLibrary: matplotlib is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    charts = draw_charts(content)
    environment = Environment(
        loader=PackageLoader("adapterstore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["number"] = partial(_number, content)
    environment.globals["text_at"] = partial(_text_at, content)
    environment.globals["minute_at"] = partial(_minute_at, content)
    style, script = _package_text("page.css"), _package_text("page.js")
    return environment.get_template("page.html.jinja").render(
        content=content,
        figure_names=FIGURES,
        charts=_marked(charts, Markup),
        curves_left_out=any(update["curve"] for update in content["updates"][:-MOST_CURVES]),
        lanes=[lane_row(commit["graph"]) for commit in content["commits"]],
        row_height=ROW_HEIGHT,
        lanes_width=lanes_width(commit["graph"] for commit in content["commits"]),
        page_size=PAGE_SIZE,
        most_listed=MOST_LISTED,
        style=Markup(style),
        script=Markup(script),
        script_digest=_digest(script),
    )


def _marked(charts: Any, markup: type[str]) -> Any:
    """Return the charts as safe HTML: matplotlib has escaped all text in them."""
    if isinstance(charts, str):
        return markup(charts)
    if isinstance(charts, Mapping):
        return {name: _marked(chart, markup) for name, chart in charts.items()}
    if isinstance(charts, list):
        return [_marked(chart, markup) for chart in charts]
    return charts


def _value(content: Any, path: str) -> Any:
    """Return what stands at a JSON pointer of the report's content."""
    for part in path.split("/")[1:]:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def _number(content: Any, path: str, form: str = "d") -> Any:
    """Return a number as an element that carries its full value and where that stands."""
    from markupsafe import Markup

    value = _value(content, path)
    if value is None:
        return "full"
    shown = _FORMS[form](value)
    return Markup('<data value="{}" data-at="{}">{}</data>').format(repr(value), path, shown)


def _text_at(content: Any, path: str, length: int | None = None) -> Any:
    """Return a text that may hold digits (an id, a date) as an element of the same kind."""
    from markupsafe import Markup

    value = str(_value(content, path))
    shown = value[:length]
    return Markup('<data value="{}" data-at="{}">{}</data>').format(value, path, shown)


def _minute_at(content: Any, path: str) -> Any:
    """Return a time to the minute, as an element that carries all of it."""
    from markupsafe import Markup

    value = str(_value(content, path))
    shown = value[: len("2026-11-01T12:30")].replace("T", " ")
    return Markup('<data value="{}" data-at="{}">{}</data>').format(value, path, shown)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


_FORMS = {
    "d": lambda value: f"{value:,}".replace(",", "\u202f"),
    "share": lambda value: f"{value:.2f}",
    "norm": lambda value: f"{value:.4g}",
    "size": _size,
}


def _package_text(name: str) -> str:
    return (resources.files("adapterstore.report") / "templates" / name).read_text("utf-8")


def _digest(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
