"""How values are printed: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from adapterstore.evaluation.metrics import Report


def print_json(content: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Print aligned columns; numbers in them should be formatted by the caller."""
    widths = [max(width(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [cell + " " * (w - width(cell)) for cell, w in zip(row, widths, strict=True)]
        click.echo(f"{indent}{'  '.join(cells)}".rstrip())


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide


def print_report(report: Report, indent: str = "") -> None:
    """Print the figures of a report, and the first prompts that failed."""
    rows = [
        [name, f"{score.value:.3f}", f"{score.right} of {score.asked}"]
        for name, score in report.scores().items()
    ]
    print_table(["figure", "share", "prompts"], rows, indent)
    for name, score in report.scores().items():
        for failure in score.failures[:3]:
            click.echo(
                f"{indent}  {name}: {failure.prompt!r} gave {failure.given!r}, "
                f"expected {failure.expected!r}"
            )


def size(count: int) -> str:
    """Return a number of bytes in words."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
