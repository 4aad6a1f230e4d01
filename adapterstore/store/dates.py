"""Dates of commits, tags and reflogs as values of a calendar."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pygit2

_FIRST_TIME, _LAST_TIME = -62_000_000_000, 253_000_000_000
"""Seconds from 1970 of the years 5 and 9987."""


def in_calendar(seconds: int) -> int:
    """Return the nearest time that a calendar has: git keeps years that none has."""
    return min(max(seconds, _FIRST_TIME), _LAST_TIME)


def date_of(by: pygit2.Signature) -> datetime:
    """Return when somebody signed, in the zone of that place."""
    return datetime.fromtimestamp(in_calendar(by.time), timezone(timedelta(minutes=by.offset)))
