"""Which refs and reflog entries have had their time, and what is reachable without them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pygit2

from adapterstore.history.housekeeping.durations import DAY
from adapterstore.store.reachable import Reach, follow, read_tips
from adapterstore.store.reflog_files import ReflogLine, read_reflogs
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import REJECTED


@dataclass(frozen=True)
class Ages:
    """How old things have to be to go, in seconds; None: they never do."""

    grace: float | None = 14 * DAY
    """Unreachable objects and leftover files, by when their file was last written or used."""
    reflog: float | None = 90 * DAY
    """Reflog entries."""
    unreachable: float | None = 30 * DAY
    """Reflog entries that name a commit which no ref reaches."""
    rejected: float | None = 30 * DAY
    """Rejected updates, by the date of their last commit."""


@dataclass
class Expired:
    """What goes, and what everything else reaches."""

    rejected: dict[str, str] = field(default_factory=dict)
    """Refs of rejected updates: name → the commit that each names."""
    reflogs: dict[str, list[ReflogLine]] = field(default_factory=dict)
    """Entries that go, by the ref's name."""
    reach: Reach = field(default_factory=Reach)


def find_expired(repository: Repository, ages: Ages, now: float) -> Expired:
    """Return what has expired at ``now`` (seconds since 1970); nothing is changed.

    Raises:
        CorruptStore: a ref names, or reaches, what is not here.
    """
    expired = Expired()
    tips = read_tips(repository)
    for name, target in tips.items():
        if name.startswith(REJECTED) and _is_over(ages.rejected, _date(repository, target), now):
            expired.rejected[name] = target
    kept = {name: target for name, target in tips.items() if name not in expired.rejected}
    follow(repository, kept.values(), expired.reach, strict=True)
    reachable = frozenset(expired.reach.git_objects)
    remembered: list[str] = []
    for name, lines in read_reflogs(repository).items():
        if name in expired.rejected:
            continue
        going = []
        for line in lines:
            lost = any(object_id not in reachable for object_id in line.ids[-1:])
            if line.time is not None and (
                _is_over(ages.reflog, line.time, now)
                or (lost and _is_over(ages.unreachable, line.time, now))
            ):
                going.append(line)
            else:
                remembered += line.ids
        if going:
            expired.reflogs[name] = going
    follow(repository, remembered, expired.reach, strict=False)
    return expired


def _is_over(age: float | None, then: float, now: float) -> bool:
    return age is not None and then <= now - age


def _date(repository: Repository, target: str) -> float:
    commit = repository.git[target].peel(pygit2.Commit)
    return float(commit.commit_time)
