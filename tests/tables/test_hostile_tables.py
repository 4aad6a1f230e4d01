"""Whatever the bytes are, a table is read or refused in one documented way."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterstore.errors import FactFileError
from adapterstore.knowledge.tables.mapping import parse_mapping
from adapterstore.knowledge.tables.reading import MappedTable, map_table
from adapterstore.knowledge.tables.template import Template, TemplateError

MAPPING = parse_mapping(
    b"key: sku\ncolumns:\n  price: {prompts: ['{sku} costs'], answer: '{value:,.2f}'}\n",
    "c.map.yaml",
)


def attempt(data: bytes, name: str) -> MappedTable | None:
    try:
        return map_table(data, name, MAPPING)
    except FactFileError:
        return None


@given(st.text(alphabet='sku,price"\n\r1.5éAB;', max_size=60), st.booleans())
def test_any_csv_is_read_or_refused(text: str, with_header: bool) -> None:
    data = f"{'sku,price' + chr(10) if with_header else ''}{text}".encode()
    found = attempt(data, "t.csv")
    assert found is None or all(cell.fact.answer for cell in found.cells)


@given(st.text(alphabet='{}[]":,sku price1.5null\n', max_size=60))
def test_any_json_lines_are_read_or_refused(text: str) -> None:
    attempt(text.encode(), "t.jsonl")


@given(st.text(alphabet="{}ab:,.2f 1日", max_size=30))
def test_any_template_is_filled_or_refused(text: str) -> None:
    try:
        filled = Template.parse(text).fill(dict.fromkeys(Template.parse(text).columns, "12"))
    except TemplateError:
        return
    assert len(filled) <= 10 * len(text)


def test_damaged_parquet_is_read_or_refused(tmp_path: Path) -> None:
    rows = {"sku": [f"A{n}" for n in range(50)], "price": [n * 1.5 for n in range(50)]}
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    data = path.read_bytes()
    assert attempt(data, "t.parquet") is not None
    chooser = random.Random(7)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(chooser.choice([1, 2, 5])):
            damaged[chooser.randrange(len(damaged))] ^= 1 << chooser.randrange(8)
        refused += attempt(bytes(damaged), "t.parquet") is None
    assert refused > 500


def test_parquet_that_unpacks_to_far_more_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    number = 3_000_000
    columns = {
        "sku": pyarrow.nulls(number, pyarrow.string()),
        "price": pyarrow.nulls(number, pyarrow.string()),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(FactFileError, match="3,000,000 rows are too many at once"):
        map_table(path.read_bytes(), "t.parquet", MAPPING)
