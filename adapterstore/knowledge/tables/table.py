"""A table: named columns, and rows of text that know where they stand."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

MAXIMUM_CELLS = 5_000_000


def column_name(text: str) -> str:
    """Return a column's name as the mapping has it: in NFC, without spaces around."""
    return unicodedata.normalize("NFC", text).strip()


@dataclass(frozen=True)
class Row:
    """One row's cells, by column; an empty text is an empty cell."""

    line: int
    """Where it stands, from 1: a line of the file, or the number of the row in Parquet."""
    cells: Mapping[str, str]
    """Of all columns that the mapping names; others may be left out."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The content of one file."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    digest: str
    """SHA-256 (64 hex digits) of the file."""
