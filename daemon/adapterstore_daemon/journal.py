"""The daemon's journal: every delivery, in SQLite, so that each takes effect exactly once.

A delivery is one content, with the mapping that it is read by, that landed under one name. Its
update's id is written down before the work begins; whatever a crash leaves is found again by that
id and by the SHA-256 of the content.
A row moves by compare-and-swap on its state, so that several workers can share a journal.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from adapterstore.errors import CorruptJournal, UnsupportedFormat
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore_daemon.landing import printable

SCHEMA_VERSION = 3
_UNREADABLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
_NOTHING_BESIDE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
"""Of a journal in a folder where SQLite can't make the files that it wants beside it."""
Clock = Callable[[], float]
State = Literal["running", "pending", "applied", "rejected", "gone"]
"""``gone``: its file was taken away, or changed, before it was done."""
OPEN_STATES: tuple[State, ...] = ("running", "pending")

_SCHEMA = f"""
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    branch TEXT NOT NULL,
    digest TEXT NOT NULL,
    mapping TEXT,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'pending', 'applied', 'rejected', 'gone')),
    update_id TEXT NOT NULL,
    start_commit TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    message TEXT NOT NULL,
    commits TEXT NOT NULL,
    landed_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    cut_off INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX one_open_delivery
    ON delivery (folder, branch, digest, mapping, CASE digest WHEN '' THEN name ELSE '' END)
    WHERE state IN ('running', 'pending');
PRAGMA user_version = {SCHEMA_VERSION};
"""
_VERSION_1_COLUMNS = (
    "id, folder, branch, digest, name, state, update_id, start_commit, attempts, message, commits, "
    "landed_at, changed_at"
)
_VERSION_2_COLUMNS = f"{_VERSION_1_COLUMNS}, mapping"
_COLUMNS = f"{_VERSION_2_COLUMNS}, cut_off"


def _upgrade(columns: str) -> str:
    """Return the script that makes this version's table of one with these columns."""
    return f"""
        ALTER TABLE delivery RENAME TO former;
        DROP INDEX one_open_delivery;
        {_SCHEMA}
        INSERT INTO delivery ({columns}) SELECT {columns} FROM former;
        DROP TABLE former;
    """


_SCRIPTS = {0: _SCHEMA, 1: _upgrade(_VERSION_1_COLUMNS), 2: _upgrade(_VERSION_2_COLUMNS)}
"""By the version that is there."""


@dataclass(frozen=True)
class Delivery:
    """One row of the journal."""

    id: int
    folder: str
    branch: str
    digest: str
    """SHA-256 of the content ("": nobody could read it, so the name stands for it)."""
    mapping: str | None
    """SHA-256 of the mapping ("": there is none; None: a release wrote it that did not say)."""
    name: str
    state: State
    update_id: UpdateId
    start_commit: CommitId
    """Where the branch was ("": it was not there)."""
    attempts: int
    message: str
    commits: list[CommitId]
    landed_at: str
    changed_at: str
    cut_off: int
    """How many attempts ended with the daemon itself, one after the other: it was killed."""


