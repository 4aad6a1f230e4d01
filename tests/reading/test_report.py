"""The report: nothing but what ``--json`` says, inert, and complete without any network."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.errors import UnknownRevision
from adapterstore.knowledge.tables.reading import read_mapped_table
from adapterstore.report import collect_report, render_page
from adapterstore.report.charts import HEAT_LEVELS, MOST_CURVES, draw_layers, heat_level
from adapterstore.report.layers import OTHER, layer_of
from adapterstore.report.page import MOST_LISTED, PAGE_SIZE
from adapterstore.update.table_update import update_from_table
from tests.cli.running import adapterstore, done, read_json
from tests.reading.html_page import Page
from tests.reading.story import CROATIA, HOSTILE, KAZAKHSTAN, NO_GATE, TINY, Story


@pytest.fixture(scope="module")
def content(story: Story) -> dict[str, Any]:
    result: dict[str, Any] = read_json(story.folder, "report", "topic")
    return result


@pytest.fixture(scope="module")
def html(story: Story, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the branch on which the hostile fact is in effect."""
    path = tmp_path_factory.mktemp("report") / "報告.html"
    assert str(path) in done(story.folder, "report", "topic", "-o", str(path))
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def value_at(content: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def test_the_page_carries_what_json_prints(page: Page, content: dict[str, Any]) -> None:
    assert json.loads("".join(page.with_id("content").text)) == content


def test_each_number_and_id_shown_is_that_of_json(page: Page, content: dict[str, Any]) -> None:
    elements = page.all("data")
    assert len(elements) > 150
    for element in elements:
        value = value_at(content, str(element.attributes["data-at"]))
        shown = "".join(element.text)
        if isinstance(value, str):
            assert element.attributes["value"] == value
            assert value.replace("T", " ").startswith(shown.replace("T", " "))
        else:
            assert float(str(element.attributes["value"])) == value
            number = re.fullmatch(r"([\d.,e+-]+)( [kMGT]?B)?", shown.replace("\u202f", ""))
            assert number, shown
            scale = {" B": 1, " kB": 1e3, " MB": 1e6, " GB": 1e9}.get(number[2], 1)
            assert float(number[1]) * scale == pytest.approx(value, rel=5e-3, abs=5e-3)


def test_no_number_stands_outside_of_such_an_element(page: Page) -> None:
    assert page.loose_text
    assert [text for text in page.loose_text if re.search(r"\d", text)] == []


def test_every_fact_update_and_commit_is_shown(page: Page, content: dict[str, Any]) -> None:
    shown = {element.attributes["data-at"] for element in page.all("data")}
    for number, fact in enumerate(content["facts"]):
        keys = {"prompt", "update", "commit", "time", "files/0"}
        keys |= {"after"} if fact["after"] is not None else set()
        keys |= {"old_answer/answer", "old_answer/origin"} if fact["old_answer"] else set()
        keys |= {"cell/column"} if fact["cell"] else set()
        assert {f"/facts/{number}/{key}" for key in keys} <= shown
    for number, update in enumerate(content["updates"]):
        for name in update["figures"]:
            for key in ("value", "right", "asked"):
                assert f"/updates/{number}/figures/{name}/{key}" in shown
        for place in range(len(update["curve"])):
            assert f"/updates/{number}/curve/{place}/old_answers" in shown
        for place in range(len(update["reasons"])):
            assert f"/updates/{number}/reasons/{place}" in shown
        for place in range(len(update["old_answers"])):
            for key in ("prompt", "old_answer", "origin"):
                assert f"/updates/{number}/old_answers/{place}/{key}" in shown
    for number in range(len(content["commits"])):
        assert f"/commits/{number}/commit" in shown
    for row, norms in enumerate(content["layers"]["norms"]):
        assert {f"/layers/norms/{row}/{column}" for column in range(len(norms))} <= shown


def test_its_figures_are_those_of_log_show_and_diff(story: Story, content: dict[str, Any]) -> None:
    log = read_json(story.folder, "log", "topic", "--stat", "--graph")
    own = [{k: v for k, v in commit.items() if k != "graph"} for commit in content["commits"]]
    assert own == log
    for update in content["updates"]:
        show = read_json(story.folder, "show", f"update/{update['update']}")
        report = show["report"]
        assert update["files"] == show["files"]
        assert update["curve"] == report["curve"]
        assert update["reasons"] == report["reasons"]
        assert update["old_answers"] == report["old_answers"]
        for name, figure in update["figures"].items():
            score = report["report"][name]
            assert (figure["right"], figure["asked"]) == (score["right"], score["asked"])
        first = show["parents"][0]
        if len({commit["update"] for commit in read_json(story.folder, "log", first, "-n1")}) == 1:
            before = read_json(story.folder, "show", first)
            start = before["parents"][0] if before["update"] == update["update"] else first
            diff = read_json(story.folder, "diff", start, show["commit"], "--modules")
            assert update["norm"] == pytest.approx(diff["total"]["norm_difference"], rel=1e-6)
    facts = read_json(story.folder, "diff", story.commits["init"], "topic", "--facts")["facts"]
    keys = set(facts[0])
    assert [{k: v for k, v in fact.items() if k in keys} for fact in content["facts"]] == facts


def test_layers_add_up_to_the_update(content: dict[str, Any]) -> None:
    norms = {update["number"]: update["norm"] for update in content["updates"]}
    columns = zip(*content["layers"]["norms"], strict=True)
    for number, column in zip(content["layers"]["updates"], columns, strict=True):
        assert sum(norm**2 for norm in column) ** 0.5 == pytest.approx(norms[number], rel=1e-9)


def test_text_of_a_fact_file_stays_text(page: Page, html: str, content: dict[str, Any]) -> None:
    assert HOSTILE in {fact["after"] for fact in content["facts"]}
    scripts = page.all("script")
    assert [script.attributes.get("type") for script in scripts] == ["application/json", None]
    assert not page.all("img")
    assert not [e for e in page.elements for name in e.attributes if name.startswith("on")]
    assert "<b>&" not in html
    cells = ["".join(e.text) for e in page.all("data") if e.attributes["value"] == HOSTILE]
    assert cells == [HOSTILE]
    # And if some text did get in, the page's policy runs no script but its own, by its hash.
    (policy,) = (
        str(meta.attributes["content"])
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules["script-src"])
    assert set(rules) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}


