"""Fold the sum that an update comes to, where its rank would pass the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterstore.errors import CannotExport
from adapterstore.history.compacting import Compaction, plan_compaction, total_rank
from adapterstore.history.snapshot import Snapshot
from adapterstore.progress import Progress
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    from adapterstore.update.compact_settings import CompactSettings


def compact_over_limit(
    repository: Repository, state: Snapshot, rule: CompactSettings | None, progress: Progress
) -> tuple[Compaction | None, list[str]]:
    """Return what folds a state's sum (None: nothing has to), and notes on what that costs.

    ``rule`` says when (None: never).
    """
    if rule is None or rule.rank_limit is None:
        return None, []
    rank = total_rank(repository, state.composition)
    if rank <= rule.rank_limit:
        return None, []
    try:
        compaction = plan_compaction(
            repository, state, rule.rank or rule.rank_limit, progress=progress
        )
    except CannotExport as error:
        return None, [f"the sum was not folded: {error}"]
    if compaction is None:
        return None, []
    return compaction, [
        f"rank {rank} would pass compact.rank_limit ({rule.rank_limit}): folded to rank "
        f"{compaction.rank}, relative error {compaction.relative_error:.3g}; the figures "
        "are of the folded state"
    ]
