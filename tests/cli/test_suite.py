"""suite, as processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from tests.cli.running import adapterstore, done, read_json

FILE = """
source: 試験
facts:
  - {prompt: 日本の首都は, answer: 東京}
  - {prompt: The capital of Italy is, answer: null}
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    Store.init(tmp_path, base="demo")
    (tmp_path / "試験.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def test_the_suite_is_added_to_listed_shown_and_removed_from(store: Path) -> None:
    said = done(store, "suite", "add", "試験.yaml")
    assert said.startswith("[main ")
    assert "Add 2 prompts to the suite" in said
    assert done(store, "suite", "add", "試験.yaml").startswith("nothing to do")
    rows = {row["prompt"]: row for row in read_json(store, "suite", "list")}
    assert rows["日本の首都は"]["answer"] == "東京"
    assert rows["日本の首都は"]["source"] == "試験"
    assert rows["The capital of Italy is"]["answer"] is None
    assert "(as before)" in done(store, "suite", "list")
    shown = done(store, "show")
    assert "suite:" in shown
    assert "  + '日本の首都は': 東京" in shown
    assert "  + 'The capital of Italy is': (as before)" in shown
    assert read_json(store, "log")[0]["operation"] == "suite"

    key = rows["日本の首都は"]["key"][:12]
    done(store, "suite", "remove", key, "-m", "もういい")
    assert [row["prompt"] for row in read_json(store, "suite", "list")] == [
        "The capital of Italy is"
    ]
    assert len(read_json(store, "suite", "list", "--at", "HEAD~1")) == 2
    (changed,) = read_json(store, "show")["suite"]
    assert (changed["before"]["answer"], changed["after"]) == ("東京", None)
    done(store, "verify")
    done(store, "fsck")


def test_what_is_not_in_the_suite_cant_be_removed(store: Path) -> None:
    run = adapterstore(store, "suite", "remove", "The capital of Italy is")
    assert run.returncode == 4
    assert "no such prompt in the suite" in run.stderr
    assert "suite list" in run.stderr
    assert read_json(store, "suite", "list") == []


def test_the_gate_of_the_suite_is_a_setting(store: Path) -> None:
    done(store, "config", "gate.suite", "0.95")
    done(store, "config", "gate.locality_base", "0.8")
    run = adapterstore(store, "config", "gate.suite", "2")
    assert run.returncode != 0
    assert "gate.suite" in run.stderr
