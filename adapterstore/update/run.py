"""The one entry point: fact files in, a tested update out.

    O = finetune(S, K_old) − S          forget:  S′ = S − λ·O
    N = finetune(S′, K_new) − S′        learn:   S″ = S′ + N

(F-Learning, ACL 2024, arXiv 2311.08011.) A process, a daemon or a cluster calls `run_update`; it
keeps nothing but what it writes into the store.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.history.snapshot import LEDGER, RECIPE_NAME, REPORT_NAME, read_snapshot
from adapterstore.history.store import Store
from adapterstore.history.updates import (
    find_applied,
    find_rejected,
    new_update_id,
    publish_update,
)
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.contradictions import check_contradictions
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository
from adapterstore.update.attempt import Attempt
from adapterstore.update.result import UpdateResult, read_update

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe


def run_update(
    store: Store,
    files: Sequence[FactFile],
    *,
    recipe: Recipe,
    gate: Gate,
    branch: str | None = None,
    update_id: UpdateId | None = None,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> UpdateResult:
    """Make a branch's state forget the old answers of some facts and learn the new ones.

    Exactly once: facts that are in effect on the branch already are not learned again.

    Args:
        store: the store.
        files: the facts; several files make one update.
        recipe: how to train.
        gate: which figures the update must reach, or the branch stays where it is.
        branch: which branch (None: the current one).
        update_id: the id to give (None: one made from the facts' SHA-256). If an update of this id
            was rejected, that outcome is returned, and nothing is trained.
        dry_run: train and measure, and publish nothing.
        progress: told of every stage.

    Raises:
        Contradiction: two answers for one fact.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
        TrainingFailed: no usable result.
        RefMoved: the branch moved meanwhile; nothing is visible, call again.
    """
    check_contradictions(files)
    repository = store.repository
    digest = facts_digest(files)
    _, start = store.tip(branch)
    applied = find_applied(repository, start, digest)
    if applied is not None:
        return read_update(repository, applied, "already-applied")
    if update_id is not None and find_rejected(repository, update_id) is not None:
        return read_update(repository, update_id, "rejected")
    base_folder = store.base_folder(branch)
    # Seeing the base for the first time is a commit of its own.
    ref, start = store.tip(branch)
    attempt = Attempt(
        start=read_snapshot(repository, start),
        base_folder=base_folder,
        facts=[fact for file in files for fact in file.facts],
        ledger=read_ledger(repository, start),
        recipe=recipe,
        gate=gate,
        update=update_id or new_update_id(repository, digest),
        progress=progress,
    )
    if dry_run:
        with ExitStack() as held, repository.trial() as trial:
            return dataclasses.replace(attempt.run(trial, held).result, status="dry-run")
    with ExitStack() as until_published:
        trained = attempt.run(repository, until_published)
        result = trained.result
        source = "; ".join(dict.fromkeys(file.source for file in files if file.source)) or None
        commits = publish_update(
            repository,
            ref,
            start,
            result.update,
            digest,
            trained.phases(_names(files)),
            _commit_files(files, recipe, trained.report_bytes()),
            ledger_changes(attempt.ledger, attempt.facts, result.update, source),
            accepted=result.status == "applied",
            body=_body(result, source),
        )
    return dataclasses.replace(result, commits=commits)


def facts_digest(files: Sequence[FactFile]) -> str:
    """Return the SHA-256 of the facts as they landed: the file's, or that of all digests sorted."""
    if len(files) == 1:
        return files[0].digest
    return hashlib.sha256("\n".join(sorted(file.digest for file in files)).encode()).hexdigest()


def read_ledger(repository: Repository, commit: CommitId) -> dict[str, LedgerEntry]:
    """Return what a commit's state is meant to know: ledger key → entry."""
    entries = {}
    for path, blob in repository.files(commit, LEDGER).items():
        entry = LedgerEntry.from_bytes(repository.blob(blob), f"commit {commit[:12]}: {path}")
        entries[entry.key] = entry
    return entries


def _commit_files(files: Sequence[FactFile], recipe: Recipe, report: bytes) -> dict[str, bytes]:
    """Return what made the update: the fact files as they landed, the recipe, the report."""
    content = {RECIPE_NAME: recipe.to_yaml().encode(), REPORT_NAME: report}
    for file in files:
        name = Path(file.name).name
        while name in content:
            name = f"facts-{name}"
        content[name] = file.data
    return content


def _names(files: Sequence[FactFile]) -> str:
    return ", ".join(Path(file.name).name for file in files)


def _body(result: UpdateResult, source: str | None) -> str:
    """Return the commit messages' text: where the facts come from and what was measured."""
    lines = [f"Source: {source}."] if source else []
    if result.report is not None:
        lines.append("Measured: " + ", ".join(result.report.summary()) + ".")
    lines += [f"Refused: {reason}." for reason in result.reasons]
    return "\n".join(lines)
