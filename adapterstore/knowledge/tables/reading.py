"""Read a table and its mapping."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath

from adapterstore.errors import FactFileError
from adapterstore.knowledge.formats import decode_text, read_regular_file
from adapterstore.knowledge.tables.cells import Cell, map_cells
from adapterstore.knowledge.tables.csv_table import parse_csv_table
from adapterstore.knowledge.tables.finding import TABLE_SUFFIXES, find_mapping
from adapterstore.knowledge.tables.json_lines_table import parse_json_lines_table
from adapterstore.knowledge.tables.mapping import TableMapping, read_mapping
from adapterstore.knowledge.tables.parquet_table import parse_parquet_table
from adapterstore.knowledge.tables.table import MAXIMUM_CELLS, Table


@dataclass(frozen=True)
class MappedTable:
    """A table, its mapping, and the facts that its cells are."""

    table: Table
    mapping: TableMapping
    cells: tuple[Cell, ...]
    subjects: tuple[str, ...]
    """Of the rows, in their order."""


def read_mapped_table(
    path: Path, mapping: Path | None = None, store_folder: Path | None = None
) -> MappedTable:
    """Return the table of a file, mapped.

    Args:
        path: the table.
        mapping: its mapping (None: found by its name, see `find_mapping`).
        store_folder: of a store that may have the mapping in its settings.

    Raises:
        FactFileError: no mapping, or a fault of either file, with line and column.
        MissingLibrary: Parquet without pyarrow.
    """
    name = str(path).encode(errors="replace").decode()
    _suffix(name)
    data = read_regular_file(path, name)
    found = mapping or find_mapping(path, store_folder)
    if found is None:
        raise unmapped(name)
    return map_table(data, name, read_mapping(found))


def map_table(data: bytes, name: str, mapping: TableMapping) -> MappedTable:
    """Return the table in a file's bytes, mapped.

    Raises:
        FactFileError: a fault of the table, or a mapping that does not fit it.
        MissingLibrary: Parquet without pyarrow.
    """
    table = parse_table(data, name, mapping)
    cells, subjects = map_cells(table, mapping)
    return MappedTable(table, mapping, tuple(cells), tuple(subjects))


def parse_table(data: bytes, name: str, mapping: TableMapping) -> Table:
    """Return the table in a file's bytes; the suffix of its name tells the format.

    Columns that the mapping does not name may hold anything: they are not read.

    Raises:
        FactFileError: the first fault, with its line and column.
        MissingLibrary: Parquet without pyarrow.
    """
    suffix = _suffix(name)
    if suffix == ".parquet":
        columns, rows = parse_parquet_table(data, name, mapping.named)
    else:
        text = decode_text(data, name, mapping.encoding)
        if suffix == ".csv":
            columns, rows = parse_csv_table(text, name, mapping.delimiter)
        else:
            columns, rows = parse_json_lines_table(text, name, mapping.named)
    if not rows:
        raise FactFileError(name, "no rows")
    if len(rows) * len(columns) > MAXIMUM_CELLS:
        raise FactFileError(name, f"more than {MAXIMUM_CELLS:,} cells; split it")
    digest = hashlib.sha256(data).hexdigest()
    return Table(name=name, columns=columns, rows=tuple(rows), digest=digest)


def unmapped(name: str) -> FactFileError:
    """Return the error of a table that has no mapping."""
    stem = PurePath(name).stem
    problem = f"has no mapping; write {stem}.map.yaml beside it, or name one (--mapping)"
    return FactFileError(name, problem)


def _suffix(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        problem = f"not a table by its name; it has to end in {', '.join(TABLE_SUFFIXES)}"
        raise FactFileError(name, problem)
    return suffix
