"""Change a state by what is named: make it a snapshot, add to it, subtract from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.coefficient import ONE, format_coefficient, parse_coefficient
from adapterstore.history.advance import Result, advance
from adapterstore.history.fit import join_bases
from adapterstore.history.ingest import IngestedDelta
from adapterstore.history.operands import as_path, describe_revision, operand_path, resolve_operand
from adapterstore.history.snapshot import LEDGER, NewCommit, Snapshot, read_snapshot
from adapterstore.store.repository import Repository

Ingest = Callable[[Path], IngestedDelta]
"""Stores what lies at a path."""


def commit(
    repository: Repository,
    branch: str | None,
    path: Path,
    ingest: Ingest,
    *,
    message: str | None,
    expect: str | None,
) -> Result:
    """Make the state exactly what lies at ``path``; see `Store.commit`."""
    delta = ingest(path)

    def plan(tip: Snapshot) -> NewCommit | None:
        composition = delta.composition()
        if composition == tip.composition:
            return None
        return NewCommit(
            composition=composition,
            base=delta.fit(tip.base),
            subject=message or f"Commit {path.name or path.absolute().name}",
            trailers={"Operation": "commit", "Operand": str(path), "Delta": delta.delta},
            ledger=dict.fromkeys(repository.files(tip.commit, LEDGER)),
        )

    return advance(repository, branch, plan, expect)


def combine(
    repository: Repository,
    operation: Literal["add", "subtract"],
    branch: str | None,
    operand: Path | str,
    ingest: Ingest,
    *,
    coefficient: str | int | Decimal,
    aliases: Sequence[str],
    message: str | None,
    expect: str | None,
) -> Result:
    """Add ± coefficient · operand to the state; see `Store.add`."""
    scale = parse_coefficient(coefficient)
    path = as_path(operand) if isinstance(operand, Path) else operand_path(repository, operand)
    operand = str(operand)
    fit: Callable[[BaseModel], BaseModel]
    if path is not None:
        delta = ingest(path)
        summed, shown, fit = delta.composition(), operand, delta.fit
        trailers = {"Delta": str(delta.delta)}
    else:
        source = resolve_operand(repository, operand)
        base = read_snapshot(repository, source.after).base
        summed, trailers = source.composition(repository), source.trailers()
        shown = describe_revision(repository, operand)

        def fit(tip_base: BaseModel) -> BaseModel:
            return join_bases(tip_base, base, aliases)

    change = summed.scaled(scale if operation == "add" else -scale)

    def plan(tip: Snapshot) -> NewCommit | None:
        if not change.terms:
            return None
        times = "" if scale == ONE else f"{format_coefficient(scale)} × "
        return NewCommit(
            composition=tip.composition + change,
            base=fit(tip.base),
            subject=message or f"{operation.capitalize()} {times}{shown}",
            trailers={
                "Operation": operation,
                "Operand": shown,
                "Scale": format_coefficient(scale),
                **trailers,
            },
        )

    return advance(repository, branch, plan, expect)
