"""CSV: a header row of field names, then one fact a row."""

from __future__ import annotations

import csv
import io
import re

from adapterstore.errors import FactFileError
from adapterstore.knowledge.located import Items, show_name

REQUIRED = ("prompt", "answer")
COLUMNS = (*REQUIRED, "old_answer", "subject", "relation", "paraphrases")
_BAR = re.compile(r"(?:^| )\|(?= |\Z)")
"""Between paraphrases: a bar with spaces around it. "<|user|>" is a text of its own."""


def parse_csv(text: str, name: str) -> Items:
    """Return the rows as native records; an empty cell of an optional column is a missing field.

    Paraphrases stand in one cell, with " | " between them.

    Raises:
        FactFileError: a header that names other columns, a row of another width, a stray quote, an
            answer of null, which may mean the word or that the fact is to be forgotten.
    """
    # newline="": line breaks within quotes are the text's own.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    items = Items()
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if not any(row):
                pass
            elif header is None:
                header = _check_header([cell.strip() for cell in row], name, line)
            else:
                if len(row) != len(header):
                    problem = f"{len(row)} cells, but the header has {len(header)}"
                    raise FactFileError(name, problem, line)
                record = _record(header, row)
                if str(record["answer"]).strip().lower() == "null":
                    problem = "null, which CSV can't tell from the word; say it in YAML or JSON"
                    raise FactFileError(name, problem, line, "answer")
                items.put(record, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise FactFileError(name, f"not valid CSV: {error}", line) from error
    return items


_MAPPING_HINT = "; a table of your own needs a mapping beside it, NAME.map.yaml (docs/tables.md)"


def _check_header(header: list[str], name: str, line: int) -> list[str]:
    for column in header:
        if column not in COLUMNS:
            problem = f"unknown column {show_name(column)}; the columns are {', '.join(COLUMNS)}"
            raise FactFileError(name, problem + _MAPPING_HINT, line)
        if header.count(column) > 1:
            raise FactFileError(name, f"the column {column} stands here twice", line)
    for column in REQUIRED:
        if column not in header:
            raise FactFileError(name, f"the header row has no column {column}", line)
    return header


def _record(header: list[str], row: list[str]) -> dict[str, object]:
    record: dict[str, object] = {}
    for column, cell in zip(header, row, strict=True):
        if cell or column in REQUIRED:
            record[column] = _paraphrases(cell) if column == "paraphrases" else cell
    return record


def _paraphrases(cell: str) -> list[str]:
    first, *others = _BAR.split(cell)
    texts = [first, *(text.removeprefix(" ") for text in others)]
    return [text for text in texts if text.strip()]
