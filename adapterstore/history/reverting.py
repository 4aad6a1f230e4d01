"""Take commits back: their change leaves the state, and their facts leave the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from adapterstore.errors import PartlyInEffect, UnknownRevision
from adapterstore.history.advance import Result, advance
from adapterstore.history.ledger.reading import ledger_difference
from adapterstore.history.log import log_entry
from adapterstore.history.merging.ancestry import commits_between, is_ancestor
from adapterstore.history.merging.effect import Atoms, Effects
from adapterstore.history.merging.ledgers import (
    blob_of,
    ledger_tree,
    read_entry,
    same_answer,
)
from adapterstore.history.merging.suites import revert_suite
from adapterstore.history.operands import (
    SHORT,
    Change,
    describe_revision,
    resolve_commits,
)
from adapterstore.history.snapshot import NewCommit, Snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Change as PathChange
from adapterstore.store.repository import Repository


def revert(
    repository: Repository,
    branch: str | None,
    revision: str,
    *,
    mainline: int | None = None,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Take a commit, ``A..B`` or ``update/ID`` back; see `Store.revert`."""
    change = resolve_commits(repository, revision, mainline)
    shown = describe_revision(repository, revision)
    notes: list[str] = []

    def plan(tip: Snapshot) -> NewCommit | None:
        notes.clear()
        undone = part_to_change(repository, tip.commit, change, -1, revision)
        here = is_ancestor(repository, change.after, tip.commit)
        if not here and (undone is not None or _undoes(repository, change)):
            raise UnknownRevision(revision, "is not part of this branch's history")
        if undone is not None:
            notes.append(f"{shown} was reverted already{undone}")
            return None
        ledger = revert_ledger(repository, tip.commit, change)
        suite = revert_suite(repository, tip.commit, change)
        notes.extend(suite.notes)
        notes.extend(f"kept, as a later update changed it: {fact}" for fact in ledger.kept)
        return NewCommit(
            composition=tip.composition - change.composition(repository),
            base=tip.base,
            subject=message or f"Revert {shown}",
            trailers={
                "Operation": "revert",
                "Operand": shown,
                "Reverts": change.after,
                **change.trailers(),
            },
            ledger=ledger.changes,
            suite=suite.changes,
        )

    result = advance(repository, branch, plan, expect)
    return Result(result.commit, result.changed, [*notes, *result.notes])


def part_to_change(
    repository: Repository, tip: CommitId, change: Change, sign: int, revision: str
) -> str | None:
    """Return None if a state can take ``sign`` · change, or in words why there is nothing to do.

    Every atom that the change is made of has to be in effect to be taken back (sign −1), and not in
    effect to be put in (sign 1). A change is known by its atoms, wherever its commits are: what was
    picked from another branch can be taken back by the name that it has there.

    Raises:
        PartlyInEffect: some are, others are not.
    """
    effects = Effects(repository)
    commits = commits_between(repository, [change.before] if change.before else [], change.after)
    atoms = effects.sum(commits)
    now = effects.at(tip)
    possible = {atom: now[atom] + sign * number in (0, 1) for atom, number in atoms.items()}
    if possible and all(possible.values()):
        return None
    by = _latest(effects, commits_between(repository, [], tip), set(commits), atoms, sign)
    if any(possible.values()):
        update = log_entry(repository.commit(by)).update if by is not None else None
        done: dict[bool, list[str]] = {True: [], False: []}
        for atom, number in atoms.items():
            # Of what the change took back, the commit that did.
            by_whom = (c for c in commits if effects.of(c)[atom] * number > 0)
            done[bool(now[atom]) == (number > 0)].append(next(by_whom, atom))
        raise PartlyInEffect(
            revision,
            done[True],
            done[False],
            "revert" if sign < 0 else "cherry-pick",
            f"update/{update}" if update is not None else by and by[:SHORT],
        )
    return f", by {by[:SHORT]}" if by is not None else ""


def _undoes(repository: Repository, change: Change) -> bool:
    """Return whether a change takes back anything that it did not make itself."""
    before = [change.before] if change.before else []
    atoms = Effects(repository).sum(commits_between(repository, before, change.after))
    return any(number < 0 for number in atoms.values())


def _latest(
    effects: Effects, history: list[CommitId], besides: set[CommitId], atoms: Atoms, sign: int
) -> CommitId | None:
    """Return the latest commit that changed one of the atoms by ``sign``."""
    for commit_id in history:
        if commit_id in besides:
            continue
        made = effects.of(commit_id)
        if any(made[atom] * number * sign > 0 for atom, number in atoms.items()):
            return commit_id
    return None


@dataclass(frozen=True)
class LedgerRevert:
    """What a revert does to the ledger."""

    changes: dict[str, PathChange]
    """Path → the content from before the reverted change (None: the fact was not there)."""
    kept: list[str]
    """Prompts of facts that a later update changed again, and which therefore stay."""


def revert_ledger(repository: Repository, tip: CommitId, change: Change) -> LedgerRevert:
    """Return the ledger changes that take ``change`` back from ``tip``.

    A fact goes back to what it was before the change if it is still what the change made of it: the
    same answer by the same update. Paraphrases and protection that came later do not count.
    """
    restored: dict[str, PathChange] = {}
    kept = []
    ledger = ledger_tree(repository, tip)
    for path, (before, after) in ledger_difference(repository, change.before, change.after).items():
        now = blob_of(ledger, path)
        if now == before:
            continue
        made, there = (read_entry(repository, blob, path) for blob in (after, now))
        same_update = (made and made.update) == (there and there.update)
        if now == after or (same_answer(made, there) and same_update):
            restored[path] = before
        else:
            entry = there or made
            kept.append(entry.prompt if entry is not None else path)
    return LedgerRevert(restored, sorted(kept))
