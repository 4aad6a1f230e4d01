"""Tables on the command line: which argument is one, and how its changes are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterstore.counting import counted
from adapterstore.knowledge.tables.finding import TABLE_SUFFIXES, find_mappings
from adapterstore_cli.output import print_table, shorten
from adapterstore_cli.session import Session

if TYPE_CHECKING:
    from adapterstore.knowledge.tables.reading import MappedTable

_COLUMNS = 36
_SHOWN = 40
"""How many changed cells are listed; --json has all of them."""


def read_table(
    session: Session, files: tuple[str, ...], mapping: Path | None
) -> MappedTable | None:
    """Return the one table that was named (None: the files are native facts).

    Raises:
        click.UsageError: a table beside other files.
        FactFileError: the table or its mapping can't be used.
    """
    if mapping is None and not any(name.lower().endswith(TABLE_SUFFIXES) for name in files):
        # Native facts: their faults are told before the store is opened.
        return None
    folder = session.open().repository.folder
    mappings = find_mappings(map(Path, files), folder)
    tables = [name for name in files if mapping is not None or mappings[Path(name)] is not None]
    # A Parquet file is nothing but a table; that it has no mapping is said by whoever reads it.
    tables = tables or [name for name in files if name.lower().endswith(".parquet")]
    if not tables:
        return None
    if len(files) > 1:
        raise click.UsageError(f"{tables[0]} is a table, which makes an update of its own")
    from adapterstore.knowledge.tables.reading import read_mapped_table

    return read_mapped_table(Path(files[0]), mapping, folder)


def print_table_changes(table: dict[str, Any]) -> None:
    """Print which cells of a table differ from the ledger: row, column, old → new."""
    cells, changed = table["cells"], table["changed"]
    rows, columns = table["rows"], len(table["columns"])
    click.echo(
        f"{table['name']}: {counted(rows, 'rows')} × {counted(columns, 'mapped columns')}; "
        f"{_summary(cells, changed)}"
    )
    gone = table["removed_rows"]
    if gone["count"] and gone["meaning"] == "keep":
        click.echo(f"  {counted(gone['count'], 'rows')} gone from the table, kept (removed: keep)")
    listed = [
        [_row(change), shorten(change["column"], _COLUMNS), _answers(change)]
        for change in changed[:_SHOWN]
    ]
    if listed:
        print_table(["row", "column", "old → new"], listed, "  ")
    if len(changed) > _SHOWN:
        click.echo(f"  … and {len(changed) - _SHOWN:,} more (--json lists all)")


def _summary(cells: dict[str, int], changed: list[dict[str, Any]]) -> str:
    if not changed:
        return "no cell differs from the ledger"
    rows = len({(change["row"], change["subject"]) for change in changed})
    kinds = ", ".join(
        f"{cells[kind]:,} {kind}"
        for kind in ("new", "changed", "reworded", "emptied", "removed")
        # What an earlier version has recorded may lack one.
        if cells.get(kind)
    )
    verb = "differs" if len(changed) == 1 else "differ"
    return f"{counted(len(changed), 'cells')} in {counted(rows, 'rows')} {verb} ({kinds})"


def _row(change: dict[str, Any]) -> str:
    if change["row"] is None:
        return shorten(f"(gone) {change['subject']}", _COLUMNS)
    return shorten(f"{change['row']} (line {change['line']})", _COLUMNS)


def _answers(change: dict[str, Any]) -> str:
    if change["status"] == "reworded":
        return f"{shorten(change['new'], _COLUMNS)} (its prompt is another)"
    return f"{_answer(change['old'], 'old', change)} → {_answer(change['new'], 'new', change)}"


def _answer(answer: str | None, side: str, change: dict[str, Any]) -> str:
    if answer is not None:
        return shorten(answer, _COLUMNS)
    if side == "old" and change["status"] == "new":
        return "(not in the ledger)"
    return "(forgotten)"
