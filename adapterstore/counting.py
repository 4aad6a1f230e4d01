"""Numbers of things, in words."""

from __future__ import annotations


def counted(count: int, things: str) -> str:
    """Return a number and what it is of, given in the plural: ``1 entry``, ``1,200 facts``."""
    one = f"{things[:-3]}y" if things.endswith("ies") else things.removesuffix("s")
    return f"{count:,} {one if count == 1 else things}"


def plural(thing: str) -> str:
    """Return the plural of what one thing is called: ``facts``, ``entries``."""
    return f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
