"""Tables as CSV: a header row, then one row a record."""

from __future__ import annotations

import csv
import io

from adapterstore.errors import FactFileError
from adapterstore.knowledge.located import show_name
from adapterstore.knowledge.tables.table import Row, column_name


def parse_csv_table(text: str, name: str, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns and rows; cells without the whitespace around them.

    Raises:
        FactFileError: a row of another width than the header, a column twice, a stray quote.
    """
    # newline="": line breaks within quotes are the text's own.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                pass
            elif not columns:
                columns = tuple(map(column_name, stripped))
                check_columns(columns, name, line)
            elif len(stripped) != len(columns):
                problem = f"{len(stripped)} cells, but the header has {len(columns)}"
                raise FactFileError(name, problem, line)
            else:
                rows.append(Row(line, dict(zip(columns, stripped, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise FactFileError(name, f"not valid CSV: {error}", line) from error
    return columns, rows


def check_columns(columns: tuple[str, ...], name: str, line: int | None) -> None:
    """Check that every column has a name of its own.

    Raises:
        FactFileError: one has not.
    """
    for number, column in enumerate(columns, start=1):
        if not column:
            raise FactFileError(name, f"column {number} of the header has no name", line)
        if columns.index(column) != number - 1:
            raise FactFileError(name, f"the column {show_name(column)} stands here twice", line)
