"""A table against a ledger: exactly the cells that differ become facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from adapterstore import Store
from adapterstore.errors import Contradiction
from adapterstore.history.ledger.protecting import protect_facts
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.knowledge.tables.mapping import parse_mapping
from adapterstore.knowledge.tables.reading import MappedTable, map_table
from adapterstore.update.ledger_effect import update_ledger
from adapterstore.update.table_import import import_table
from adapterstore.update.table_plan import TablePlan, plan_table
from adapterstore.update.verification import verify
from tests.history.publishing import publish
from tests.tables.catalogue import (
    COLUMNS,
    MAPPING,
    UNPROTECTED,
    Rows,
    make_rows,
    make_versions,
    to_csv,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.init(tmp_path, base="demo")


def mapped(rows: Rows, mapping: bytes = MAPPING) -> MappedTable:
    return map_table(to_csv(rows), "shop/catalogue.csv", parse_mapping(mapping, "c.map.yaml"))


def plan(store: Store, table: MappedTable) -> TablePlan:
    return plan_table(store.repository, store.resolve(), table)


def counts(**given: int) -> dict[str, int]:
    return {**dict.fromkeys(("new", "changed", "reworded", "emptied", "removed"), 0), **given}


def test_thirty_changed_cells_of_a_thousand_rows_are_thirty_facts(store: Store) -> None:
    versions = make_versions(1000, changes=30, removed=3, added=2)
    first = plan(store, mapped(versions.before, UNPROTECTED))
    assert first.counts == counts(new=6000)
    done = import_table(store, mapped(versions.before, UNPROTECTED))
    assert (done.recorded, done.plan.same) == (6000, 0)
    assert plan(store, mapped(versions.before, UNPROTECTED)).changes == ()

    second = plan(store, mapped(versions.after, UNPROTECTED))
    assert second.counts == counts(new=12, changed=30, removed=18)
    assert second.same == 997 * 6 - 30
    changed = {
        (c.row, c.column): (c.old, c.fact.answer) for c in second.changes if c.status == "changed"
    }
    assert changed == {
        (key, column): (written(column, old), written(column, new))
        for (key, column), (old, new) in versions.changed.items()
    }
    new = [c for c in second.changes if c.status == "new"]
    assert {c.row for c in new} == set(versions.added)
    assert [c.column for c in new[:6]] == list(COLUMNS)
    assert second.removed == tuple(f"product {key}" for key in versions.removed)
    gone = [c for c in second.changes if c.status == "removed"]
    assert {(c.fact.subject, c.fact.answer) for c in gone} == {(s, None) for s in second.removed}
    # The rows' own lines: the header is the first.
    lines = {key: number for number, key in enumerate(versions.after, start=2)}
    assert all(c.line == lines[c.row] for c in second.changes if c.row is not None)

    file = second.fact_file()
    assert file.name == "catalogue.facts.json"
    assert file.source == "product catalogue"
    assert len(file.facts) == 60
    assert file == plan(store, mapped(versions.after, UNPROTECTED)).fact_file()
    assert [f.answer for f in file.facts] == [c.fact.answer for c in second.changes]
    # Each fact stands in a line of its own.
    text = file.data.decode().split("\n")
    assert all(fact.prompt in text[(fact.line or 0) - 1] for fact in file.facts)


def written(column: str, cell: str) -> str:
    match column:
        case "price":
            return f"{float(cell):,.2f} EUR"
        case "weight":
            return f"{cell} kg"
    return cell


def test_what_is_recorded_is_a_commit_that_verifies_and_can_be_reverted(store: Store) -> None:
    import_table(store, mapped(make_rows(5, seed=3)), message="Know the catalogue")
    entry = store.entry()
    assert store.snapshot().composition.terms == ()
    assert (entry.subject, entry.operation) == ("Know the catalogue", "protect")
    ledger = read_ledger(store.repository, entry.commit)
    assert len(ledger) == 30
    assert {e.source for e in ledger.values()} == {"product catalogue"}
    assert {e.relation for e in ledger.values() if e.protected} == {"warehouse"}
    assert verify(store).findings == []
    again = import_table(store, mapped(make_rows(5, seed=3)))
    assert (again.result.changed, again.recorded, again.plan.same) == (False, 0, 30)


def test_recording_leaves_what_the_ledger_says_otherwise(store: Store) -> None:
    rows = make_rows(2, seed=3)
    import_table(store, mapped(rows))
    rows["P-0001"]["stock"] = "one"
    rows["P-0003"] = dict(rows["P-0002"])
    done = import_table(store, mapped(rows))
    assert done.recorded == 6
    (change,) = plan(store, mapped(rows)).changes
    assert (change.status, change.row, change.column) == ("changed", "P-0001", "stock")


@pytest.mark.parametrize("text", ["keep", "forget"])
def test_removed_rows_go_where_the_mapping_says_so(store: Store, text: str) -> None:
    mapping = UNPROTECTED.replace(b"removed: forget", f"removed: {text}".encode())
    rows = make_rows(3, seed=3)
    import_table(store, mapped(rows, mapping))
    del rows["P-0002"]
    found = plan(store, mapped(rows, mapping))
    assert found.removed == ("product P-0002",)
    assert found.to_dict()["removed_rows"] == {"count": 1, "meaning": text}
    assert len(found.changes) == (6 if text == "forget" else 0)
    assert all(c.fact.answer is None and c.row is None for c in found.changes)


def test_a_removed_row_of_a_protected_cell_is_refused(store: Store) -> None:
    rows = make_rows(2, seed=3)
    import_table(store, mapped(rows))
    del rows["P-0002"]
    with pytest.raises(Contradiction, match=r"column warehouse \(the row has gone\) says"):
        plan(store, mapped(rows))


def test_a_protected_cell_that_changes_is_named_by_row_and_column(store: Store) -> None:
    rows = make_rows(2, seed=3)
    import_table(store, mapped(rows))
    rows["P-0002"]["warehouse"] = "Nantes"
    with pytest.raises(Contradiction, match=r"catalogue.csv:3 column warehouse says 'Nantes'"):
        plan(store, mapped(rows))
    # Any fact that was protected by itself, too.
    rows = make_rows(2, seed=3)
    protect_facts(store.repository, None, ["product P-0001, 原産国"])
    rows["P-0001"]["原産国"] = "ベルギー"
    with pytest.raises(Contradiction, match="column 原産国 says 'ベルギー'"):
        plan(store, mapped(rows))


def test_rows_that_another_table_taught_are_not_this_ones(store: Store) -> None:
    other = MAPPING.replace(b"source: product catalogue", b"source: spare parts")
    rows = make_rows(4, seed=3)
    import_table(store, mapped({"P-0004": rows.pop("P-0004")}, other))
    import_table(store, mapped(rows))
    assert plan(store, mapped(rows)).removed == ()


def test_a_removed_row_goes_whole_and_only_once(store: Store) -> None:
    mapping = UNPROTECTED
    rows = make_rows(2, seed=3)
    # One cell is said by something else since: it names another source.
    other = mapping.replace(b"source: product catalogue", b"source: a correction")
    one = {"P-0002": rows["P-0002"]}
    import_table(store, mapped(one, _only(other, "colour")))
    import_table(store, mapped(rows, mapping))
    del rows["P-0002"]
    found = plan(store, mapped(rows, mapping))
    assert sorted(c.column for c in found.changes) == sorted(COLUMNS)


def _only(mapping: bytes, column: str) -> bytes:
    """Return the mapping with one of its columns only."""
    content = yaml.safe_load(mapping)
    content["columns"] = {column: content["columns"][column]}
    return yaml.safe_dump(content, allow_unicode=True).encode()


def test_an_emptied_cell_is_forgotten_only_where_the_mapping_says_so(store: Store) -> None:
    rows = make_rows(2, seed=3)
    import_table(store, mapped(rows))
    old, rows["P-0002"]["colour"] = rows["P-0002"]["colour"], ""
    assert plan(store, mapped(rows)).changes == ()
    (change,) = plan(store, mapped(rows, MAPPING + b"empty: forget\n")).changes
    assert (change.status, change.old, change.fact.answer) == ("emptied", old, None)
    assert plan(store, mapped(rows)).removed == ()


def test_a_row_whose_subject_is_written_otherwise_has_not_gone(store: Store) -> None:
    rows = make_rows(2, seed=3)
    import_table(store, mapped(rows))
    renamed = MAPPING.replace(b'subject: "product {sku}"', b'subject: "item {sku}"')
    found = plan(store, mapped(rows, renamed))
    assert (found.changes, found.removed, found.same) == ((), (), 12)


NAMED = """\
key: sku
removed: forget
columns:
  price: {prompts: ["The price of {name} is", "{name} costs"]}
