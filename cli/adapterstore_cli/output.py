"""How values are printed: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterstore.counting import counted
from adapterstore.history.ledger.factdiff import FactChange, count_facts
from adapterstore.store.durable import write_file
from adapterstore.store.refusals import naming

if TYPE_CHECKING:
    from adapterstore.evaluation.metrics import Report

_MARKS = {"added": "+", "changed": "~", "removed": "-", "restated": "="}
_FAILURES = 3
"""Prompts of one figure that are shown where nothing was refused."""


def write_output(path: Path, data: bytes) -> None:
    """Write what a command was told to write to ``path``.

    A file is there at once and complete, behind a link too; a pipe or a device is written to.
    """
    if path.exists() and not path.is_file():
        with naming(path):
            path.write_bytes(data)
    else:
        write_file(path.resolve(), data)


def print_json(content: Any) -> None:
    """Print one JSON document."""
    click.echo(_json_text(content))


def print_json_list(items: Iterable[Any]) -> None:
    """Print a JSON list item by item, so that a long one needs no memory."""
    separator = "["
    for item in items:
        text = _json_text(item)
        click.echo(f"{separator}\n  {text.replace(chr(10), chr(10) + '  ')}", nl=False)
        separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def _json_text(content: Any) -> str:
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return JSON values with null for the numbers that JSON has not: infinities and NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Print aligned columns; numbers in them should be formatted by the caller."""
    print_rows(header, iter(rows), indent, max(len(rows), 1))


_ROWS = 500


def print_rows(
    header: Sequence[str], rows: Iterator[Sequence[str]], indent: str = "", at_once: int = _ROWS
) -> None:
    """Print aligned columns of a list of any length, ``at_once`` rows at a time.

    Later rows are aligned with the earlier ones, or further apart.
    """
    widths = [width(name) for name in header]
    part: list[Sequence[str]] = [header, *islice(rows, at_once)]
    while part:
        widths = [max(w, *(width(row[i]) for row in part)) for i, w in enumerate(widths)]
        for row in part:
            cells = [cell + " " * (w - width(cell)) for cell, w in zip(row, widths, strict=True)]
            click.echo(f"{indent}{'  '.join(cells)}".rstrip())
        part = list(islice(rows, at_once))


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide


def print_report(report: Report, indent: str = "", refused: Collection[str] = ()) -> None:
    """Print the figures of a report, and prompts that failed: all kept of a refused figure."""
    rows = [
        [name, f"{score.value:.3f}", f"{score.right} of {score.asked}"]
        for name, score in report.scores().items()
    ]
    print_table(["figure", "share", "prompts"], rows, indent)
    for name, score in report.scores().items():
        for failure in score.failures if name in refused else score.failures[:_FAILURES]:
            click.echo(f"{indent}  {name}: {failure.change}")


def shorten(text: str, columns: int) -> str:
    """Return a text on one line, cut with "…" to so many columns of a terminal."""
    line = " ".join(text.split())
    if width(line) <= columns:
        return line
    while width(line) > columns - 1:
        line = line[:-1]
    return f"{line}…"


def fact_counts(facts: Sequence[FactChange]) -> str:
    """Return how many facts changed, in words, such as ``2 facts added, 1 changed``."""
    told = [(status, count) for status, count in count_facts(facts).items() if count]
    (status, count), *rest = told
    first = f"{counted(count, 'facts')} {status}"
    return ", ".join([first, *(f"{count} {status}" for status, count in rest)])


def print_facts(facts: Sequence[FactChange], indent: str = "") -> None:
    """Print what became of facts, one a line: answer before → answer after."""
    for fact in facts:
        before = "(not in the ledger)" if fact.status == "added" else _answer(fact.before)
        after = "(not in the ledger)" if fact.status == "removed" else _answer(fact.after)
        change = after if fact.status == "restated" else f"{before} → {after}"
        update = f"  (update/{fact.update})" if fact.update else ""
        protected = "  protected" if fact.protected else ""
        click.echo(f"{indent}{_MARKS[fact.status]} {fact.prompt!r}: {change}{protected}{update}")


def _answer(answer: str | None) -> str:
    return "(forgotten)" if answer is None else repr(answer)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number to so many significant digits; a dash for none."""
    return "-" if value is None else f"{value:.{digits}g}"


def drift_line(section: Mapping[str, Any]) -> str:
    """Return in one line how far a state is from its base."""
    told = [f"‖ΔW‖ {number(section.get('norm'))}"]
    if section.get("relative_norm") is not None:
        told.append(f"{section['relative_norm']:.2%} of the base's")
    told.append(f"rank {section.get('rank')}")
    if section.get("effective_rank") is not None:
        told.append(f"effective rank {section['effective_rank']:.1f}")
    if section.get("perplexity") is not None:
        told.append(
            f"perplexity {number(section['perplexity'])} "
            f"(base {number(section.get('base_perplexity'))})"
        )
    return ", ".join(told)


def size(count: int) -> str:
    """Return a number of bytes in words."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
