"""An index of the ledger's history: which commit changed which key, and which prompts know it.

It is a cache, ``cache/ledger.sqlite``: everything in it is read off commits, which never change; it
may be deleted at any time. A commit is indexed once, by its difference from its first parent, so
bringing the index up to date costs what is new. What it names is compared with the commit's own
tree before it is believed; if the two do not fit, it is thrown away and made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import pygit2

from adapterstore.history.ledger.reading import (
    digest_of,
    entry_blobs,
    ledger_difference,
    parse_entry,
    read_entries_by_digest,
)
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.cache import CACHE_NAME
from adapterstore.store.durable import make_folder
from adapterstore.store.repository import Repository

Value = TypeVar("Value")

INDEX_NAME = "ledger.sqlite"
_BATCH = 500
"""Commits indexed in one transaction."""
_LOCK_SECONDS = 10.0
_SCHEMA = (
    "CREATE TABLE commits (id TEXT PRIMARY KEY, parent TEXT, depth INTEGER NOT NULL,"
    " facts INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE changes (key TEXT NOT NULL, commit_id TEXT NOT NULL, before TEXT, after TEXT,"
    " PRIMARY KEY (key, commit_id)) WITHOUT ROWID",
    "CREATE TABLE entries (blob TEXT PRIMARY KEY, key TEXT NOT NULL,"
    " protected INTEGER NOT NULL, forgotten INTEGER NOT NULL, source TEXT) WITHOUT ROWID",
    "CREATE INDEX sources ON entries (source, key) WHERE source IS NOT NULL",
    "CREATE INDEX protected_entries ON entries (key) WHERE protected",
    "CREATE INDEX forgotten_entries ON entries (key) WHERE forgotten",
    "CREATE TABLE prompts (prompt TEXT NOT NULL, blob TEXT NOT NULL,"
    " PRIMARY KEY (prompt, blob)) WITHOUT ROWID",
)


class _Unfit(sqlite3.DatabaseError):
    """The index does not say what the commits say."""


@dataclass(frozen=True)
class KeyChange:
    """One commit's change of one ledger key, as blob ids; None: the entry was not there."""

    commit: CommitId
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Moved:
    """Another key under which a commit has, or had, the same fact."""

    key: str
    blob: str


def use_index(
    repository: Repository, commit: CommitId, work: Callable[[LedgerIndex], Value]
) -> Value:
    """Return what ``work`` reads from the index, brought up to date with a commit.

    Where the cache folder can't be written, or another process keeps it, an index in memory serves.
    ``work`` may be called again, so it only reads.
    """
    path = repository.folder / CACHE_NAME / INDEX_NAME
    for _ in range(2):
        try:
            make_folder(path.parent)
            return _use(repository, commit, str(path), work)
        except (sqlite3.OperationalError, OSError):
            break
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            path.with_name(f"{INDEX_NAME}-journal").unlink(missing_ok=True)
    return _use(repository, commit, ":memory:", work)


def _use(
    repository: Repository,
    commit: CommitId,
    path: str,
    work: Callable[[LedgerIndex], Value],
) -> Value:
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check_schema(connection)
        index = LedgerIndex(repository, connection)
        index.bring_up_to_date(commit)
        return work(index)