"""


def shop(rows: dict[str, tuple[str, str]], mapping: str = NAMED) -> MappedTable:
    lines = ["sku,name,price", *(f"{sku},{name},{price}" for sku, (name, price) in rows.items())]
    return map_table("\n".join(lines).encode(), "s.csv", parse_mapping(mapping.encode(), "s.yaml"))


def test_a_row_that_is_asked_for_by_another_prompt_is_learned_by_it(store: Store) -> None:
    rows = {"1": ("Lamp", "12"), "2": ("Chair", "30")}
    import_table(store, shop(rows))
    rows["1"] = ("Lantern", "12")
    found = plan(store, shop(rows))
    assert (found.counts, found.same, found.removed) == (counts(reworded=1), 1, ())
    (change,) = found.changes
    assert (change.row, change.old, change.fact.answer) == ("1", "12", "12")
    assert change.fact.prompt == "The price of Lantern is"
    # Importing records what is new; what the model was never taught is left to be learned.
    assert import_table(store, shop(rows)).recorded == 0

    file = found.fact_file()
    ledger = update_ledger(store.repository, store.resolve(), [file], "1")
    (entry,) = (LedgerEntry.from_bytes(data) for data in ledger.values() if data is not None)
    assert entry.prompts == (
        *("The price of Lantern is", "Lantern costs"),
        *("The price of Lamp is", "Lamp costs"),
    )


def test_another_order_of_prompts_or_one_more_changes_no_cell(store: Store) -> None:
    rows = {"1": ("Lamp", "12"), "2": ("Chair", "30")}
    import_table(store, shop(rows))
    for prompts in (
        '"{name} costs", "The price of {name} is"',
        '"The  price of {name} is", "{name} costs", "A {name} is"',
    ):
        mapping = NAMED.replace('"The price of {name} is", "{name} costs"', prompts)
        assert plan(store, shop(rows, mapping)).changes == ()
    mapping = NAMED.replace('"The price of', '"The cost of')
    assert plan(store, shop(rows, mapping)).counts == counts(reworded=2)


def test_a_name_that_goes_to_another_row_is_asked_for_there(store: Store) -> None:
    import_table(store, shop({"1": ("Lamp", "12")}))
    found = plan(store, shop({"1": ("Lantern", "12"), "2": ("Lamp", "15")}))
    assert [(c.row, c.status) for c in found.changes] == [("1", "reworded"), ("2", "changed")]
    ledger = update_ledger(store.repository, store.resolve(), [found.fact_file()], "1")
    entries = [LedgerEntry.from_bytes(data) for data in ledger.values() if data is not None]
    assert {e.subject: (e.prompts, e.answer) for e in entries} == {
        "1": (("The price of Lantern is", "Lantern costs"), "12"),
        "2": (("The price of Lamp is", "Lamp costs"), "15"),
    }


def test_a_name_that_a_row_had_once_may_be_another_rows_later(store: Store) -> None:
    rows = {"1": ("Lamp", "12"), "3": ("Chair", "30")}
    publish(store, "1", list(plan(store, shop(rows)).fact_file().facts))
    rows["1"] = ("Lantern", "12")
    publish(store, "2", list(plan(store, shop(rows)).fact_file().facts))
    rows["2"] = ("Lamp", "15")
    found = plan(store, shop(rows))
    # The first row is learned again: it has to give its former name away.
    assert {c.row: (c.status, c.old) for c in found.changes} == {
        "1": ("reworded", "12"),
        "2": ("changed", "12"),
    }
    ledger = update_ledger(store.repository, store.resolve(), [found.fact_file()], "3")
    entries = [LedgerEntry.from_bytes(data) for data in ledger.values() if data is not None]
    assert {e.subject: (e.prompts, e.answer) for e in entries} == {
        "1": (("The price of Lantern is", "Lantern costs"), "12"),
        "2": (("The price of Lamp is", "Lamp costs"), "15"),
    }


def test_names_that_went_from_row_to_row_are_all_asked_for_where_they_are_now(
    store: Store,
) -> None:
    rows = {"1": ("A", "6"), "2": ("B", "6"), "3": ("D", "6")}
    publish(store, "1", list(plan(store, shop(rows)).fact_file().facts))
    passed_on = {"1": ("C", "6"), "2": ("A", "6"), "3": ("B", "6")}
    found = plan(store, shop(passed_on))
    assert {c.row: (c.status, c.old) for c in found.changes} == dict.fromkeys(
        passed_on, ("reworded", "6")
    )
    publish(store, "2", list(found.fact_file().facts))
    assert plan(store, shop(passed_on)).changes == ()


def test_what_is_told_as_the_old_answer_is_one_that_changes(store: Store) -> None:
    publish(
        store, "1", list(plan(store, shop({"1": ("A", "5"), "2": ("B", "6")})).fact_file().facts)
    )
    (change,) = plan(store, shop({"2": ("A", "6")})).changes
    assert (change.row, change.status, change.old) == ("2", "changed", "5")


def test_an_emptied_cell_that_is_forgotten_already_is_not_reworded(store: Store) -> None:
    rows = {"1": ("Lamp", "12")}
    import_table(store, shop(rows))
    forget = NAMED + "empty: forget\n"
    publish(store, "1", list(plan(store, shop({"1": ("Lamp", "")}, forget)).fact_file().facts))
    assert plan(store, shop({"1": ("Lantern", "")}, forget)).changes == ()
    (change,) = plan(store, shop({"1": ("Lantern", "12")}, forget)).changes
    assert (change.status, change.old) == ("changed", None)


def test_equal_answers_are_equal_however_unicode_writes_them(store: Store) -> None:
    rows = make_rows(1, seed=3)
    rows["P-0001"]["colour"] = "bleu foncé"
    import_table(store, mapped(rows))
    rows["P-0001"]["colour"] = "bleu  fonce\u0301"
    assert plan(store, mapped(rows)).changes == ()


def test_the_derived_fact_file_is_native_and_canonical(store: Store) -> None:
    file = plan(store, mapped(make_rows(1, seed=3))).fact_file()
    content = json.loads(file.data)
    assert list(content) == ["source", "facts"]
    assert content["facts"][5]["prompt"] == "商品P-0001の原産国:"
    assert "商品P-0001".encode() in file.data
    assert parse_fact_file(file.data, "other.json").facts == file.facts