def test_the_script_is_the_one_that_the_policy_names(page: Page, html: str) -> None:
    import base64
    import hashlib

    (script,) = (e for e in page.all("script") if "type" not in e.attributes)
    digest = base64.b64encode(hashlib.sha256("".join(script.text).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "innerHTML" not in "".join(script.text)


def test_nothing_is_loaded_from_anywhere(page: Page, html: str) -> None:
    assert {e.name for e in page.elements} & {"link", "iframe", "object", "embed", "base"} == set()
    loads = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [e for e in page.elements if loads & set(e.attributes)]
    for element in page.elements:
        for name in ("href", "xlink:href"):
            target = element.attributes.get(name)
            assert target is None or target.startswith("#"), target
    urls = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert urls <= {"http://www.w3.org/1999/xlink"}, "only the name of a namespace"
    assert not re.search(r"url\((?!#)|@import|@font-face", html)


def test_colours_are_the_pages_own(html: str) -> None:
    charts = re.findall(r'<svg class="chart".*?</svg>', html, re.DOTALL)
    assert len(charts) >= 6
    for chart in charts:
        assert not re.search(r"(?:fill|stroke)\s*[:=]\s*\"?#", chart)
        assert "var(--grid)" in chart or "var(--heat-" in chart
    style = html[html.index("<style>") : html.index("</style>")]
    light, dark = style.split("prefers-color-scheme: dark", 1)
    for variable in set(re.findall(r"var\((--[a-z0-9-]+)\)", html)):
        assert f"{variable}:" in light, variable
        assert f"{variable}:" in dark, variable


def test_ids_are_unique_and_what_refers_to_one_finds_it(page: Page) -> None:
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        target = element.attributes.get("href") or element.attributes.get("xlink:href")
        assert target is None or target[1:] in ids


def points_of(html: str, gid: str) -> list[tuple[float, float]]:
    """Return the corners of the line that a chart draws under a name."""
    (group,) = re.findall(rf'<g id="{re.escape(gid)}">.*?<path d="([^"]*)"', html, re.DOTALL)
    numbers = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", group)
    return [(float(x), float(y)) for x, y in numbers]


def test_curves_are_drawn_to_scale(html: str, content: dict[str, Any]) -> None:
    drawn = 0
    for number, update in enumerate(content["updates"]):
        if not update["curve"]:
            continue
        old, control = (
            points_of(html, f"curve-{number}-{key}") for key in ("old_answers", "control")
        )
        heights = [y for _, y in (*old, *control)]
        values = [row[key] for key in ("old_answers", "control") for row in update["curve"]]
        pairs = dict(zip(values, heights, strict=True))
        # One value, one height; and the heights lie on a line that falls as shares grow.
        for value, height in zip(values, heights, strict=True):
            assert height == pytest.approx(pairs[value], abs=1e-4)
        lowest, highest = min(pairs), max(pairs)
        for value, height in pairs.items():
            if highest > lowest:
                share = (value - lowest) / (highest - lowest)
                expected = pairs[lowest] + share * (pairs[highest] - pairs[lowest])
                assert height == pytest.approx(expected, abs=1e-3)
                assert pairs[highest] < pairs[lowest]
        steps = {round(b[0] - a[0], 3) for a, b in pairwise(old)}
        assert len(steps) == 1
        drawn += 1
    assert drawn


def test_of_very_many_updates_the_newest_curves_are_drawn(content: dict[str, Any]) -> None:
    update = content["updates"][0]
    many = {**content, "updates": [{**update, "number": n} for n in range(1, MOST_CURVES + 3)]}
    html = render_page(many)
    Page(html)
    assert html.count('<svg class="chart"') == MOST_CURVES + len(update["figures"]) + 1
    assert "Drawn for the newest updates only" in html
    assert "Drawn for the newest updates only" not in render_page(content)


def test_the_heat_map_orders_norms() -> None:
    levels = [heat_level(norm, 4.0) for norm in (0, 1e-9, 0.25, 1, 2.25, 4)]
    assert levels == sorted(levels)
    assert (levels[0], levels[1], levels[-1]) == (0, 1, HEAT_LEVELS - 1)
    assert heat_level(0.0, 0.0) == 0
    chart = draw_layers({"layers": ["0", "1"], "updates": [7], "norms": [[0.0], [3.0]]})
    assert f"var(--heat-{HEAT_LEVELS - 1})" in chart
    assert "var(--heat-0)" in chart
    assert ">7<" in chart


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.self_attn.q_proj.weight", "12"),
        ("transformer.h.0.attn.c_attn.weight", "0"),
        ("gpt_neox.layers.3.mlp.weight", "3"),
        ("model.embed_tokens.weight", OTHER),
        ("lm_head.weight", OTHER),
    ],
)
def test_a_weight_is_of_a_layer(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_provenance_leads_to_the_file_and_the_commit(story: Story, content: dict[str, Any]) -> None:
    facts = {fact["prompt"]: fact for fact in content["facts"]}
    assert facts[CROATIA]["files"] == ["2023-<euro>.yaml"]
    assert facts[CROATIA]["commit"] == story.commits["euro"]
    assert facts[KAZAKHSTAN]["commit"] == story.commits["nur-sultan"]
    assert facts[CROATIA]["source"] == "euro <b>&"
    statuses = {update["files"][0]: update["status"] for update in content["updates"]}
    assert statuses == {
        "2023-<euro>.yaml": "applied",
        "bad.yaml": "refused",
        "topic.yaml": "applied",
    }


def test_each_old_answer_says_where_it_came_from(content: dict[str, Any]) -> None:
    facts = {fact["prompt"]: fact["old_answer"] for fact in content["facts"]}
    assert facts[CROATIA] == {"answer": "kuna", "origin": "file"}
    assert facts[KAZAKHSTAN]["origin"] == "model"
    for update in content["updates"]:
        counted = Counter(row["origin"] for row in update["old_answers"])
        assert {origin: n for origin, n in update["origins"].items() if n} == counted
    assert sum(sum(update["origins"].values()) for update in content["updates"]) >= 3


@pytest.fixture(scope="module")
def by_tables(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with two updates by one table: new cells; then one changed, and a row that went."""
    folder = tmp_path_factory.mktemp("tables")
    store = Store.init(folder, base="demo")
    mapping = (
        "source: coins\nkey: country\nremoved: forget\n"
        "columns:\n  coin:\n    prompts: ['The coin of {country} is the']\n"
        "  year 2:\n    prompts: ['In {country} it came in the year']\n"
    )
    (folder / "coins.map.yaml").write_text(mapping)
    for rows in ("A-1,kuna,1994\nB <b>,lev,\n", "A-1,euro,1994\n"):
        (folder / "coins.csv").write_text(f"country,coin,year 2\n{rows}")
        mapped = read_mapped_table(folder / "coins.csv", None, store.repository.folder)
        update_from_table(store, mapped, recipe=TINY, gate=NO_GATE)
    return store


def test_rows_and_columns_of_a_table_are_shown(by_tables: Store) -> None:
    content = collect_report(by_tables)
    html = render_page(content)
    page = Page(html)
    test_each_number_and_id_shown_is_that_of_json(page, content)
    test_no_number_stands_outside_of_such_an_element(page)
    test_every_fact_update_and_commit_is_shown(page, content)
    first, second = content["updates"]
    for update in (first, second):
        shown = read_json(by_tables.repository.folder.parent, "show", f"update/{update['update']}")
        recorded = shown["report"]["table"]
        assert update["table"] == {key: recorded[key] for key in update["table"]}
        assert update["old_answers"] == shown["report"]["old_answers"]
    counts = {"same": 0, "new": 3, "changed": 0, "reworded": 0, "emptied": 0, "removed": 0}
    assert first["table"]["cells"] == counts
    assert [(c["status"], c["row"], c["column"]) for c in second["table"]["changed"]] == [
        ("changed", "A-1", "coin"),
        ("removed", None, "coin"),
    ]
    assert second["origins"] == {"file": 0, "ledger": 2, "model": 0}
    facts = {fact["prompt"]: fact for fact in content["facts"]}
    coin = facts["The coin of A-1 is the"]
    assert coin["old_answer"] == {"answer": "kuna", "origin": "ledger"}
    assert coin["cell"] == {"table": "coins.csv", "row": "A-1", "line": 2, "column": "coin"}
    assert facts["The coin of B <b> is the"]["cell"]["row"] is None
    values = {e.attributes["data-at"]: "".join(e.text) for e in page.all("data")}
    number = content["facts"].index(coin)
    assert values[f"/facts/{number}/cell/row"] == "A-1"
    assert values["/updates/1/table/changed/0/line"] == "2"
    assert values["/updates/1/table/changed/0/old"] == "kuna"
    assert values["/updates/1/table/changed/1/subject"] == "B <b>"


def test_of_very_many_cells_the_first_are_listed(by_tables: Store) -> None:
    content = collect_report(by_tables)
    table = content["updates"][0]["table"]
    table["changed"] = [{**table["changed"][0], "line": n} for n in range(2, MOST_LISTED + 9)]
    page = Page(render_page(content))
    places = [str(element.attributes["data-at"]) for element in page.all("data")]
    listed = [p for p in places if re.fullmatch(r"/updates/0/table/changed/\d+/line", p)]
    assert len(listed) == MOST_LISTED


def test_what_was_reverted_says_so(story: Story) -> None:
    content = collect_report(story.store, "main")
    statuses = {update["update"]: update["status"] for update in content["updates"]}
    assert statuses == {
        story.updates["euro"]: "reverted",
        story.updates["refused"]: "refused",
        story.updates["astana"]: "applied",
        story.updates["nur-sultan"]: "applied",
    }
    assert content["counts"] == {
        "facts": 1,
        "commits": 8,
        "applied": 2,
        "reverted": 1,
        "refused": 1,
    }
    merge = next(c for c in content["commits"] if c["operation"] == "merge")
    assert len(merge["graph"]["targets"]) == 2


def test_a_range_shows_what_differs(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "range.html"
    done(story.folder, "report", "topic..main", "-o", str(target))
    content = read_json(story.folder, "report", "topic..main")
    assert [c["operation"] for c in content["commits"]] == ["revert", "merge", "learn"]
    diff = read_json(story.folder, "diff", "topic", "main", "--facts")
    assert [f["status"] for f in content["facts"]] == [f["status"] for f in diff["facts"]]
    assert {f["status"] for f in content["facts"]} == {"changed", "removed"}
    page = Page(target.read_text(encoding="utf-8"))
    shown = {e.attributes["data-at"]: "".join(e.text) for e in page.all("data")}
    (place,) = (n for n, f in enumerate(content["facts"]) if f["status"] == "changed")
    assert shown[f"/facts/{place}/before"] == "ヌルスルタン"
    assert shown[f"/facts/{place}/after"] == "アスタナ"
    assert [text for text in page.loose_text if re.search(r"\d", text)] == []


def test_the_same_history_gives_the_same_file(story: Story, html: str) -> None:
    assert render_page(collect_report(story.store, "topic")) == html


def test_ten_thousand_facts_are_a_page_at_a_time(story: Story) -> None:
    content = collect_report(story.store, "topic")
    fact = content["facts"][0]
    content["facts"] = [{**fact, "prompt": f"Prompt {number}"} for number in range(10_000)]
    content["counts"]["facts"] = 10_000
    page = Page(render_page(content))
    places = [str(element.attributes["data-at"]) for element in page.all("data")]
    rows = [place for place in places if re.fullmatch(r"/facts/\d+/prompt", place)]
    assert len(rows) == PAGE_SIZE
    assert len(json.loads("".join(page.with_id("content").text))["facts"]) == 10_000


def test_an_empty_store_and_an_empty_range(tmp_path: Path) -> None:
    done(tmp_path, "init")
    done(tmp_path, "report", "-o", "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert any("The ledger is empty" in text for text in page.loose_text)
    run = adapterstore(tmp_path, "report", "HEAD..HEAD", "-o", "no.html")
    assert run.returncode == UnknownRevision.exit_code
    assert not (tmp_path / "no.html").exists()
    assert adapterstore(tmp_path, "report").returncode == 2


def test_without_the_extra_it_says_what_to_install(story: Story, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from adapterstore_cli.main import main\n"
        f"sys.argv = ['adapterstore', 'report', '-o', {str(tmp_path / 'r.html')!r}]\n"
        "main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=story.folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 17
    (line,) = (line for line in run.stderr.splitlines() if "error:" in line)
    assert "pip install 'adapterstore[report]'" in line
    assert not (tmp_path / "r.html").exists()
