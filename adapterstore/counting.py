"""Numbers of things, in words."""

from __future__ import annotations


def counted(count: int, things: str) -> str:
    """Return a number and what it is of, given in the plural: ``1 fact``, ``1,200 facts``."""
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"
