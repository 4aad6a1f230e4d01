"""Tables as JSON Lines: one object a row, the same fields in each."""

from __future__ import annotations

from collections.abc import Collection

from adapterstore.errors import FactFileError
from adapterstore.knowledge.json_content import parse_json_lines
from adapterstore.knowledge.located import Number, show_name
from adapterstore.knowledge.tables.csv_table import check_columns
from adapterstore.knowledge.tables.table import Row, column_name


def parse_json_lines_table(
    text: str, name: str, wanted: Collection[str]
) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns (those of the first row), and rows of those wanted; null: an empty cell.

    Numbers stay as they are written: 1.20 is not 1.2.

    Raises:
        FactFileError: a line that is no object, other fields than the first row's, or a list, a
            mapping, or true or false in a cell of a wanted column.
    """
    items = parse_json_lines(text, name)
    columns: tuple[str, ...] | None = None
    rows: list[Row] = []
    for number, fields in enumerate(items):
        line = items.lines[number]
        if not isinstance(fields, dict):
            raise FactFileError(name, "not an object; a row is one, column by column", line)
        names = tuple(map(column_name, fields))
        if columns is None or len(set(names)) < len(names):
            check_columns(names, name, line)
        columns = columns or names
        record = dict(zip(names, fields.values(), strict=True))
        for column in columns:
            if column not in record:
                problem = "missing here, but the first row has it; write null for an empty cell"
                raise FactFileError(name, problem, line, show_name(column))
        for column in record:
            if column not in columns:
                raise FactFileError(name, "the first row has no such column", line, column)
        cells = {
            column: _cell(record[column], name, line, column)
            for column in columns
            if column in wanted
        }
        rows.append(Row(line, cells))
    return columns or (), rows


def _cell(value: object, name: str, line: int, column: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case Number():
            return value.text
    problem = "neither a text nor a number; write it as a text, in quotes"
    raise FactFileError(name, problem, line, show_name(column))
