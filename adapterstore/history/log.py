"""The history of a branch as values: who changed what, by which data, and what was taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pygit2

from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.messages import parse_trailers, subject_of
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import walk


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
    author = commit.author
    zone = timezone(timedelta(minutes=author.offset))
    return LogEntry(
        commit=CommitId(str(commit.id)),
        parents=tuple(CommitId(str(parent)) for parent in commit.parent_ids),
        author=f"{author.name} <{author.email}>",
        time=datetime.fromtimestamp(author.time, zone),
        subject=subject_of(commit.message),
        trailers=parse_trailers(commit.message),
    )
