"""The content of a fact file as plain values that know the lines they were read from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

FieldPath = tuple[str | int, ...]
"""Names and positions that lead from the whole content to one value."""

CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no text has a use for: control characters (not tab and line breaks) and half characters."""

_SHOWN_NAME_LENGTH = 60


class Fields(dict[str, object]):
    """A mapping, with the line of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str | int, int] = {}

    def put(self, name: str, value: object, line: int) -> None:
        """Set a field that stands in ``line``."""
        self[name] = value
        self.lines[name] = line


class Items(list[object]):
    """A list, with the line of each item."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str | int, int] = {}

    def put(self, value: object, line: int) -> None:
        """Append an item that stands in ``line``."""
        self.lines[len(self)] = line
        self.append(value)


@dataclass(frozen=True)
class Number:
    """A JSON number as it was written: never a fact's text, since 1.20 would become 1.2."""

    text: str


def line_of(content: object, path: FieldPath) -> int | None:
    """Return the line of the value at ``path``, or of the closest one around it that is known."""
    line = None
    for step in path:
        if isinstance(content, Fields | Items):
            line = content.lines.get(step, line)
        content = _inside(content, step)
    return line


def format_path(path: FieldPath) -> str:
    """Return a path as a reader writes it, like ``facts[2].locality[0].prompt``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{show_name(step)}" if text else show_name(step)
    return text


def show_name(name: str) -> str:
    """Return a field's name fit for one line of a message, whatever a file calls it."""
    if re.fullmatch(r"\w[\w -]*", name) and len(name) <= _SHOWN_NAME_LENGTH:
        return name
    shown = name if len(name) <= _SHOWN_NAME_LENGTH else name[: _SHOWN_NAME_LENGTH - 1] + "…"
    # Escapes line breaks and what a terminal would act on.
    return json.dumps(shown, ensure_ascii=not shown.isprintable())


def _inside(content: object, step: str | int) -> object:
    if isinstance(content, dict):
        return content.get(step)
    if isinstance(content, Sequence) and isinstance(step, int) and step < len(content):
        return content[step]
    return None
