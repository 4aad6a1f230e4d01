"""Times as users write them: ``2w``, ``90d``, ``12h``, ``0``, ``never``."""

from __future__ import annotations

import re

from adapterstore.errors import InvalidSetting

DAY = 86400.0
_UNITS = {"w": 7 * DAY, "d": DAY, "h": 3600.0, "m": 60.0, "s": 1.0}
_TEXT = re.compile(r"([0-9]{1,6})([wdhms])")


def parse_duration(text: str, where: str) -> float | None:
    """Return a duration in seconds (None: ``never``); ``where`` names the option in errors.

    Raises:
        InvalidSetting: anything else than a whole number with w, d, h, m or s, ``0`` or ``never``.
    """
    if text == "never":
        return None
    if text == "0":
        return 0.0
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidSetting(
            where, f"{text[:40]!r} is no time; write it like 2w, 90d, 12h, 0, never"
        )
    return int(match[1]) * _UNITS[match[2]]
