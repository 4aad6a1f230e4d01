"""Merge two states: their sums exactly, or by a lossy method; their ledgers fact by fact."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from adapterstore.adapters.base_model import BaseModel
from adapterstore.counting import counted
from adapterstore.errors import InvalidSetting, MergeConflict, NotFastForward
from adapterstore.history.advance import Forward, Result, advance
from adapterstore.history.fit import join_bases
from adapterstore.history.leaves import count_missing
from adapterstore.history.merging.effect import LISTED
from adapterstore.history.merging.ledgers import Side
from adapterstore.history.merging.lossy import LossyMethod, merge_lossily
from adapterstore.history.merging.plan import FastForward, MergePlan, plan_merge
from adapterstore.history.merging.suites import merge_suites
from adapterstore.history.snapshot import NewCommit, Snapshot, read_snapshot
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import resolve

BaseFolder = Callable[[BaseModel], Path]
"""Gives the folder of a base's weights, compared with its record."""

_ADVICE = "choose for each: --ours or --theirs with the fact, or with 'all'"


def merge(
    repository: Repository,
    branch: str | None,
    revision: str,
    *,
    fast_forward: FastForward = "auto",
    keep_ours: Collection[str] = (),
    keep_theirs: Collection[str] = (),
    lossy: LossyMethod | None = None,
    aliases: Sequence[str] = (),
    message: str | None = None,
    expect: str | None = None,
    base_folder: BaseFolder,
    progress: Progress = NO_PROGRESS,
) -> Result:
    """Merge a revision into a branch; see `Store.merge`."""
    theirs = resolve(repository, revision)
    shown = revision if len(revision) < len(theirs) else theirs[:12]
    if not isinstance(lossy, LossyMethod | None):
        raise InvalidSetting("lossy", f"must be a LossyMethod, not {lossy!r}")
    notes: list[str] = []

    def plan(tip: Snapshot) -> NewCommit | Forward | None:
        notes.clear()
        merged = plan_merge(
            repository,
            tip.commit,
            theirs,
            fast_forward=fast_forward,
            keep_ours=keep_ours,
            keep_theirs=keep_theirs,
        )
        if merged.outcome == "up-to-date":
            notes.append(f"{shown} is part of this branch already")
            return None
        if merged.outcome == "fast-forward":
            method = f", so {lossy.name} had nothing to weigh" if lossy is not None else ""
            notes.append(f"fast-forward: this side had no commits of its own{method}")
            return Forward(theirs, f"merge {shown}: fast-forward")
        if fast_forward == "only":
            raise NotFastForward(branch or "this branch", shown)
        if merged.undecided:
            raise MergeConflict(merged.undecided, _ADVICE)
        subject = message or f"Merge {shown}"
        base = join_bases(tip.base, read_snapshot(repository, theirs).base, aliases)
        new, said = _new_commit(
            repository, merged, base, subject, shown, lossy, base_folder, progress
        )
        notes.extend(said)
        return new

    result = advance(repository, branch, plan, expect)
    if missing := count_missing(repository, read_snapshot(repository, result.commit).composition):
        # git fetches commits; their tensor files are git-lfs' affair.
        notes.append(
            f"not here yet: {counted(missing, 'tensor files')} of this state; fetch with "
            "'git -C .adapterstore lfs fetch --all'"
        )
    return Result(result.commit, result.changed, [*notes, *result.notes])


def _new_commit(
    repository: Repository,
    merged: MergePlan,
    base: BaseModel,
    subject: str,
    operand: str,
    lossy: LossyMethod | None,
    base_folder: BaseFolder,
    progress: Progress,
) -> tuple[NewCommit, list[str]]:
    """Return the commit of a merge, and what is to be said of it."""
    composition, notes = merged.composition, list(merged.notes)
    method: dict[str, str] = {}
    if lossy is not None:
        composition, method, note = merge_lossily(
            repository, merged, lossy, base.name, progress, lambda: base_folder(base)
        )
        notes.append(note)
    suite = merge_suites(repository, merged.bases, merged.ours, merged.theirs)
    notes += suite.notes
    by_side: dict[Side, list[str]] = {"ours": [], "theirs": []}
    for key, side in merged.sides.items():
        by_side[side].append(key)
    listed = {
        "Resolved-Ours": by_side["ours"],
        "Resolved-Theirs": by_side["theirs"],
        "Dropped": merged.dropped,
        "Restored": merged.restored,
    }
    new = NewCommit(
        composition=composition,
        base=base,
        subject=subject,
        body="\n".join(
            f"{merged.sides[c.key].capitalize()} stays of {c}." for c in merged.conflicts
        ),
        trailers={
            "Operation": "merge",
            "Operand": operand,
            "Merged": merged.theirs,
            **method,
            **{name: LISTED.join(values) for name, values in listed.items() if values},
        },
        ledger=merged.ledger,
        suite=suite.changes,
        merged=merged.theirs,
    )
    return new, notes
