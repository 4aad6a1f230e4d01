"""From a table to an update: compare it with the branch's ledger, learn what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterstore.history.store import Store
from adapterstore.history.updates import new_update_id
from adapterstore.identifiers import UpdateId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.result import UpdateResult
from adapterstore.update.run import find_by_id, run_update
from adapterstore.update.table_plan import plan_table

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.knowledge.tables.reading import MappedTable
    from adapterstore.learning.recipe import Recipe


def update_from_table(
    store: Store,
    mapped: MappedTable,
    *,
    recipe: Recipe | None = None,
    gate: Gate | None = None,
    branch: str | None = None,
    update_id: UpdateId | None = None,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> UpdateResult:
    """Make a branch's state know what a table says, cell by cell where the ledger says otherwise.

    The changed cells become a native fact file, derived from table, mapping and ledger; the commits
    carry it, the mapping, and the table's digest. Where no cell differs, nothing is trained, and
    the result has no commits.

    Args:
        store: the store.
        mapped: the table.
        recipe: how to train (None: as the store's settings say).
        gate: which figures the update must reach (None: likewise).
        branch: which branch (None: the current one).
        update_id: as for `run_update`.
        dry_run: train and measure, and publish nothing.
        progress: told of every stage.

    Raises:
        Contradiction: a cell has another answer than a protected fact.
        FactFileError: more cells changed than a fact file may hold.
        And as `run_update`.
    """
    repository = store.repository
    _, tip = store.tip(branch)
    earlier = find_by_id(repository, tip, update_id)
    if earlier is not None:
        return earlier
    plan = plan_table(repository, tip, mapped)
    if not plan.changes:
        return UpdateResult(
            update=update_id or new_update_id(repository, mapped.table.digest),
            status="already-applied",
            commits=[],
            report=None,
            coefficient=None,
            curve=[],
            notes=["every cell is as the ledger has it"],
            table=plan.to_dict(),
        )
    return run_update(
        store,
        [plan.fact_file()],
        recipe=recipe,
        gate=gate,
        branch=branch,
        update_id=update_id,
        table=plan,
        dry_run=dry_run,
        progress=progress,
    )
