"""Which commits of a history are of interest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase

from adapterstore.errors import InvalidSetting
from adapterstore.history.ledger.factdiff import FactChange, facts_of_commit, resolutions
from adapterstore.history.log import LogEntry
from adapterstore.history.snapshot import NO_FACT_FILES, UPDATE
from adapterstore.store.repository import Repository

_AGO = re.compile(r"(\d{1,6}) (minute|hour|day|week)s? ago")


@dataclass(frozen=True)
class LogFilter:
    """What a commit has to meet, all of it; what is None or empty asks for nothing."""

    fact: str | None = None
    """In the prompt, subject, relation or an answer of a ledger fact that the commit changed, or
    about which a merge decided; case does not count."""
    operations: tuple[str, ...] = ()
    file: str | None = None
    """Name of a fact file of the commit's update; * and ? stand for any text and character."""
    since: datetime | None = None
    until: datetime | None = None
    author: str | None = None
    """In the author's name or address; case does not count."""

    def __bool__(self) -> bool:
        return self != LogFilter()

    def matches(self, repository: Repository, entry: LogEntry) -> bool:
        """Tell whether a commit meets it; what costs least is looked at first."""
        if self.operations and entry.operation not in self.operations:
            return False
        if self.since is not None and entry.time < self.since:
            return False
        if self.until is not None and entry.time > self.until:
            return False
        if self.author is not None and _folded(self.author) not in _folded(entry.author):
            return False
        if self.file is not None and not any(
            fnmatchcase(_composed(name), _composed(self.file))
            for name in fact_file_names(repository, entry)
        ):
            return False
        return self.fact is None or _touches(repository, entry, _folded(self.fact))


def fact_file_names(repository: Repository, entry: LogEntry) -> list[str]:
    """Return the names of the fact files that a commit's update was made from."""
    tree = repository.tree(entry.commit, UPDATE)
    if tree is None:
        return []
    return [str(item.name) for item in tree if str(item.name) not in NO_FACT_FILES]


def parse_time(text: str, *, end_of_day: bool = False, now: Callable[[], datetime]) -> datetime:
    """Return the time that a text names, in local time where it names no zone.

    Args:
        text: ISO 8601 (``2026-11-01``, ``2026-11-01T12:30+09:00``), or ``3 days ago`` (minutes,
            hours, days, weeks).
        end_of_day: take a date without a time as the last moment of that day, not the first.
        now: what time it is.

    Raises:
        InvalidSetting: neither.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now().astimezone() - timedelta(**{f"{ago[2]}s": int(ago[1])})
        moment = datetime.fromisoformat(text.strip())
        if end_of_day and len(text.strip()) <= len("2026-11-01"):
            moment = datetime.combine(moment, time.max)
        return moment.astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidSetting(
            f"time {text!r}", "write it like 2026-11-01, 2026-11-01T12:30 or '3 days ago'"
        ) from error


def _touches(repository: Repository, entry: LogEntry, wanted: str) -> bool:
    if any(
        wanted in _folded(text)
        for fact in facts_of_commit(repository, entry.commit)
        for text in _texts(fact)
    ):
        return True
    return any(
        wanted in _folded(text)
        for resolution in resolutions(repository, entry)
        for text in (resolution.prompt, resolution.ours, resolution.theirs)
        if text is not None
    )


def _texts(fact: FactChange) -> list[str]:
    texts = (fact.prompt, fact.subject, fact.relation, fact.before, fact.after)
    return [text for text in texts if text is not None]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _composed(text).casefold()
