"""Bring a change from elsewhere into a state, with its facts."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.errors import FactConflict, MergeConflict
from adapterstore.history.advance import Result, advance
from adapterstore.history.fit import join_bases
from adapterstore.history.ledger.reading import tree_difference
from adapterstore.history.merging.ledgers import (
    blob_of,
    describe_conflict,
    ledger_tree,
    read_entry,
    same_answer,
)
from adapterstore.history.merging.suites import pick_suite
from adapterstore.history.operands import Change, describe_revision, resolve_commits
from adapterstore.history.reverting import part_to_change
from adapterstore.history.snapshot import NewCommit, Snapshot, read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Change as PathChange
from adapterstore.store.repository import Repository

_ADVICE = (
    "picking can't decide between them: revert the one in this branch first, or use "
    "'adapterstore merge' with --ours or --theirs"
)


def cherry_pick(
    repository: Repository,
    branch: str | None,
    revision: str,
    *,
    aliases: Sequence[str] = (),
    mainline: int | None = None,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Bring a commit, ``A..B`` or ``update/ID`` into a branch; see `Store.cherry_pick`."""
    change = resolve_commits(repository, revision, mainline)
    shown = describe_revision(repository, revision)
    assert change.before is not None
    picked_base = read_snapshot(repository, change.after).base
    notes: list[str] = []

    def plan(tip: Snapshot) -> NewCommit | None:
        notes.clear()
        done = part_to_change(repository, tip.commit, change, 1, revision)
        if done is not None:
            notes.append(f"{shown} is in effect here already{done}")
            return None
        suite = pick_suite(repository, tip.commit, change)
        notes.extend(suite.notes)
        return NewCommit(
            composition=tip.composition + change.composition(repository),
            base=join_bases(tip.base, picked_base, aliases),
            subject=message or f"Pick {shown}",
            trailers={"Operation": "cherry-pick", "Operand": shown, **change.trailers()},
            ledger=_pick_ledger(repository, tip.commit, change),
            suite=suite.changes,
        )

    result = advance(repository, branch, plan, expect)
    return Result(result.commit, result.changed, [*notes, *result.notes])


def _pick_ledger(repository: Repository, tip: CommitId, change: Change) -> dict[str, PathChange]:
    """Return the ledger changes that a picked change brings.

    A fact that this state does not have can be brought; one to which it has an answer of its own,
    neither the one before the change nor the one after, can't.

    Raises:
        MergeConflict: for such facts.
    """
    assert change.before is not None
    before_tree = ledger_tree(repository, change.before)
    ledger = ledger_tree(repository, tip)
    changes: dict[str, PathChange] = {}
    conflicts: list[FactConflict] = []
    difference = tree_difference(before_tree, ledger_tree(repository, change.after))
    for path, (before, after) in sorted(difference.items()):
        now = blob_of(ledger, path)
        entries = [read_entry(repository, blob, path) for blob in (before, now, after)]
        if now == before or same_answer(entries[0], entries[1]) or entries[1] is None:
            changes[path] = after
        elif not same_answer(entries[1], entries[2]):
            conflicts.append(describe_conflict(repository, path, before_tree, tip, change.after))
    if conflicts:
        raise MergeConflict(conflicts, _ADVICE)
    return changes
