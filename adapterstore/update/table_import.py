"""Record what a table says and the model knows already: one commit of the ledger, no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterstore.counting import counted
from adapterstore.history.advance import Result, advance
from adapterstore.history.snapshot import NewCommit, Snapshot
from adapterstore.history.store import Store
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.knowledge.ledger import ledger_changes
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.asking import ask
from adapterstore.update.table_plan import CellChange, TablePlan, plan_table

if TYPE_CHECKING:
    from adapterstore.knowledge.tables.reading import MappedTable


@dataclass(frozen=True)
class TableImport:
    """What came of recording a table."""

    result: Result
    plan: TablePlan
    """The table against the ledger as it was before."""
    recorded: int
    """Cells that the ledger has now, and had not."""
    unknown: tuple[CellChange, ...] = ()
    """Cells that were not recorded: the model was asked, and answers otherwise."""


def import_table(
    store: Store,
    mapped: MappedTable,
    *,
    ask_model: bool = False,
    branch: str | None = None,
    message: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> TableImport:
    """Record the cells that the ledger has not, as facts that no update taught.

    Cells of which the ledger says something else stay for an update, as do, with ``ask_model``,
    those that the model does not give as the greedy answer to their prompt.

    Raises:
        Contradiction: a cell has another answer than a protected fact.
        BaseModelUnavailable, BaseModelMismatch: the model is asked, and its weights are not there.
        RefMoved: the branch moved while the model was asked.
    """
    repository = store.repository
    if ask_model:
        # Seeing the base for the first time is a commit of its own.
        store.base_folder(branch)
    _, tip = store.tip(branch)
    plan = plan_table(repository, tip, mapped)
    new = [change for change in plan.changes if change.status == "new"]
    unknown: list[CellChange] = []
    if ask_model and new:
        stated = {c.fact.prompt: [c.fact.answer or ""] for c in new}
        answers = ask(store, tip, [c.fact.prompt for c in new], progress, stated)
        unknown = [
            change
            for change, given in zip(new, answers, strict=True)
            if change.fact.answer is not None and not same_answer(given, change.fact.answer)
        ]
    left = {change.fact.key for change in unknown}
    count = 0

    def record(snapshot: Snapshot) -> NewCommit | None:
        nonlocal count
        now = plan_table(repository, snapshot.commit, mapped)
        facts = [
            change.fact
            for change in now.changes
            if change.status == "new" and change.fact.key not in left
        ]
        count = len(facts)
        return _commit(snapshot, facts, plan, message) if facts else None

    result = advance(repository, branch, record, tip if ask_model else None)
    return TableImport(result, plan, count, tuple(unknown))


def _commit(
    snapshot: Snapshot, facts: Sequence[Fact], plan: TablePlan, message: str | None
) -> NewCommit:
    sources = [plan.mapped.mapping.source] * len(facts)
    return NewCommit(
        composition=snapshot.composition,
        base=snapshot.base,
        subject=message or f"Record {counted(len(facts), 'facts')} of {plan.name} as known",
        # Entries of no update come to be, and no weight changes.
        trailers={"Operation": "protect"},
        ledger=dict(ledger_changes({}, facts, "", sources)),
    )