def _check_schema(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file; anything else than exactly them is not our index."""
    if not _tables(connection):
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have been first.
        for statement in () if _tables(connection) else _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    if _tables(connection) != set(_SCHEMA):
        raise _Unfit("another schema")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {
        str(sql)
        for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    }


class LedgerIndex:
    """The index of one store, open."""

    def __init__(self, repository: Repository, connection: sqlite3.Connection):
        self._repository = repository
        self._connection = connection
        self._walked: tuple[CommitId | None, int, set[str]] = (None, 0, set())
        """The last history that was walked: from where, down to which depth, its commits."""

    def bring_up_to_date(self, tip: CommitId) -> None:
        """Index what first parents lead to from ``tip`` and is not indexed yet, oldest first."""
        missing: list[tuple[CommitId, CommitId | None]] = []
        commit: CommitId | None = tip
        while commit is not None and not self._is_indexed(commit):
            parents = self._repository.parents(commit)
            parent = parents[0] if parents else None
            missing.append((commit, parent))
            commit = parent
        missing.reverse()
        for start in range(0, len(missing), _BATCH):
            self._connection.execute("BEGIN IMMEDIATE")
            for commit_id, parent in missing[start : start + _BATCH]:
                self._index(commit_id, parent)
            self._connection.execute("COMMIT")

    def _is_indexed(self, commit: CommitId) -> bool:
        return self._one("SELECT 1 FROM commits WHERE id = ?", commit) is not None

    def _index(self, commit: CommitId, parent: CommitId | None) -> None:
        depth, facts = 0, 0
        if parent is not None:
            row = self._one("SELECT depth, facts FROM commits WHERE id = ?", parent)
            if row is None:
                raise _Unfit("a parent is missing")
            depth, facts = int(row[0]) + 1, int(row[1])
        for path, (before, after) in ledger_difference(self._repository, parent, commit).items():
            key = digest_of(path)
            facts += (after is not None) - (before is not None)
            self._connection.execute(
                "INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?)",
                (key, commit, _text(before), _text(after)),
            )
            if after is not None:
                self._index_entry(key, after, commit)
        self._connection.execute(
            "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)", (commit, parent, depth, facts)
        )

    def _index_entry(self, key: str, blob: pygit2.Oid, commit: CommitId) -> None:
        if self._one("SELECT 1 FROM entries WHERE blob = ?", str(blob)) is not None:
            return
        entry = parse_entry(self._repository, blob, f"commit {commit[:12]}: ledger entry {key}")
        self._connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
            (str(blob), key, entry.protected, entry.answer is None, entry.source),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO prompts VALUES (?, ?)",
            [(digest_key(canonical_text(prompt)), str(blob)) for prompt in entry.prompts],
        )

    # --- reading ---------------------------------------------------------------------------------

    def count(self, commit: CommitId) -> int:
        """Return how many entries an indexed commit's ledger has."""
        row = self._one("SELECT facts FROM commits WHERE id = ?", commit)
        if row is None:
            raise _Unfit("the commit is missing")
        return int(row[0])

    def entries_asked_by(
        self, commit: CommitId, prompts: Iterable[str]
    ) -> dict[str, list[LedgerEntry]]:
        """Return, for each prompt, the entries of a commit's ledger that are known by it."""
        digests = {prompt: digest_key(canonical_text(prompt)) for prompt in prompts}
        blobs = {prompt: self._blobs_of(digest) for prompt, digest in digests.items()}
        keys = {key for found in blobs.values() for _, key in found}
        present = entry_blobs(self._repository, commit, sorted(keys))
        standing = {
            prompt: sorted({key for blob, key in found if str(present[key]) == blob})
            for prompt, found in blobs.items()
        }
        wanted = sorted({key for found in standing.values() for key in found})
        entries = read_entries_by_digest(self._repository, commit, wanted)
        return {prompt: [entries[key] for key in found] for prompt, found in standing.items()}

    def keys_once_asked_by(self, prompt: str) -> list[str]:
        """Return the key digests that were ever known by a prompt, in any indexed commit."""
        found = self._blobs_of(digest_key(canonical_text(prompt)))
        return sorted({key for _, key in found})

    def protected(self, commit: CommitId) -> list[LedgerEntry]:
        """Return the protected entries of a commit's ledger, in the order of their digests."""
        keys = self._keys_once("protected")
        entries = read_entries_by_digest(self._repository, commit, keys)
        return [entries[key] for key in keys if key in entries and entries[key].protected]

    def forgotten(self, commit: CommitId) -> list[str]:
        """Return the key digests, in their order, that have no answer in a commit's ledger."""
        rows = self._connection.execute(
            "SELECT changes.key, commit_id, forgotten, depth FROM changes"
            " JOIN commits ON commits.id = commit_id LEFT JOIN entries ON blob = after"
            " WHERE changes.key IN (SELECT key FROM entries WHERE forgotten) ORDER BY depth"
        ).fetchall()
        on_the_way = self._first_parents(commit, int(rows[0][3])) if rows else ()
        # Of each key, the newest change counts.
        last = {str(key): empty for key, changed_by, empty, _ in rows if changed_by in on_the_way}
        return sorted(key for key, empty in last.items() if empty)

    def from_source(self, commit: CommitId, source: str) -> list[LedgerEntry]:
        """Return the entries of a commit's ledger that name a source, by their digests' order."""
        keys = self._keys_once("source = ?", source)
        entries = read_entries_by_digest(self._repository, commit, keys)
        return [entries[key] for key in keys if key in entries and entries[key].source == source]

    def _keys_once(self, condition: str, *values: str) -> list[str]:
        """Return the key digests of which an entry met a condition, in any indexed commit."""
        statement = f"SELECT DISTINCT key FROM entries WHERE {condition}"
        return sorted(str(key) for (key,) in self._connection.execute(statement, values))

    def changes(self, tip: CommitId, key: str) -> list[KeyChange]:
        """Return what changed a key digest on the first-parent history of ``tip``, newest first."""
        rows = self._connection.execute(
            "SELECT commit_id, before, after, depth FROM changes JOIN commits"
            " ON commits.id = commit_id WHERE key = ? ORDER BY depth DESC",
            (key,),
        ).fetchall()
        if rows:
            on_the_way = self._first_parents(tip, int(rows[-1][3]))
            rows = [row for row in rows if row[0] in on_the_way]
        found = [KeyChange(CommitId(c), before, after) for c, before, after, _ in rows]
        self._check_chain(tip, key, found)
        return found

    def moved_from(self, commit: CommitId, key: str, prompts: Iterable[str]) -> Moved | None:
        """Return the key that a commit took a fact from, to file it under ``key``, if it did."""
        return self._moved("before", "after", commit, key, prompts)

    def moved_to(self, commit: CommitId, key: str, prompts: Iterable[str]) -> Moved | None:
        """Return the key that a commit moved a fact to, away from ``key``, if it did."""
        return self._moved("after", "before", commit, key, prompts)

    def _moved(
        self, there: str, gone: str, commit: CommitId, key: str, prompts: Iterable[str]
    ) -> Moved | None:
        for prompt in prompts:
            for other in self.keys_once_asked_by(prompt):
                row = self._connection.execute(
                    f"SELECT {there} FROM changes WHERE key = ? AND commit_id = ?"
                    f" AND {there} IS NOT NULL AND {gone} IS NULL",
                    (other, commit),
                ).fetchone()
                if row is not None and other != key:
                    return Moved(other, str(row[0]))
        return None

    def _first_parents(self, tip: CommitId, depth: int) -> set[str]:
        """Return the first-parent history of a commit, down to a depth or further."""
        known_tip, known_depth, known = self._walked
        if known_tip == tip and known_depth <= depth:
            # Whoever asks for many keys has walked there before.
            return known
        rows = self._connection.execute(
            "WITH RECURSIVE chain(id, parent, depth) AS ("
            " SELECT id, parent, depth FROM commits WHERE id = ? UNION ALL"
            " SELECT commits.id, commits.parent, commits.depth FROM chain JOIN commits"
            " ON commits.id = chain.parent WHERE commits.depth >= ?) SELECT id FROM chain",
            (tip, depth),
        )
        self._walked = (tip, depth, {str(row[0]) for row in rows})
        return self._walked[2]

    def _check_chain(self, tip: CommitId, key: str, chain: Sequence[KeyChange]) -> None:
        """Check that each change begins where the one before it ended, and the last is what is."""
        now = entry_blobs(self._repository, tip, [key])[key]
        ends = [_text(now), *(change.before for change in chain)]
        starts = [*(change.after for change in chain), None]
        if ends != starts:
            raise _Unfit("a change is missing")

    def _blobs_of(self, prompt: str) -> list[tuple[str, str]]:
        rows = self._connection.execute(
            "SELECT entries.blob, key FROM prompts JOIN entries ON entries.blob = prompts.blob"
            " WHERE prompt = ?",
            (prompt,),
        )
        return [(str(blob), str(key)) for blob, key in rows]

    def _one(self, statement: str, value: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(statement, (value,)).fetchone()
        return row


def _text(blob: pygit2.Oid | None) -> str | None:
    return str(blob) if blob is not None else None
