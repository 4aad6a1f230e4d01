"""Protect facts: what no update may change. One commit, which changes the ledger and no weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from adapterstore.counting import counted
from adapterstore.errors import UnknownFact
from adapterstore.history.advance import Result, advance
from adapterstore.history.ledger.blame import find_entry
from adapterstore.history.ledger.known import find_known
from adapterstore.history.snapshot import NewCommit, Snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.contradictions import (
    check_contradictions,
    contradiction_with_entry,
    differ,
)
from adapterstore.knowledge.facts import FactFile, digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes, ledger_path, show_key
from adapterstore.knowledge.repeats import with_names
from adapterstore.store.repository import Change, Repository

_NAMED = 3
"""How many facts a commit's subject names."""


def protect_facts(
    repository: Repository,
    branch: str | None,
    keys: Sequence[str] = (),
    files: Sequence[FactFile] = (),
    *,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Protect facts of a branch's ledger, and the facts of files with their answers.

    A file's fact that the ledger does not have gets an entry of no update: it was never taught, the
    model is taken to know it already. What is protected already stays as it is.

    Args:
        repository: the store.
        branch: which branch (None: the current one).
        keys: facts by prompt, "subject, relation" or any prompt that the ledger knows them by.
        files: facts with the answers that they must keep.
        message: the commit's subject.
        expect: move the branch only from this revision; see `Store.commit`.

    Raises:
        UnknownFact, AmbiguousFact: a key names no fact, or several.
        Contradiction: a file says another answer than the ledger, or than itself.
        RefMoved: the branch moved meanwhile.
    """
    check_contradictions(files)

    def change(commit: CommitId) -> dict[str, LedgerEntry | None]:
        entries = _by_key(repository, commit, keys)
        for entry in _of_files(repository, commit, files):
            entries.setdefault(entry.key, entry)
        return {
            key: dataclasses.replace(entry, protected=True)
            for key, entry in entries.items()
            if not entry.protected
        }

    return _advance(repository, branch, "Protect", change, message, expect)


def unprotect_facts(
    repository: Repository,
    branch: str | None,
    keys: Sequence[str] = (),
    files: Sequence[FactFile] = (),
    *,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Let updates change facts again; the reverse of `protect_facts`.

    An entry that is there only because it was protected goes.

    Raises:
        UnknownFact, AmbiguousFact: a key, or a file's fact, names no fact, or several.
        RefMoved: the branch moved meanwhile.
    """

    def change(commit: CommitId) -> dict[str, LedgerEntry | None]:
        entries = _by_key(repository, commit, keys)
        for file in files:
            known = find_known(repository, commit, file.facts)
            for fact in file.facts:
                found = known.of(fact.key)
                if not found:
                    raise UnknownFact(show_key(fact.key), f"commit {commit[:12]}")
                entries.update((entry.key, entry) for entry in found)
        return {
            key: dataclasses.replace(entry, protected=False) if entry.update else None
            for key, entry in entries.items()
            if entry.protected
        }

    return _advance(repository, branch, "Unprotect", change, message, expect)


def _by_key(
    repository: Repository, commit: CommitId, keys: Sequence[str]
) -> dict[str, LedgerEntry]:
    entries = (find_entry(repository, commit, key) for key in keys)
    return {entry.key: entry for entry in entries}


def _of_files(
    repository: Repository, commit: CommitId, files: Sequence[FactFile]
) -> list[LedgerEntry]:
    """Return the entries that stand for the files' facts, new ones where there are none."""
    found: dict[str, LedgerEntry] = {}
    for file in files:
        facts = with_names(file.facts)
        known = find_known(repository, commit, facts)
        for fact in facts:
            for entry in known.of(fact.key):
                if differ(fact.answer, entry.answer):
                    raise contradiction_with_entry(file, fact, entry)
                found[entry.key] = entry
        new = [fact for fact in facts if not known.of(fact.key)]
        for data in ledger_changes(found, new, "", [file.source] * len(new)).values():
            if data is not None:
                entry = LedgerEntry.from_bytes(data)
                found[entry.key] = entry
    return list(found.values())


def _advance(
    repository: Repository,
    branch: str | None,
    verb: str,
    change: Callable[[CommitId], dict[str, LedgerEntry | None]],
    message: str | None,
    expect: str | None,
) -> Result:
    def plan(tip: Snapshot) -> NewCommit | None:
        changed = change(tip.commit)
        if not changed:
            return None
        ledger: dict[str, Change] = {
            ledger_path(digest_key(key)): entry.to_bytes() if entry is not None else None
            for key, entry in changed.items()
        }
        return NewCommit(
            composition=tip.composition,
            base=tip.base,
            subject=message or _subject(verb, list(changed)),
            trailers={"Operation": "protect"},
            ledger=ledger,
        )

    return advance(repository, branch, plan, expect)


def _subject(verb: str, keys: list[str]) -> str:
    if len(keys) <= _NAMED:
        return f"{verb} {'; '.join(show_key(key) for key in keys)}"
    return f"{verb} {counted(len(keys), 'facts')}"
