"""The history of a branch as values: who changed what, by which data, and what was taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pygit2

from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.messages import parse_trailers, subject_of
from adapterstore.store.repository import Repository, intact
from adapterstore.store.revisions import message_of, walk

_FIRST_TIME, _LAST_TIME = -62_000_000_000, 253_000_000_000
"""Seconds from 1970 of the years 5 and 9987."""


@dataclass(frozen=True)
class LogEntry:
    """One commit as the log shows it."""

    commit: CommitId
    parents: tuple[CommitId, ...]
    author: str
    time: datetime
    subject: str
    trailers: dict[str, str]

    @property
    def operation(self) -> str | None:
        """What made the commit: init, commit, add, subtract, revert, forget, learn, …"""
        return self.trailers.get("Operation")

    @property
    def update(self) -> UpdateId | None:
        """The update that the commit belongs to."""
        name = self.trailers.get("Update")
        return UpdateId(name) if name is not None else None


def read_log(repository: Repository, tip: CommitId) -> Iterator[LogEntry]:
    """Yield the commits that ``tip`` reaches, newest first."""
    for commit in walk(repository, tip):
        yield log_entry(commit)


def log_entry(commit: pygit2.Commit) -> LogEntry:
    """Return what the log shows of one commit."""
    with intact(f"commit {commit.id}"):
        author = commit.author
        message = message_of(commit)
    zone = timezone(timedelta(minutes=author.offset))
    name, email = (raw.decode("utf-8", "replace") for raw in (author.raw_name, author.raw_email))
    return LogEntry(
        commit=CommitId(str(commit.id)),
        parents=tuple(CommitId(str(parent)) for parent in commit.parent_ids),
        author=f"{name} <{email}>",
        # Git keeps years that a calendar has not.
        time=datetime.fromtimestamp(min(max(author.time, _FIRST_TIME), _LAST_TIME), zone),
        subject=subject_of(message),
        trailers=parse_trailers(message),
    )


def find_revert(repository: Repository, tip: CommitId, target: CommitId) -> CommitId | None:
    """Return the commit below ``tip`` that reverted ``target`` and was not itself reverted."""
    undone: set[str] = set()
    for entry in read_log(repository, tip):
        if entry.commit == target:
            return None
        reverted = entry.trailers.get("Reverts")
        if reverted is not None and entry.commit not in undone:
            if reverted == target:
                return entry.commit
            undone.add(reverted)
    return None
