"""Mappings: what is understood, and that the first fault is named with line and field."""

from pathlib import Path

import pytest

from adapterstore.errors import FactFileError
from adapterstore.knowledge.tables.finding import find_mapping, find_mappings, is_mapping
from adapterstore.knowledge.tables.mapping import parse_mapping

COLUMN = "  price:\n    prompts: ['The price of {sku} is']\n"


def test_what_is_not_said_has_defaults() -> None:
    mapping = parse_mapping(f"key: sku\ncolumns:\n{COLUMN}".encode(), "shop/catalogue.map.yaml")
    assert (mapping.key, mapping.subject.columns) == ("sku", ("sku",))
    assert mapping.source == "catalogue"
    assert (mapping.removed, mapping.encoding, mapping.delimiter) == ("keep", "utf-8", ",")
    (column,) = mapping.columns
    assert (column.column, column.relation, column.empty) == ("price", "price", "skip")
    assert column.answer.fill({"value": "12"}) == "12"
    assert not column.protected


def test_japanese_columns_and_relations() -> None:
    text = (
        "key: 品番\nsubject: '{品番}番'\nempty: forget\ncolumns:\n  価格:\n    relation: 値段\n"
        "    prompts: ['{品番}の価格:', '{品番}はいくらですか。答え:']\n    answer: '{価格}円'\n"
        "    protected: true\n    empty: skip\n"
    )
    (column,) = parse_mapping(text.encode(), "商品.map.yaml").columns
    assert (column.relation, column.protected, column.empty) == ("値段", True, "skip")
    assert [p.fill({"品番": "7"}) for p in column.prompts] == [
        "7の価格:",
        "7はいくらですか。答え:",
    ]
    assert column.answer.fill({"価格": "1,200"}) == "1,200円"


@pytest.mark.parametrize(
    ("text", "line", "field", "problem"),
    [
        ("- key", None, None, "at least 'key:' and 'columns:'"),
        (f"columns:\n{COLUMN}", None, "key", "missing"),
        ("key: sku\n", None, "columns", "missing"),
        (f"key: sku\nsubjekt: x\ncolumns:\n{COLUMN}", 2, "subjekt", "did you mean subject?"),
        (f"key: sku\nremoved: drop\ncolumns:\n{COLUMN}", 2, "removed", "'forget' or 'keep'"),
        (f"key: sku\nencoding: utf-9\ncolumns:\n{COLUMN}", 2, "encoding", "'utf-8'"),
        ("key: sku\ncolumns:\n  price:\n    prompts: []\n", 4, "columns.price.prompts", "1 item"),
        (
            "key: sku\ncolumns:\n  price:\n    prompts: ['a {sku']\n",
            4,
            "columns.price.prompts[0]",
            "a single '{'",
        ),
        (
            "key: sku\ncolumns:\n  price:\n    prompts: ['{sku} costs', '{price} is']\n",
            4,
            "columns.price.prompts[1]",
            "would hold its answer",
        ),
        (
            f"key: sku\ncolumns:\n{COLUMN}    answer: '12 EUR'\n",
            5,
            "columns.price.answer",
            "write {value}",
        ),
        (
            f"key: sku\ncolumns:\n{COLUMN}  cost:\n    relation: price\n    prompts: [x]\n",
            5,
            "columns.cost",
            "that of the column 'price' too",
        ),
        (
            f"key: sku\ncolumns:\n{COLUMN}  cost:\n    relation: ' price  '\n    prompts: [x]\n",
            5,
            "columns.cost",
            "that of the column 'price' too",
        ),
        (f"key: *a\ncolumns:\n{COLUMN}", 1, None, "the alias \\*a is not allowed"),
    ],
)
def test_the_first_fault_is_named(
    text: str, line: int | None, field: str | None, problem: str
) -> None:
    with pytest.raises(FactFileError, match=problem) as caught:
        parse_mapping(text.encode(), "c.map.yaml")
    assert (caught.value.path, caught.value.field) == ("c.map.yaml", field)
    assert caught.value.line == line


def test_a_mapping_is_found_beside_its_table_then_in_the_stores_settings(tmp_path: Path) -> None:
    store, drops = tmp_path / "store", tmp_path / "drops"
    (store / "tables").mkdir(parents=True)
    drops.mkdir()
    table = drops / "商品.csv"
    assert find_mapping(table, store) is None
    in_store = store / "tables" / "商品.map.yaml"
    in_store.write_text("")
    assert find_mapping(table, store) == in_store
    assert find_mapping(table) is None
    beside = drops / "商品.map.yml"
    beside.write_text("")
    assert find_mapping(table, store) == beside
    assert is_mapping(beside.name)
    # Of the two endings the longer goes first.
    first = drops / "商品.map.yaml"
    first.write_text("")
    assert find_mapping(table, store) == first
    # YAML and JSON are fact files, never tables.
    assert find_mapping(drops / "商品.yaml", store) is None


@pytest.mark.parametrize("ending", [".map.yaml", ".MAP.YAML", ".Map.yml", ".map.YML"])
def test_what_is_a_mapping_by_its_name_is_found_as_one(tmp_path: Path, ending: str) -> None:
    """However its ending is written; the rest of the name is the table's, letter by letter."""
    store, drops = tmp_path / "store", tmp_path / "drops"
    for folder in (store / "tables", drops):
        folder.mkdir(parents=True)
        (folder / f"価格A{ending}").write_text("")
        assert is_mapping(f"価格A{ending}")
        table = drops / "価格A.CSV"
        assert find_mapping(table, store) == folder / f"価格A{ending}"
        assert find_mapping(drops / "価格a.csv", store) is None
    assert find_mappings([table, drops / "b.csv"]) == {
        table: drops / f"価格A{ending}",
        drops / "b.csv": None,
    }
