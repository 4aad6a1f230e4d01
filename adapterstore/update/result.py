"""What an update came to, and the record of it that its commits carry."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from adapterstore.errors import CorruptStore
from adapterstore.history.snapshot import REPORT_NAME
from adapterstore.history.update_report import REPORT_FORMAT, read_report
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update

if TYPE_CHECKING:
    from adapterstore.evaluation.metrics import Report


Status = Literal["applied", "already-applied", "rejected", "dry-run"]


@dataclass(frozen=True)
class UpdateResult:
    """The outcome of one call of `run_update`."""

    update: UpdateId
    status: Status
    commits: list[CommitId]
    report: Report | None
    coefficient: str | None
    """λ of the forget phase; None without one."""
    curve: list[dict[str, Any]]
    """The λ search: one row a candidate."""
    reasons: list[str] = field(default_factory=list)
    """Why the gate refused."""
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    table: dict[str, Any] | None = None
    """Of an update from a table: its rows and columns, and which cells changed."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What the gate refused: threshold, value and the prompts that broke, each metric a row."""
    old_answers: list[dict[str, Any]] = field(default_factory=list)
    """What was forgotten: ``prompt``, ``old_answer``, and its ``origin`` (file, ledger, model)."""
    drift: dict[str, Any] | None = None
    """How far the state is from the base (`adapterstore.update.drift`), and the ``alarms``."""

    @property
    def broken(self) -> list[str]:
        """Return one line a prompt that broke where the gate refused: before → after."""
        return broken_prompts(self.refused)

    @property
    def alarms(self) -> list[str]:
        """What the drift monitor warns of."""
        return list(self.drift.get("alarms", [])) if self.drift is not None else []

    def to_bytes(self, extra: dict[str, Any]) -> bytes:
        """Return ``report.json``: everything but the commits, which carry it."""
        content = {
            "format": REPORT_FORMAT,
            "update": self.update,
            "accepted": not self.reasons,
            "reasons": self.reasons,
            "refused": self.refused,
            "coefficient": self.coefficient,
            "curve": self.curve,
            "report": self.report.to_dict() if self.report is not None else None,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "notes": self.notes,
            **({"table": self.table} if self.table is not None else {}),
            "old_answers": self.old_answers,
            **({} if self.drift is None else {"drift": self.drift}),
            **extra,
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def broken_prompts(refused: list[dict[str, Any]]) -> list[str]:
    """Return one line a prompt that broke, from ``refused`` of a report: before → after.

    Raises:
        CorruptStore: the rows are not as they were written.
    """
    from adapterstore.evaluation.metrics import Failure

    try:
        return [
            f"{row['metric']}: {Failure.from_dict(failure).change}"
            for row in refused
            for failure in row["prompts"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"what was refused is not as it was written ({error})"
        raise CorruptStore(f"update/{REPORT_NAME}", problem) from error


def read_update(
    repository: Repository, update: UpdateId, status: Status, tip: CommitId | None = None
) -> UpdateResult:
    """Return the recorded outcome of an update whose commits are there, below ``tip`` if several.

    Raises:
        UnknownRevision: no such update.
        CorruptStore: its report can't be read.
    """
    commits = find_update(repository, update, tip)
    content = read_report(repository, commits[-1])
    from adapterstore.evaluation.metrics import Report

    figures = content.get("report")
    try:
        report = Report.from_dict(figures) if figures is not None else None
    except (KeyError, TypeError, AttributeError) as error:
        where = f"commit {commits[-1][:12]}: update/{REPORT_NAME}"
        raise CorruptStore(where, f"its figures are not as they were written ({error})") from error
    return UpdateResult(
        update=update,
        status=status,
        commits=commits,
        report=report,
        coefficient=content.get("coefficient"),
        curve=content.get("curve", []),
        reasons=content.get("reasons", []),
        seconds=content.get("seconds", {}),
        notes=content.get("notes", []),
        refused=content.get("refused", []),
        table=content.get("table"),
        old_answers=content.get("old_answers", []),
        drift=content.get("drift"),
    )
