"""Tables in each format become the same rows; faults are named with line and column."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from adapterstore.errors import FactFileError, MissingLibrary
from adapterstore.knowledge.tables.mapping import TableMapping, parse_mapping
from adapterstore.knowledge.tables.reading import map_table, parse_table, read_mapped_table
from tests.tables.catalogue import COLUMNS, MAPPING, make_rows, to_csv

PLAIN = "key: sku\ncolumns:\n  price: {prompts: ['{sku} costs', 'The price of {sku} is']}\n"


def mapping(text: str = PLAIN) -> TableMapping:
    return parse_mapping(text.encode(), "c.map.yaml")


def parquet(columns: dict[str, object], folder: Path) -> bytes:
    path = folder / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path.read_bytes()


def test_csv_json_lines_and_parquet_are_one_table(tmp_path: Path) -> None:
    rows = make_rows(20, seed=1)
    records = [{"sku": key, **row} for key, row in rows.items()]
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
    columns = {name: [record[name] for record in records] for name in ("sku", *COLUMNS)}
    catalogue = parse_mapping(MAPPING, "c.map.yaml")
    tables = [
        map_table(data, name, catalogue)
        for data, name in (
            (to_csv(rows), "c.csv"),
            (lines, "c.jsonl"),
            (parquet(columns, tmp_path), "c.parquet"),
        )
    ]
    facts = [[cell.fact for cell in table.cells] for table in tables]
    assert facts[0] == facts[1] == facts[2]
    assert len(facts[0]) == 120
    assert [table.cells[-1].line for table in tables] == [21, 20, 20]
    origin = facts[0][5]
    assert origin.prompt == "商品P-0001の原産国:"
    assert origin.paraphrases == ("商品P-0001はどこで作られましたか。答え:",)
    assert (origin.subject, origin.relation) == ("product P-0001", "原産国")
    assert origin.answer == rows["P-0001"]["原産国"]
    assert [fact.protected for fact in facts[0][:6]] == [False] * 4 + [True, False]


def test_columns_have_their_names_however_unicode_writes_them(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "原産地が")
    found = mapping(f"key: sku\ncolumns:\n  {apart}: {{prompts: ['{{sku}} is']}}\n")
    assert apart != unicodedata.normalize("NFC", apart)
    line = json.dumps({"sku ": "A", apart: "x"}, ensure_ascii=False).encode()
    for data, name in (
        (f"sku, {apart} \nA,x\n".encode(), "t.csv"),
        (line, "t.jsonl"),
        (parquet({"sku": ["A"], apart: ["x"]}, tmp_path), "t.parquet"),
    ):
        (cell,) = map_table(data, name, found).cells
        assert (cell.fact.prompt, cell.fact.answer) == ("A is", "x")
    with pytest.raises(FactFileError, match="stands here twice"):
        map_table(b'{"sku": "A", "sku ": "B"}', "t.jsonl", found)


def test_a_table_that_is_not_there_is_not_told_to_have_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(FactFileError, match="No such file"):
        read_mapped_table(tmp_path / "t.csv")


def test_numbers_and_dates_are_read_as_they_are_written(tmp_path: Path) -> None:
    import datetime
    import decimal

    table = parse_table(
        b'{"sku": 7, "price": 1.20}\n{"sku": 8, "price": null}', "t.jsonl", mapping()
    )
    assert [dict(row.cells) for row in table.rows] == [
        {"sku": "7", "price": "1.20"},
        {"sku": "8", "price": ""},
    ]
    data = parquet(
        {
            "sku": [7],
            "price": [decimal.Decimal("1.20")],
            "day": [datetime.date(2026, 11, 25)],
            "share": pyarrow.array([0.1], pyarrow.float32()),
        },
        tmp_path,
    )
    every = PLAIN.replace("columns:", "subject: '{sku} {day} {share}'\ncolumns:")
    (row,) = parse_table(data, "t.parquet", mapping(every)).rows
    assert dict(row.cells) == {"sku": "7", "price": "1.20", "day": "2026-11-25", "share": "0.1"}


def test_encodings_and_delimiters_of_spreadsheets() -> None:
    japanese = mapping(PLAIN + "encoding: cp932\ndelimiter: ';'\n")
    table = parse_table("sku;price\n机;1,200円\n".encode("cp932"), "t.csv", japanese)
    assert dict(table.rows[0].cells) == {"sku": "机", "price": "1,200円"}
    wide = mapping(PLAIN + "encoding: utf-16\ndelimiter: '\\t'\n".replace("'\\t'", '"\\t"'))
    table = parse_table("sku\tprice\n机\t3\n".encode("utf-16"), "t.csv", wide)
    assert dict(table.rows[0].cells) == {"sku": "机", "price": "3"}
    table = parse_table(b"\xef\xbb\xbfsku,price\r\nA,3\r\n", "t.csv", mapping())
    assert table.columns == ("sku", "price")


@pytest.mark.parametrize(
    ("name", "data", "line", "column", "problem"),
    [
        ("t.csv", b"", None, None, "empty"),
        ("t.csv", b"sku,price\n", None, None, "no rows"),
        ("t.csv", b"sku,price\nA,1\nB\n", 3, None, "1 cells, but the header has 2"),
        ("t.csv", b"sku,price,sku\n", 1, None, "the column sku stands here twice"),
        ("t.csv", b"sku,,price\n", 1, None, "column 2 of the header has no name"),
        ("t.csv", b'sku,price\nA,"1\n', 2, None, "not valid CSV"),
        ("t.csv", b"sku,price\nA,\xff\n", 2, None, "not UTF-8 text"),
        ("t.csv", b"sku,price\nA,1\nB,2\nA,3\n", 4, "sku", "the key 'A' stands in line 2 too"),
        ("t.csv", b"sku,price\n,3\n", 2, "sku", "its cell is empty"),
        ("t.csv", b"sku,price\nA,\x07\n", 2, None, "control character U\\+0007"),
        ("t.csv", b'sku,price\nA,"1\n2"\n', 2, "price", "a line break; an answer is one line"),
        ("t.jsonl", b'{"sku": "A", "price": 1}\n[1]', 2, None, "not an object"),
        ("t.jsonl", b'{"sku": "A", "price": 1}\n{"sku": "B"}', 2, "price", "missing here"),
        ("t.jsonl", b'{"sku": "A"}\n{"sku": "B", "price": 1}', 2, "price", "no such column"),
        ("t.jsonl", b'{"sku": "A", "price": true}', 1, "price", "neither a text nor a number"),
        ("t.jsonl", b'{"sku": "A", "price": "\\u0007"}', 1, "price", "control character"),
        ("t.jsonl", b'{"sku": "A", "price": 1}\n{"sku": "B", "price": NaN}', 2, None, "NaN is not"),
        ("t.jsonl", b'{"sku": "A", "price": -Infinity}', 1, None, "-Infinity is not JSON"),
        ("t.parquet", b"PAR1 is not enough", None, None, "not valid Parquet"),
        ("t.xlsx", b"x", None, None, "not a table by its name"),
    ],
)
def test_faults_of_a_table(
    name: str, data: bytes, line: int | None, column: str | None, problem: str
) -> None:
    with pytest.raises(FactFileError, match=problem) as caught:
        map_table(data, name, mapping())
    assert (caught.value.path, caught.value.line, caught.value.field) == (name, line, column)


def test_parquet_cells_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    data = parquet({"sku": ["A"], "price": [[1, 2]]}, tmp_path)
    with pytest.raises(FactFileError, match="cells of type list") as caught:
        map_table(data, "t.parquet", mapping())
    assert caught.value.field == "price"


@pytest.mark.parametrize("kind", [pyarrow.float16(), pyarrow.float32(), pyarrow.float64()])
def test_nan_is_an_empty_cell_and_what_is_infinite_is_refused(
    kind: pyarrow.DataType, tmp_path: Path
) -> None:
    prices = np.array([1.5, -np.nan, np.nan], kind.to_pandas_dtype())
    data = parquet({"sku": ["A", "B", "C"], "price": pyarrow.array(prices)}, tmp_path)
    assert [(c.row, c.fact.answer) for c in map_table(data, "t.parquet", mapping()).cells] == [
        ("A", "1.5")
    ]
    prices[2] = -np.inf
    data = parquet({"sku": ["A", "B", "C"], "price": pyarrow.array(prices)}, tmp_path)
    with pytest.raises(FactFileError, match="-inf is no answer") as caught:
        map_table(data, "t.parquet", mapping())
    assert (caught.value.line, caught.value.field) == (3, "price")
    # A text is what it says.
    data = parquet({"sku": ["A"], "price": ["nan"]}, tmp_path)
    assert map_table(data, "t.parquet", mapping()).cells[0].fact.answer == "nan"


def test_columns_that_the_mapping_does_not_name_may_hold_anything(tmp_path: Path) -> None:
    others = {"value": [1, 2], "tags": {"a": None}, "stocked": True}
    lines = json.dumps({"sku": "A", "price": "3", **others}).encode()
    columns = {
        **{"sku": ["A"], "price": ["3"]},
        **{"value": [[1, 2]], "tags": [{"a": 1}], "stocked": [True]},
        **{"ratio": [float("inf")], "image": [b"\xff"]},
    }
    for data, name in ((lines, "t.jsonl"), (parquet(columns, tmp_path), "t.parquet")):
        table = map_table(data, name, mapping())
        assert [cell.fact.answer for cell in table.cells] == ["3"]
        assert {"value", "tags", "stocked"} < set(table.table.columns)
        with pytest.raises(FactFileError) as caught:
            map_table(data, name, mapping(PLAIN + "subject: '{tags}'\n"))
        assert caught.value.field == "tags"


def test_parquet_without_pyarrow_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'adapterstore\[parquet\]'"):
        map_table(b"PAR1", "t.parquet", mapping())


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        (PLAIN.replace("key: sku", "key: id"), "key", "t.csv has no column id; it has sku, price"),
        (PLAIN + "subject: '{name}'\n", "subject", "no column name"),
        (PLAIN.replace("  price:", "  cost:"), "columns.cost", "no column cost"),
        (PLAIN.replace("The price of {sku}", "{nm}"), "columns.price.prompts[1]", "no column nm"),
        (
            PLAIN.replace("is']}", "is'], answer: '{value} {unit}'}"),
            "columns.price.answer",
            "no column unit",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_the_table(text: str, field: str, problem: str) -> None:
    with pytest.raises(FactFileError, match=problem) as caught:
        map_table(b"sku,price\nA,1\n", "t.csv", mapping(text))
    assert (caught.value.path, caught.value.field) == ("c.map.yaml", field)


@pytest.mark.parametrize("which", [0, 1])
def test_a_prompt_that_would_ask_for_two_cells_is_refused(which: int) -> None:
    prompts = ["'{sku} costs'", "'The price of {sku} is'"]
    prompts[which] = "'The price is'"
    text = f"key: sku\ncolumns:\n  price: {{prompts: [{', '.join(prompts)}]}}\n"
    with pytest.raises(FactFileError, match="'The price is' asks for the cell of line 2") as caught:
        map_table(b"sku,price\nA,1\nB,1\n", "t.csv", mapping(text))
    assert (caught.value.line, caught.value.field) == (3, "price")


def test_two_rows_of_one_subject_are_refused() -> None:
    text = PLAIN + "subject: '{name}'\n"
    with pytest.raises(FactFileError, match="the subject 'Lamp' stands in line 2 too"):
        map_table(b"sku,name,price\nA,Lamp,1\nB,Lamp,2\n", "t.csv", mapping(text))


def test_empty_cells_are_left_out_unless_they_mean_something() -> None:
    data = b"sku,price\nA,\nB,2\n"
    assert [cell.row for cell in map_table(data, "t.csv", mapping()).cells] == ["B"]
    cells = map_table(data, "t.csv", mapping(PLAIN + "empty: forget\n")).cells
    assert [(cell.row, cell.fact.answer) for cell in cells] == [("A", None), ("B", "2")]


def test_a_table_without_a_mapping_says_how_it_gets_one(tmp_path: Path) -> None:
    (tmp_path / "商品.parquet").touch()
    with pytest.raises(FactFileError, match=r"write 商品\.map\.yaml beside it"):
        read_mapped_table(tmp_path / "商品.parquet")


def test_cells_are_read_as_fact_files_are(tmp_path: Path) -> None:
    """So that a table that is imported and one that is learned ask the same prompts."""
    text = unicodedata.normalize("NFD", "sku,price\nMüller,Ärger\n")
    [cell] = map_table(text.encode(), "t.csv", mapping()).cells
    fact = cell.fact
    assert unicodedata.is_normalized("NFC", f"{fact.prompt}{fact.answer}{fact.paraphrases[0]}")
