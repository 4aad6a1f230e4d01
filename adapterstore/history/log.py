"""The history of a branch as values: who changed what, by which data, and what was taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pygit2

from adapterstore.errors import UnknownRevision
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.dates import date_of
from adapterstore.store.messages import body_of, parse_trailers, subject_of
from adapterstore.store.refs import head_branch, list_refs
from adapterstore.store.repository import Repository, intact
from adapterstore.store.revisions import REJECTED, message_of, resolve, walk

OPERATIONS = (
    "init",
    "record-base",
    "commit",
    "add",
    "subtract",
    "revert",
    "cherry-pick",
    "merge",
    "forget",
    "learn",
    "protect",
    "suite",
    "compact",
)
"""What can have made a commit: the values of ``Operation``."""


@dataclass(frozen=True)
class LogEntry:
    """One commit as the log shows it."""

    commit: CommitId
    parents: tuple[CommitId, ...]
    author: str
    time: datetime
    subject: str
    body: str
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

    @property
    def ends_update(self) -> bool:
        """Whether this is the last phase of an update: its report measured this very state."""
        number, _, count = self.trailers.get("Phase", "").partition("/")
        return self.update is not None and number == count != ""

    def to_dict(self) -> dict[str, object]:
        """Return the entry as JSON values."""
        return {
            "commit": self.commit,
            "parents": list(self.parents),
            "author": self.author,
            "time": self.time.isoformat(),
            "subject": self.subject,
            "operation": self.operation,
            "update": self.update,
            "trailers": self.trailers,
        }


def read_log(
    repository: Repository, *tips: CommitId, hidden: Iterable[CommitId] = ()
) -> Iterator[LogEntry]:
    """Yield the commits that ``tips`` reach and ``hidden`` do not, children before parents."""
    for commit in walk(repository, *tips, hidden=hidden):
        yield log_entry(commit)


def log_entry(commit: pygit2.Commit) -> LogEntry:
    """Return what the log shows of one commit."""
    with intact(f"commit {commit.id}"):
        author = commit.author
        message = message_of(commit)
    name, email = (raw.decode("utf-8", "replace") for raw in (author.raw_name, author.raw_email))
    return LogEntry(
        commit=CommitId(str(commit.id)),
        parents=tuple(CommitId(str(parent)) for parent in commit.parent_ids),
        author=f"{name} <{email}>",
        time=date_of(author),
        subject=subject_of(message),
        body=body_of(message),
        trailers=parse_trailers(message),
    )


@dataclass(frozen=True)
class LogRange:
    """Which part of the history: what ``tips`` reach and ``hidden`` do not."""

    tips: tuple[CommitId, ...]
    hidden: tuple[CommitId, ...] = ()


def resolve_range(repository: Repository, revisions: Iterable[str]) -> LogRange:
    """Return what revisions and ranges ``A..B`` stand for together, as in ``git log``.

    Either end of a range may be left out; it is HEAD then.

    Raises:
        UnknownRevision, AmbiguousRevision: one of them names nothing, or several things.
    """
    tips, hidden = [], []
    for revision in revisions:
        start, dots, end = revision.partition("..")
        if end.startswith(".") or revision == "..":
            raise UnknownRevision(revision, "a range is written A..B")
        if dots:
            hidden.append(resolve(repository, start or "HEAD"))
        tips.append(resolve(repository, (end or "HEAD") if dots else revision))
    return LogRange(tuple(tips), tuple(hidden))


_KINDS = {"refs/heads/": "", "refs/tags/": "tag: ", REJECTED: "refused: update/"}
"""Prefix of a ref that names a commit → how it is shown."""


def every_tip(repository: Repository) -> LogRange:
    """Return the whole history: all branches, tags and refused updates."""
    tips = [commit for prefix in _KINDS for commit in list_refs(repository, prefix).values()]
    return LogRange(tuple(dict.fromkeys(tips)))


def names_of_commits(repository: Repository) -> dict[CommitId, list[str]]:
    """Return what names a commit: ``HEAD → main``, ``tag: v1``, ``refused: update/ID``, …"""
    head = head_branch(repository)
    found: dict[CommitId, list[str]] = {}
    for prefix, kind in _KINDS.items():
        for name, commit in list_refs(repository, prefix).items():
            shown = kind + name.removeprefix(prefix)
            if name == head:
                found.setdefault(commit, []).insert(0, f"HEAD → {shown}")
            else:
                found.setdefault(commit, []).append(shown)
    return found
