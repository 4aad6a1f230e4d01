"""Templates: texts with a table's column names in braces, such as ``The price of {name} is``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FORMAT = re.compile(r",?(?:\.\d{1,2})?f|,")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
"""Written out and of bounded length: 1e999999999 would fill the memory when it is formatted."""


class TemplateError(ValueError):
    """A template that is none, or that a row can't fill."""


@dataclass(frozen=True)
class Field:
    """A column's name in braces, and how its number is written (empty: as the cell has it)."""

    column: str
    format: str = ""


@dataclass(frozen=True)
class Template:
    """Literal texts and fields, in their order."""

    parts: tuple[str | Field, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return the template that a text is; ``{{`` and ``}}`` stand for braces.

        After a colon, a field may name the format of a number: ``,`` and ``,.2f`` give 1,299 and
        1,299.00, as in Python.

        Raises:
            TemplateError: a single brace, or braces with nothing in them.
        """
        parts: list[str | Field] = []
        end = 0
        for token in _TOKEN.finditer(text):
            parts.append(text[end : token.start()])
            end = token.end()
            if token[0] in {"{{", "}}"}:
                parts.append(token[0][0])
            elif token[1] is None:
                raise TemplateError(f"a single '{token[0]}'; write it twice to mean the character")
            elif not token[1].strip():
                raise TemplateError("'{}' names no column")
            else:
                parts.append(_field(token[1].strip()))
        parts.append(text[end:])
        return cls(tuple(part for part in parts if part))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, in their order."""
        return tuple(dict.fromkeys(p.column for p in self.parts if isinstance(p, Field)))

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the text for a row's cells; only columns that `columns` names are read.

        Raises:
            TemplateError: a cell that is needed is empty, or no number where one is needed.
        """
        return "".join(part if isinstance(part, str) else _fill(part, cells) for part in self.parts)


def _field(text: str) -> Field:
    name, colon, written = text.rpartition(":")
    if colon and name.strip() and _FORMAT.fullmatch(written.strip()):
        return Field(name.strip(), written.strip())
    return Field(text)


def _fill(field: Field, cells: Mapping[str, str]) -> str:
    cell = cells[field.column]
    if not cell:
        raise TemplateError(f"{{{field.column}}} is needed here, and its cell is empty")
    if not field.format:
        return cell
    if not _NUMBER.fullmatch(cell):
        shown = cell if len(cell) <= 40 else f"{cell[:39]}…"
        raise TemplateError(
            f"{shown!r} is not a number written out, as {{{field.column}:{field.format}}} needs"
        )
    return format(Decimal(cell), field.format)
