"""Tables as Parquet, through pyarrow (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adapterstore.errors import FactFileError, MissingLibrary
from adapterstore.knowledge.formats import MAXIMUM_BYTES
from adapterstore.knowledge.located import show_name
from adapterstore.knowledge.tables.csv_table import check_columns
from adapterstore.knowledge.tables.table import MAXIMUM_CELLS, Row, column_name

_MOST_UNPACKED = 16 * MAXIMUM_BYTES


def parse_parquet_table(
    data: bytes, name: str, wanted: Collection[str]
) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns, and rows of those wanted; values as the text that pyarrow writes of them.

    NaN, which is how data frames write that there is nothing, is an empty cell.

    Raises:
        MissingLibrary: pyarrow is not installed.
        FactFileError: not Parquet, too large when unpacked, or a wanted column of lists or
            mappings, or with an infinite number.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingLibrary("parquet", "pyarrow") from error
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        _check_size(file.metadata, name)
        content = file.read()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # Damage in the metadata is an OSError to pyarrow; names that are not UTF-8 are Python's.
        first = str(error).strip().partition("\n")[0]
        raise FactFileError(name, f"not valid Parquet: {first}") from error
    columns = tuple(column_name(str(column)) for column in content.column_names)
    check_columns(columns, name, None)
    texts = {
        column: _texts(values, name, column)
        for column, values in zip(columns, content.columns, strict=True)
        if column in wanted
    }
    return columns, [
        Row(number + 1, {column: found[number] for column, found in texts.items()})
        for number in range(content.num_rows)
    ]


def _texts(values: Any, name: str, column: str) -> list[str]:
    import pyarrow

    try:
        found = values.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowException as error:
        problem = f"cells of type {values.type} are no texts, numbers or dates"
        raise FactFileError(name, problem, field=show_name(column)) from error
    except UnicodeDecodeError as error:
        raise FactFileError(name, "not UTF-8 text", field=show_name(column)) from error
    texts = [str(text).strip() if text is not None else "" for text in found]
    if not pyarrow.types.is_floating(values.type):
        return texts
    for number, text in enumerate(texts, 1):
        if text.endswith("inf"):
            raise FactFileError(name, f"{text} is no answer", number, show_name(column))
    return ["" if text.endswith("nan") else text for text in texts]


def _check_size(metadata: Any, name: str) -> None:
    """Refuse what a small file would become when it is unpacked."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    too_large = sum(group.total_byte_size for group in groups) > _MOST_UNPACKED
    if too_large or metadata.num_rows * metadata.num_columns > MAXIMUM_CELLS:
        raise FactFileError(name, f"{metadata.num_rows:,} rows are too many at once; split it")
