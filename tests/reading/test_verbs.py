"""``log``, ``show`` and ``diff`` of a history with a merge, a refused update and a revert."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from adapterstore.history.update_report import find_report
from tests.cli.running import done, read_json
from tests.reading.story import CROATIA, KAZAKHSTAN, Story


def log(story: Story, *arguments: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = read_json(story.folder, "log", *arguments)
    return entries


def test_the_graph_shows_the_merge(story: Story) -> None:
    lines = done(story.folder, "log", "--graph").splitlines()
    marks = [line.split(" ", 1)[0] for line in lines]
    assert marks[:3] == ["●", "●", "├─╮"]
    assert "├─╯" in marks
    assert "(HEAD → main)" in lines[0]
    assert [line for line in lines if line.startswith("│ ●") and "(topic)" in line]


def test_all_shows_refused_updates_too(story: Story) -> None:
    text = done(story.folder, "log", "--graph", "--all")
    (line,) = (line for line in text.splitlines() if "×" in line)
    assert f"refused: update/{story.updates['refused']}" in line
    assert story.commits["refused"] not in {e["commit"] for e in log(story)}
    every = {e["commit"] for e in log(story, "--all")}
    assert set(story.commits.values()) <= every
    assert every - {e["commit"] for e in log(story)} == {
        story.commits["refused"],
        *read_json(story.folder, "show", story.commits["refused"])["parents"],
    }


def test_stat_gives_the_updates_figures_once(story: Story) -> None:
    stats = {entry["commit"]: entry["stat"] for entry in log(story, "--stat")}
    report = find_report(story.store.repository, story.commits["euro"])
    assert report is not None
    figures = stats[story.commits["euro"]]["figures"]
    for name, figure in figures.items():
        score = report["report"][name]
        assert figure == {
            "right": score["right"],
            "asked": score["asked"],
            "value": round(score["right"] / score["asked"], 4),
        }
    assert "reliability" in figures
    forget = read_json(story.folder, "show", story.commits["euro"])["parents"][0]
    assert stats[forget]["figures"] == {}
    assert stats[story.commits["euro"]]["facts"]["added"] == 2
    assert stats[story.commits["revert"]]["facts"]["removed"] == 2
    assert stats[story.commits["merge"]]["facts"] == dict.fromkeys(
        ("added", "changed", "removed", "restated"), 0
    )
    assert stats[story.commits["init"]] == {
        "facts": stats[story.commits["merge"]]["facts"],
        "terms": 0,
        "norm": 0.0,
        "rank": 0,
        "figures": {},
    }


def test_norms_of_stat_are_those_of_diff(story: Story) -> None:
    for name in ("euro", "merge", "revert"):
        (entry,) = log(story, story.commits[name], "--stat", "-n1")
        diff = read_json(story.folder, "diff", entry["parents"][0], entry["commit"], "--modules")
        assert entry["stat"]["norm"] == pytest.approx(diff["total"]["norm_difference"], rel=1e-6)
        assert entry["stat"]["rank"] == max(m["rank_difference"] for m in diff["modules"])


def test_norms_are_read_once_and_then_need_no_library(story: Story) -> None:
    done(story.folder, "log", "--stat", "--all")
    code = (
        "import sys; from adapterstore_cli.main import cli\n"
        "cli.main(['log', '--stat', '--all', '--json'], standalone_mode=False)\n"
        "print('|'.join({m.partition('.')[0] for m in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=story.folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    loaded = set(run.stdout.splitlines()[-1].split("|"))
    assert not loaded & {"torch", "transformers", "peft", "numpy", "pydantic"}


def test_the_log_of_a_fact_follows_it_over_the_merge(story: Story) -> None:
    commits = [entry["commit"] for entry in log(story, "--fact", KAZAKHSTAN)]
    assert set(commits) == {story.commits[name] for name in ("merge", "nur-sultan", "astana")}
    # The answer that lost is found too, and where it was decided.
    assert {e["commit"] for e in log(story, "--fact", "ヌルスルタン")} == {
        story.commits["merge"],
        story.commits["nur-sultan"],
    }
    assert [e["commit"] for e in log(story, "--fact", "croatia")] == [
        story.commits["revert"],
        story.commits["euro"],
    ]
    lines = done(story.folder, "log", "--graph", "--fact", KAZAKHSTAN).splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["●", "├─╮", "│", "●"]


def test_filters_by_operation_and_file(story: Story) -> None:
    assert [e["commit"] for e in log(story, "--operation", "merge")] == [story.commits["merge"]]
    files = log(story, "--file", "首*")
    assert {e["update"] for e in files} == {story.updates["astana"]}
    assert log(story, "--since", "1 hour ago") == log(story)
    assert log(story, "--until", "2020-01-01") == []


def test_a_merge_is_shown_with_its_conflict(story: Story) -> None:
    shown = read_json(story.folder, "show", story.commits["merge"])
    assert shown["conflicts"] == [
        {"prompt": KAZAKHSTAN, "ours": "アスタナ", "theirs": "ヌルスルタン", "kept": "ours"}
    ]
    text = done(story.folder, "show", story.commits["merge"])
    assert f"Merge:  {story.commits['astana'][:12]} {story.commits['nur-sultan'][:12]}" in text
    assert f"{KAZAKHSTAN!r}: ours 'アスタナ', theirs 'ヌルスルタン' → ours" in text
    assert [t["left"] for t in shown["changed_terms"]] == ["0", "0"]


def test_an_update_is_shown_with_all_that_it_says(story: Story) -> None:
    name = f"update/{story.updates['refused']}"
    text = done(story.folder, "show", name)
    report = read_json(story.folder, "show", name)["report"]
    steps = ", ".join(f"{phase} {n} steps" for phase, n in report["training_steps"].items())
    for part in ("measured:", "forgetting: λ = ", f"work: {steps}, ", "refused:"):
        assert part in text
    assert all(reason in text for reason in report["reasons"])
    assert f"λ = {report['coefficient']}" in text
    (chosen,) = (line for line in text.splitlines() if line.endswith("←"))
    assert chosen.split()[0] == report["coefficient"]
    assert "Facts:  bad.yaml" in text
    assert "Source: refused <b>&." in text


def test_diff_has_sections_to_choose(story: Story) -> None:
    whole = read_json(story.folder, "diff", "topic", "main")
    assert set(whole) == {"left", "right", "summary", "facts", "terms", "modules", "total"}
    assert set(read_json(story.folder, "diff", "topic", "--facts")) == {
        "left",
        "right",
        "summary",
        "facts",
    }
    assert set(read_json(story.folder, "diff", "topic", "--stat")) == {"left", "right", "summary"}
    assert whole["summary"]["terms"] == len(whole["terms"])
    text = done(story.folder, "diff", "topic", "main")
    assert f"- {CROATIA!r}: 'euro' → (not in the ledger)" in text
    assert f"~ {KAZAKHSTAN!r}: 'ヌルスルタン' → 'アスタナ'" in text
    assert done(story.folder, "diff", "topic", "main", "--stat").splitlines()[0] == (
        "1 fact changed, 2 removed"
    )
    assert done(story.folder, "diff", "main", "main~1", "--facts").startswith("facts:\n  + ")
    assert done(story.folder, "diff", "main", "main") == "the states are equal\n"


def test_plain_git_reads_as_well(story: Story) -> None:
    git = ["git", "-C", str(story.store.repository.folder), "log", "--all"]
    run = subprocess.run(git, capture_output=True, encoding="utf-8", check=True)
    message = [line for line in run.stdout.splitlines() if line.startswith("    ")]
    assert max(len(line) for line in message if ": " not in line[:20]) <= 80
    found = subprocess.run(
        [*git, "--format=%(trailers:key=Update,valueonly,separator=%x2C)"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert set(found.stdout.split()) == set(story.updates.values())
