"""Take a commit or an update back: its change leaves the state, and its facts leave the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pygit2

from adapterstore.errors import UnknownRevision
from adapterstore.history.operands import Change
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Change as PathChange
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class LedgerRevert:
    """What a revert does to the ledger."""

    changes: dict[str, PathChange]
    """Path → the content from before the reverted change (None: the fact was not there)."""
    kept: list[str]
    """Prompts of facts that a later update changed again, and which therefore stay."""


def revert_ledger(repository: Repository, tip: CommitId, change: Change) -> LedgerRevert:
    """Return the ledger changes that take ``change`` back from ``tip``.

    A fact goes back to what it was before the change if it is still what the change made of it.
    """
    restored: dict[str, PathChange] = {}
    kept = []
    for path, before, after in _ledger_difference(repository, change):
        now = _blob_id(repository, tip, path)
        if now == after:
            restored[path] = before
        elif now != before:
            entry = _entry(repository, now if now is not None else after)
            kept.append(entry.get("prompt") or path)
    return LedgerRevert(restored, sorted(kept))


@dataclass(frozen=True)
class FactChange:
    """What a commit did to one fact of the ledger; None: it is not there."""

    prompt: str
    before: str | None
    after: str | None

    def to_dict(self) -> dict[str, str | None]:
        """Return the change as JSON values."""
        return {"prompt": self.prompt, "before": self.before, "after": self.after}


def changed_facts(repository: Repository, commit_id: CommitId) -> list[FactChange]:
    """Return what a commit changed in the ledger, against its first parent."""
    parents = repository.parents(commit_id)
    change = Change(parents[0] if parents else None, commit_id)
    facts = []
    for path, before, after in _ledger_difference(repository, change):
        old, new = _entry(repository, before), _entry(repository, after)
        prompt = new.get("prompt") or old.get("prompt") or path
        facts.append(FactChange(prompt, old.get("answer"), new.get("answer")))
    return sorted(facts, key=lambda fact: fact.prompt)


def _entry(repository: Repository, blob_id: pygit2.Oid | None) -> dict[str, str | None]:
    if blob_id is None:
        return {}
    content: dict[str, str | None] = json.loads(repository.blob(blob_id))
    return content


def _ledger_difference(
    repository: Repository, change: Change
) -> list[tuple[str, pygit2.Oid | None, pygit2.Oid | None]]:
    """Return path, blob before and blob after of each ledger file that a change touched."""
    before = repository.tree(change.before, LEDGER) if change.before is not None else None
    after = repository.tree(change.after, LEDGER)
    if before is not None:
        # Against nothing where there is no tree: reading must not write an empty one.
        difference = before.diff_to_tree(after) if after is not None else before.diff_to_tree()
    elif after is not None:
        difference = after.diff_to_tree(swap=True)
    else:
        return []
    rows = []
    for delta in difference.deltas:
        old, new = delta.old_file, delta.new_file
        rows.append(
            (
                f"{LEDGER}/{new.path or old.path}",
                old.id if delta.status_char() != "A" else None,
                new.id if delta.status_char() != "D" else None,
            )
        )
    return rows


def _blob_id(repository: Repository, commit_id: CommitId, path: str) -> pygit2.Oid | None:
    try:
        return repository.commit(commit_id).tree[path].id
    except KeyError:
        return None


def check_part_of_history(
    repository: Repository, tip: CommitId, change: Change, revision: str
) -> None:
    """Raise `UnknownRevision` unless ``change`` lies below ``tip``: only that can be taken back."""
    if change.after != tip and not repository.git.descendant_of(
        pygit2.Oid(hex=tip), pygit2.Oid(hex=change.after)
    ):
        raise UnknownRevision(revision, "is not part of this branch's history")
