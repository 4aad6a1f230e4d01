"""How far states are from their base, update by update."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from adapterstore.adapters.base_model import BaseModel
from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.adapters.tensor_file import FLOAT_DTYPES
from adapterstore.algebra.composition import Composition
from adapterstore.history.compacting import total_rank
from adapterstore.history.log import log_entry
from adapterstore.history.update_report import REPORT_PATH, figures_of, find_report
from adapterstore.history.viewing.magnitude import magnitude
from adapterstore.identifiers import CommitId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.cache import Cache
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class DriftPoint:
    """One state on the way from the base."""

    commit: CommitId | None
    """None while it is not committed."""
    update: str | None
    """The update that led to it."""
    norm: float
    """‖ΔW‖ = ‖W − W_base‖, Frobenius, over all weights."""
    relative_norm: float | None
    """‖ΔW‖ / ‖W_base‖; None where the base was not at hand."""
    rank: int
    """Sum of the ranks of the low-rank terms."""
    effective_rank: float | None
    """The largest of any weight (see `ModuleSize`); None where a dense delta takes part."""
    retention: float | None = None
    locality: float | None = None
    perplexity: float | None = None
    """Of the held text, in this state; None where it was not computed."""
    base_perplexity: float | None = None
    """Of the same text, by the base."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; the report that holds them says which state it is."""
        return {k: v for k, v in asdict(self).items() if k not in ("commit", "update")}


def measure_norms(
    repository: Repository,
    composition: Composition,
    base_size: float | None,
    progress: Progress = NO_PROGRESS,
) -> DriftPoint:
    """Return what the weights of a sum alone say, without any model; kept in the cache.

    Raises:
        CorruptStore, ObjectMissing: a delta is not what its id says.
        ShapeMismatch, NotLinear: the deltas can't be summed.
    """
    size = magnitude(repository, composition, progress)
    known = [m.effective_rank for m in size.modules if m.effective_rank is not None]
    return DriftPoint(
        commit=None,
        update=None,
        norm=size.norm,
        relative_norm=size.norm / base_size if base_size else None,
        rank=total_rank(repository, composition),
        effective_rank=max(known, default=0.0) if len(known) == len(size.modules) else None,
    )


def base_norm(repository: Repository, base: BaseModel, folder: Path) -> float:
    """Return ‖W_base‖, Frobenius, over all floating-point weights of the base's files.

    Read tensor by tensor once, then kept by the base's digests.
    """
    import torch

    cache, key = Cache(repository.folder, "base-norm-1"), json.dumps(base.digests, sort_keys=True)
    known = cache.read(key)
    if base.digests is not None and isinstance(known, float):
        return float(known)
    squares = 0.0
    for weight in read_model_folder(folder).weights.values():
        if weight.info.dtype in FLOAT_DTYPES:
            squares += float(torch.linalg.vector_norm(weight.load(), dtype=torch.float64)) ** 2
    norm = math.sqrt(squares)
    if base.digests is not None:
        cache.write(key, norm)
    return norm


def read_points(repository: Repository, tip: CommitId) -> Iterator[DriftPoint]:
    """Yield what was recorded of each update along first parents, newest first.

    Updates of releases that recorded no drift are left out.
    """
    commit: CommitId | None = tip
    while commit is not None:
        entry = log_entry(repository.commit(commit))
        if entry.ends_update:
            point = _recorded(repository, commit, entry.update)
            if point is not None:
                yield point
        commit = next(iter(entry.parents), None)


def _recorded(repository: Repository, commit: CommitId, update: str | None) -> DriftPoint | None:
    report = find_report(repository, commit) or {}
    section = report.get("drift")
    if not isinstance(section, dict) or not isinstance(section.get("norm"), (int, float)):
        return None
    names = {field.name for field in fields(DriftPoint)}
    kept: dict[str, Any] = {name: section.get(name) for name in names - {"commit", "update"}}
    numbers: dict[str, Any] = {
        k: v if isinstance(v, (int, float)) else None for k, v in kept.items()
    }
    numbers["rank"] = int(numbers["rank"] or 0)
    figures = figures_of(report, f"commit {commit[:12]}: {REPORT_PATH}")
    for name in ("retention", "locality"):
        if name in figures:
            numbers[name] = figures[name].right / figures[name].asked
    return DriftPoint(commit=commit, update=update, **numbers)
