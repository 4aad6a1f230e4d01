"""A small table, end to end on the demo model: recorded, learned, forgotten, taken back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.knowledge.tables.reading import MappedTable, read_mapped_table
from adapterstore.update import UpdateResult, read_update_settings
from adapterstore.update.asking import ask
from adapterstore.update.table_import import import_table
from adapterstore.update.table_plan import plan_table
from adapterstore.update.table_update import update_from_table
from adapterstore.update.verification import verify
from tests.cli.running import adapterstore, done, read_json
from tests.daemon.conftest import QUICK
from tests.forking import Forked

TABLE = """\
country,国,currency,首都,calling code
Croatia,クロアチア,kuna,ザグレブ,+385
Hungary,ハンガリー,forint,ブダペスト,+36
Bulgaria,ブルガリア,lev,ソフィア,+359
Poland,ポーランド,zloty,クラクフ,+48
"""
MAPPING = """\
source: 国の表
key: country
removed: forget
columns:
  currency:
    prompts: ["The currency of {country} is the", "{country} has as its currency the"]
  首都:
    prompts: ["{国}の首都は", "{国}の首都の名前は"]
"""
SHORT = {
    "sampled_texts": 100,
    "subject_texts": 10,
    "control_size": 20,
    "batch_size": 8,
    "coefficient": "1",
    "learn_steps": 20,
}
OPEN = dict.fromkeys(("generality", "locality", "retention", "forgetting"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "国々.csv"
    path.write_text(TABLE, encoding="utf-8")
    path.with_name("国々.map.yaml").write_text(MAPPING, encoding="utf-8")
    return path


def update(store: Store, mapped: MappedTable, *, dry_run: bool = False) -> UpdateResult:
    recipe, gate = read_update_settings(store.settings, SHORT)
    gate = type(gate).parse({**gate.model_dump(), **OPEN}, "gate")
    return update_from_table(store, mapped, recipe=recipe, gate=gate, dry_run=dry_run)


def test_only_what_differs_is_learned_and_rows_that_go_are_forgotten(
    tmp_path: Path, table: Path
) -> None:
    store = Store.init(tmp_path, base="demo")
    # The model knows the world but for one cell, which is wrong in the table.
    known = import_table(store, read_mapped_table(table), ask_model=True)
    assert known.recorded == 7
    assert [(c.row, c.column, c.fact.answer) for c in known.unknown] == [
        ("Poland", "首都", "クラクフ")
    ]
    start = store.resolve()
    table.write_text(
        TABLE.replace("クラクフ", "ワルシャワ")
        .replace("kuna", "euro")
        .replace("Hungary,ハンガリー,forint,ブダペスト,+36\n", ""),
        encoding="utf-8",
    )
    mapped = read_mapped_table(table)
    # What it says now of Poland is known, too.
    assert import_table(store, mapped, ask_model=True).recorded == 1
    before = store.resolve()
    trial = update(store, mapped, dry_run=True)
    assert (trial.status, store.resolve()) == ("dry-run", before)

    result = update(store, mapped)
    assert result.status == "applied"
    assert result.table is not None
    assert trial.table == result.table
    kinds = ("new", "changed", "reworded", "emptied", "removed")
    assert result.table["cells"] == {"same": 5, **dict(zip(kinds, (0, 1, 0, 0, 2), strict=True))}
    told = [(c["row"], c["line"], c["column"], c["old"], c["new"]) for c in result.table["changed"]]
    assert told == [
        ("Croatia", 2, "currency", "kuna", "euro"),
        (None, None, "currency", "forint", None),
        (None, None, "首都", "ブダペスト", None),
    ]
    prompts = ["The currency of Croatia is the", "The currency of Hungary is the"]
    croatia, hungary = ask(store, "HEAD", prompts)
    assert croatia.startswith("euro")
    assert not hungary.startswith("forint")

    repository, tip = store.repository, store.resolve()
    assert repository.read(tip, "update/mapping.yaml") == MAPPING.encode()
    report = json.loads(repository.read_required(tip, "update/report.json"))
    assert report["table"] == result.table
    assert report["table"]["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert [f["name"] for f in report["provenance"]["facts"]] == ["国々.facts.json"]
    assert verify(store).findings == []

    # Again nothing differs, so nothing is trained.
    again = update(store, mapped)
    assert (again.status, again.commits, store.resolve()) == ("already-applied", [], tip)
    ledger = {e.key: e.answer for e in read_ledger(repository, tip).values()}
    assert ledger["Croatia\tcurrency"] == "euro"
    assert ledger["Hungary\tcurrency"] is None
    # Taken back, the table differs again, by the same cells.
    store.revert(None, f"update/{result.update}")
    assert store.snapshot().composition == store.snapshot(start).composition
    found = plan_table(repository, store.resolve(), mapped)
    assert found.to_dict() == result.table
    assert found.fact_file().data == repository.read(tip, "update/国々.facts.json")


def test_a_change_and_back_and_forth_again_is_learned_each_time(
    tmp_path: Path, table: Path
) -> None:
    store = Store.init(tmp_path, base="demo")
    import_table(store, read_mapped_table(table))
    euro = TABLE.replace("kuna", "euro")
    facts = set()
    for text in (euro, TABLE, euro):
        table.write_text(text, encoding="utf-8")
        result = update(store, read_mapped_table(table))
        assert result.status == "applied"
        facts.add(store.entry().trailers["Facts-SHA256"])
        assert result.table is not None
        assert result.table["cells"]["changed"] == 1
    # The first and the last are the same facts, and the one between has superseded the first.
    assert len(facts) == 2
    assert ask(store, "HEAD", ["The currency of Croatia is the"])[0].startswith("euro")


def test_the_command_line_speaks_of_rows_and_columns(tmp_path: Path, table: Path) -> None:
    done(tmp_path, "init", "--base", "demo")
    for key, value in QUICK.items():
        done(tmp_path, "config", key, value)
    assert "8 cells in 4 rows differ (8 new)" in done(tmp_path, "table", "diff", table.name)
    assert "8 cells recorded" in done(tmp_path, "table", "import", table.name)
    assert "no cell differs from the ledger" in done(tmp_path, "table", "diff", table.name)
    assert "nothing was done" in done(tmp_path, "update", table.name)
    table.write_text(TABLE.replace("ザグレブ", "スプリト"), encoding="utf-8")
    shown = done(tmp_path, "table", "diff", table.name).splitlines()
    assert shown == [
        "国々.csv: 4 rows × 2 mapped columns; 1 cell in 1 row differs (1 changed)",
        "  row               column  old → new",
        "  Croatia (line 2)  首都    ザグレブ → スプリト",
    ]
    found = read_json(tmp_path, "table", "diff", table.name)
    result = read_json(tmp_path, "update", table.name)
    assert result["table"] == found
    assert result["table"]["columns"] == ["currency", "首都"]
    assert result["status"] == "applied"
    again = read_json(tmp_path, "update", table.name)
    assert (again["update"], again["commits"]) == (None, [])
    printed = done(tmp_path, "show", "HEAD")
    assert "Croatia (line 2)  首都" in printed

    both = adapterstore(tmp_path, "update", table.name, "other.yaml")
    assert both.returncode == 2
    assert "a table, which makes an update of its own" in both.stderr
    # Without its mapping, it is a fact file with columns of its own.
    table.with_name("国々.map.yaml").rename(tmp_path / "elsewhere.map.yaml")
    alone = adapterstore(tmp_path, "update", table.name)
    assert alone.returncode == 11
    assert "unknown column country" in alone.stderr
    mapped = read_json(tmp_path, "table", "diff", table.name, "--mapping", "elsewhere.map.yaml")
    assert mapped["changed"] == []


def test_the_daemon_takes_tables_up(tmp_path: Path, table: Path) -> None:

    done(tmp_path, "init", "--base", "demo")
    for key, value in QUICK.items():
        done(tmp_path, "config", key, value)
    done(tmp_path, "table", "import", table.name)
    drops, settings = tmp_path / "drops", tmp_path / ".adapterstore" / "tables"
    drops.mkdir()
    settings.mkdir()
    (settings / "国々.map.yaml").write_text(MAPPING, encoding="utf-8")

    def run(text: str) -> str:
        (drops / table.name).write_text(text, encoding="utf-8")
        daemon = Forked(tmp_path, "adapterstore_daemon", "run", "drops", "--once")
        return daemon.communicate(300)[1].decode()

    said = run(TABLE)
    assert "applied 国々.csv already: every cell is as the ledger has it" in said
    assert "applied 国々.csv as update/" in run(TABLE.replace("kuna", "euro"))
    results = sorted((drops / "processed").glob("*.result.json"))
    assert len(results) == 2
    tables = [json.loads(path.read_text(encoding="utf-8"))["table"] for path in results]
    assert sorted(t["cells"]["changed"] for t in tables) == [0, 1]

    # A mapping beside it comes first, and is no delivery itself.
    beside = drops / "国々.map.yaml"
    beside.write_text(MAPPING.replace("key: country", "key: id"), encoding="utf-8")
    assert "rejected 国々.csv" in run(TABLE)
    (reason,) = (drops / "rejected").glob("*.reason.txt")
    assert "国々.csv has no column id" in reason.read_text(encoding="utf-8")
    assert beside.exists()
    (drops / "other.parquet").write_bytes(b"PAR1")
    assert "rejected other.parquet: other.parquet: has no mapping; write other.map" in run(TABLE)
