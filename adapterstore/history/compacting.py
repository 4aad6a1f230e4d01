"""Fold a state's low-rank terms into one leaf, and say what that cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from adapterstore.algebra.compact import compact_lora
from adapterstore.algebra.composition import Composition
from adapterstore.counting import counted
from adapterstore.history.advance import Result, advance
from adapterstore.history.export import write_lora
from adapterstore.history.ingest import ingest
from adapterstore.history.leaves import open_leaves, summarize_delta
from adapterstore.history.snapshot import NewCommit, Snapshot
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Compaction:
    """What folding terms together gives."""

    commit: NewCommit
    rank_before: int
    """Sum of the ranks of the terms folded."""
    rank: int
    relative_error: float
    """‖ΔW − ΔW′‖ / ‖ΔW‖ of what was folded, Frobenius."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "rank_before": self.rank_before,
            "rank": self.rank,
            "relative_error": self.relative_error,
            "delta": self.commit.trailers["Delta"],
        }


def total_rank(repository: Repository, composition: Composition) -> int:
    """Return the sum of the ranks of the low-rank terms: what an exported adapter has at most."""
    return sum(summarize_delta(repository, term.delta).rank or 0 for term in composition)


def compact(
    repository: Repository,
    branch: str | None,
    rank: int | None = None,
    *,
    message: str | None = None,
    expect: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> tuple[Result, Compaction | None]:
    """Put a commit on a branch whose low-rank terms are one leaf; see `plan_compaction`.

    Raises:
        RefMoved: the branch is not, or no longer, at ``expect``.
    """
    made: list[Compaction | None] = []

    def plan(tip: Snapshot) -> NewCommit | None:
        compaction = plan_compaction(repository, tip, rank, message, progress)
        made.append(compaction)
        return compaction.commit if compaction is not None else None

    result = advance(repository, branch, plan, expect)
    return result, made[-1]


def plan_compaction(
    repository: Repository,
    snapshot: Snapshot,
    rank: int | None = None,
    message: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> Compaction | None:
    """Store one leaf for all low-rank terms of a state; None if there is nothing to fold.

    Dense terms stay as they are: ranks are what a server counts. An adapter states one layout of
    its layers' weights; of a sum with both (GPT-2's Conv1D layers, and an output layer), the terms
    of the one with more ranks to fold are folded, and the others stay.

    Args:
        repository: the store; the new leaf's tensor file goes there.
        snapshot: the state.
        rank: the most to keep (None: all, up to rounding).
        message: the commit's subject.
        progress: told of every module.

    Raises:
        CannotExport: the low-rank terms cancel out.
        CorruptStore: a delta's bytes are not what its id says.
    """
    summaries = {term: summarize_delta(repository, term.delta) for term in snapshot.composition}
    foldable = []
    for transposed in (False, True):
        alike = [
            (term, delta.rank or 0)
            for term, delta in summaries.items()
            if delta.kind == "lora" and delta.fan_in_fan_out == transposed
        ]
        ranks = sum(rank for _, rank in alike)
        if len(alike) > 1 or (alike and rank is not None and ranks > rank):
            foldable.append((ranks, Composition.of(term for term, _ in alike)))
    if not foldable:
        return None
    before, folded = max(foldable, key=itemgetter(0))
    with open_leaves(repository, folded, progress) as leaves:
        compacted = compact_lora(leaves.lora, rank, progress)
    config = {**compacted.lora.config, "base_model_name_or_path": snapshot.base.name}
    lora = replace(compacted.lora, config=config)
    with repository.objects.scratch() as scratch:
        folder = scratch / "delta"
        folder.mkdir()
        write_lora(lora, folder)
        delta = ingest(repository, folder, snapshot.base, (), _no_base, progress)
    composition = snapshot.composition - folded + delta.composition("compact")
    shown = f"{counted(len(folded), 'terms')} of total rank {before}"
    error = f"{compacted.relative_error:.3g}"
    commit = NewCommit(
        composition=composition,
        base=delta.fit(snapshot.base),
        subject=message or f"Compact {shown} to rank {compacted.lora.rank}",
        body=f"Relative error of the folded sum: {error}.",
        trailers={
            "Operation": "compact",
            "Delta": delta.delta,
            "Folded": ", ".join(term.delta for term in folded),
            "Rank": str(compacted.lora.rank),
            "Relative-Error": error,
        },
    )
    return Compaction(commit, before, compacted.lora.rank, compacted.relative_error)


def _no_base() -> Path:
    raise AssertionError("a LoRA folder is stored without looking at the base")