class Journal:
    """The journal of one store.

    Every method raises `CorruptJournal` where the file is damaged, and `OSError` where the system
    refuses: the disk is full, there is no permission, another process holds it for too long.
    """

    def __init__(self, path: Path, read_only: bool = False, clock: Clock = time.time):
        """Open or make the journal at ``path``; or open it only to be read, and write nothing.

        ``clock`` gives seconds since the epoch, to be compared with the times of landed files.

        Raises:
            UnsupportedFormat: a newer release wrote it.
            CorruptJournal: it is not a journal.
        """
        path.parent.mkdir(exist_ok=True)
        self._path, self._clock = path, clock
        with self._told():
            self._connection = _open_to_read(path) if read_only else _connect(str(path))
            try:
                (version,) = self._connection.execute("PRAGMA user_version").fetchone()
                if version > SCHEMA_VERSION:
                    raise UnsupportedFormat(str(path), version, SCHEMA_VERSION)
                if version < SCHEMA_VERSION and read_only:
                    # A former release wrote it, or another process has just begun it.
                    self._connection = _copy_in_memory(self._connection)
                self._connection.execute("PRAGMA synchronous = FULL")
                if version < SCHEMA_VERSION:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    script = _SCRIPTS[version]
                    self._connection.executescript(f"BEGIN IMMEDIATE; {script} COMMIT;")
                self._inode = path.stat().st_ino
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell trouble of SQLite by what is to be done about it."""
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the kind of error; an error that SQLite did not make has none.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _UNREADABLE:
                raise CorruptJournal(str(self._path), str(error)) from error
            raise OSError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def check_in_place(self) -> None:
        """Raise `CorruptJournal` if the file was removed or replaced: nobody would read it."""
        try:
            there = self._path.stat().st_ino
        except FileNotFoundError:
            there = None
        if there != self._inode:
            raise CorruptJournal(str(self._path), "removed or replaced while the daemon ran")

    def claim(
        self,
        folder: str,
        branch: str,
        digest: str,
        mapping: str,
        name: str,
        start: CommitId,
        new_update: Callable[[], UpdateId],
        unread: int | None = None,
    ) -> Delivery:
        """Return the open delivery of this content and mapping, one attempt on; else a new one.

        Where there is an ``unread`` one, of the same file when nobody could read it, that becomes
        the new one: it keeps its place among the others. ``new_update`` gives the update's id,
        which is durable before this returns.
        """
        with self._told():
            place = (printable(folder), branch, digest, mapping)
            number = self._claim(place, printable(name), start, new_update, unread)
        return self._select("WHERE id = ?", (number,))[0]

    def _claim(
        self,
        place: tuple[str, str, str, str],
        name: str,
        start: CommitId,
        new_update: Callable[[], UpdateId],
        unread: int | None,
    ) -> int | None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        number: int | None
        try:
            row = connection.execute(
                "SELECT id FROM delivery WHERE folder = ? AND branch = ? AND digest = ? "
                "AND (mapping = ? OR mapping IS NULL) AND (digest != '' OR name = ?) "
                "AND state IN ('running', 'pending')",
                (*place, name),
            ).fetchone()
            if row is None and unread is not None:
                number = unread
                connection.execute(
                    "UPDATE delivery SET state = 'running', message = '', digest = ?, mapping = ?, "
                    "update_id = ?, start_commit = ?, attempts = attempts + 1, changed_at = ? "
                    "WHERE id = ?",
                    (*place[2:], new_update(), start, self._now(), number),
                )
            elif row is None:
                cursor = connection.execute(
                    "INSERT INTO delivery (folder, branch, digest, mapping, name, state, "
                    "update_id, start_commit, attempts, message, commits, landed_at, changed_at) "
                    "VALUES (?, ?, ?, ?, ?, 'running', ?, ?, 1, '', '[]', ?, ?)",
                    (*place, name, new_update(), start, self._now(), self._now()),
                )
                number = cursor.lastrowid
            else:
                (number,) = row
                connection.execute(
                    "UPDATE delivery SET state = 'running', message = '', mapping = ?, name = ?, "
                    "attempts = attempts + 1, changed_at = ? WHERE id = ?",
                    (place[-1], name, self._now(), number),
                )
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself where the disk is full.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return number

    def rename(self, delivery: int, update: UpdateId) -> Delivery:
        """Give a running delivery's update another id, which is durable before this returns."""
        with self._told():
            self._connection.execute(
                "UPDATE delivery SET update_id = ?, changed_at = ? "
                "WHERE id = ? AND state = 'running'",
                (update, self._now(), delivery),
            )
        return self._select("WHERE id = ?", (delivery,))[0]

    def settle(
        self,
        delivery: int,
        state: State,
        message: str,
        commits: Sequence[CommitId] = (),
        before: State = "running",
    ) -> bool:
        """Move a delivery to ``state``; False if it is not in the state ``before`` any more."""
        with self._told():
            cursor = self._connection.execute(
                "UPDATE delivery SET state = ?, message = ?, commits = ?, changed_at = ?, "
                "cut_off = 0 WHERE id = ? AND state = ?",
                (state, _text(message), json.dumps(list(commits)), self._now(), delivery, before),
            )
            return cursor.rowcount == 1

    def settle_cut_off(self, delivery: int) -> None:
        """Let a delivery wait whose attempt ended with the daemon that made it, and count that."""
        with self._told():
            self._connection.execute(
                "UPDATE delivery SET state = 'pending', cut_off = cut_off + 1, "
                "message = 'the daemon was killed while it worked on it', changed_at = ? "
                "WHERE id = ? AND state = 'running'",
                (self._now(), delivery),
            )

    def deliveries(self, *states: State) -> list[Delivery]:
        """Return the deliveries in some states (all of them without any), oldest first."""
        if not states:
            return self._select("ORDER BY id", ())
        marks = ", ".join("?" for _ in states)
        return self._select(f"WHERE state IN ({marks}) ORDER BY id", states)

    def after(self, delivery: int) -> list[Delivery]:
        """Return those that came after a delivery and are, or may come to be, applied."""
        return self._select(
            "WHERE id > ? AND state IN ('running', 'pending', 'applied') ORDER BY id", (delivery,)
        )

    def refused(self, digest: str, mapping: str | None) -> list[Delivery]:
        """Return the deliveries of a content and mapping that were refused, oldest first."""
        return self._select(
            "WHERE digest = ? AND mapping IS ? AND state = 'rejected' ORDER BY id",
            (digest, mapping),
        )

    def _now(self) -> str:
        # Compared with the times of files, which are finer than a millisecond.
        now = datetime.fromtimestamp(self._clock(), UTC)
        return now.isoformat(timespec="microseconds")

    def _select(self, condition: str, values: Sequence[object]) -> list[Delivery]:
        query = f"SELECT {_COLUMNS} FROM delivery {condition}"
        with self._told(), closing(self._connection.execute(query, values)) as cursor:
            rows = cursor.fetchall()
        names = _COLUMNS.split(", ")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [Delivery(**{**row, "commits": json.loads(row["commits"])}) for row in found]


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=name.startswith("file:"), isolation_level=None, timeout=30)


def _copy_in_memory(file: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy of what a journal holds, to be written to; the journal is closed."""
    copy = _connect(":memory:")
    with closing(file):
        file.backup(copy)
    return copy


def _open_to_read(path: Path) -> sqlite3.Connection:
    name = path.absolute().as_uri()
    connection = _connect(f"{name}?mode=ro")
    try:
        connection.execute("PRAGMA user_version")
    except sqlite3.DatabaseError as error:
        connection.close()
        is_all = not path.with_name(f"{path.name}-wal").exists()
        if error.sqlite_errorcode & 0xFF not in _NOTHING_BESIDE or not is_all:
            raise
        # Without a -wal beside it nobody writes to it.
        connection = _connect(f"{name}?immutable=1")
    return connection


def _text(text: str) -> str:
    """Return a text that SQLite can keep: a message may name a file that is not UTF-8."""
    return text.encode(errors="replace").decode()
