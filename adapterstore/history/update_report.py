"""``update/report.json``: what a commit's update recorded about itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from adapterstore.errors import CorruptStore, UnsupportedFormat
from adapterstore.history.snapshot import REPORT_NAME, UPDATE
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text
from adapterstore.knowledge.figures import FIGURES
from adapterstore.store.repository import Repository

REPORT_FORMAT = 1
REPORT_PATH = f"{UPDATE}/{REPORT_NAME}"
Origin = Literal["file", "ledger", "model"]
"""Who said what an old answer is: the fact file, the ledger, or the model when it was asked."""


@dataclass(frozen=True)
class Figure:
    """One figure of an update: how many of the prompts asked were answered rightly."""

    right: int
    asked: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as JSON values; the share with four decimals."""
        return {
            "right": self.right,
            "asked": self.asked,
            "value": round(self.right / self.asked, 4),
        }


def read_report(repository: Repository, commit: CommitId) -> dict[str, Any]:
    """Return the content of a commit's ``update/report.json``.

    Raises:
        CorruptStore: there is none, or it is not what it should be.
        UnsupportedFormat: a newer release wrote it.
    """
    content = find_report(repository, commit)
    if content is None:
        raise CorruptStore(commit, f"the commit has no {REPORT_PATH}")
    return content


def recorded_old_answers(repository: Repository, commit: CommitId) -> dict[str, list[str]]:
    """Return what a commit's report says was forgotten: by prompt, as canonical text.

    Raises:
        CorruptStore, UnsupportedFormat: as `find_report`.
    """
    rows = (find_report(repository, commit) or {}).get("old_answers")
    answers: dict[str, list[str]] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and isinstance(row.get("old_answer"), str):
            answers.setdefault(canonical_text(str(row.get("prompt"))), []).append(row["old_answer"])
    return answers


def find_report(repository: Repository, commit: CommitId) -> dict[str, Any] | None:
    """Return the content of a commit's ``update/report.json``, None if it has none.

    Raises:
        CorruptStore: it is not what it should be.
        UnsupportedFormat: a newer release wrote it.
    """
    data = repository.read(commit, REPORT_PATH)
    if data is None:
        return None
    where = f"commit {commit[:12]}: {REPORT_PATH}"
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptStore(where, f"not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise CorruptStore(where, "names no format version")
    if content["format"] > REPORT_FORMAT:
        raise UnsupportedFormat(where, content["format"], REPORT_FORMAT)
    return content


def figures_of(report: dict[str, Any], where: str) -> dict[str, Figure]:
    """Return the figures that a report has, by name; raise `CorruptStore` if they are none."""
    scores = report.get("report") or {}
    try:
        return {
            name: Figure(int(scores[name]["right"]), int(scores[name]["asked"]))
            for name in FIGURES
            if scores.get(name) is not None and scores[name]["asked"]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStore(where, f"its figures are not as they were written ({error})") from error


def curve_of(report: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the search for λ, a row a candidate; raise `CorruptStore` if it is none."""
    try:
        return [
            {
                "coefficient": str(row["coefficient"]),
                "old_answers": float(row["old_answers"]),
                "control": float(row["control"]),
            }
            for row in report.get("curve") or []
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStore(where, f"its λ curve is not as it was written ({error})") from error


def old_answers_of(report: dict[str, Any], where: str) -> list[dict[str, str]]:
    """Return what was forgotten, a row a fact; raise `CorruptStore` if it is not as written."""
    try:
        return [
            {name: str(row[name]) for name in ("prompt", "old_answer", "origin")}
            for row in report.get("old_answers") or []
        ]
    except (KeyError, TypeError) as error:
        raise CorruptStore(where, f"its old answers are not as written ({error})") from error


def table_of(report: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return the table that an update's facts came from, with the cells that changed, if one did.

    Raises:
        CorruptStore: it is not as it was written.
    """
    table = report.get("table")
    if table is None:
        return None
    try:
        return {
            "name": str(table["name"]),
            "rows": int(table["rows"]),
            "columns": [str(column) for column in table["columns"]],
            "cells": {str(status): int(count) for status, count in table["cells"].items()},
            "changed": [
                {
                    name: change[name]
                    for name in (
                        *("status", "row", "line", "column"),
                        *("subject", "prompt", "old", "new"),
                    )
                }
                for change in table["changed"]
            ],
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStore(where, f"its table is not as it was written ({error})") from error


def origins_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many old answers are of which origin."""
    counts: dict[str, int] = dict.fromkeys(get_args(Origin), 0)
    for row in rows:
        if row.get("origin") in counts:
            counts[row["origin"]] += 1
    return counts


def count_origins(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many old answers are of which origin, in words; empty if there are none."""
    counts = origins_of(rows)
    return ", ".join(f"{count} of the {origin}" for origin, count in counts.items() if count)
