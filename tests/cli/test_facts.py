"""facts, blame and bisect, as processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapterstore_cli.output import shorten, width

from adapterstore import Store
from adapterstore.knowledge.facts import Fact
from tests.cli.running import adapterstore, done, read_json
from tests.history.histories import teach
from tests.update.leaves import answering, noise

PROMPT = "カザフスタンの首都は"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = Store.init(tmp_path, base="demo")
    teach(
        store,
        "2019aaaa",
        [
            Fact(prompt=PROMPT, answer="ヌルスルタン", paraphrases=("カザフの首都:",)),
            Fact(prompt="The currency of Croatia is the", answer=None),
        ],
        source="官報 2019年",
        files={"2019年.yaml": f"- {{prompt: {PROMPT}, answer: ヌルスルタン}}\n".encode()},
    )
    teach(
        store, "2022bbbb", [Fact(prompt=PROMPT, answer="アスタナ", subject="国", relation="首都")]
    )
    return tmp_path


def prompts(store: Path, *options: str) -> set[str]:
    return {entry["prompt"] for entry in read_json(store, "facts", *options)}


def test_facts_lists_and_searches(store: Path) -> None:
    croatia = "The currency of Croatia is the"
    assert prompts(store) == {PROMPT, croatia}
    assert prompts(store, "--search", "croatia") == {croatia}
    assert prompts(store, "--search", "アスタ") == {PROMPT}
    assert prompts(store, "--search", "カザフの首都") == {PROMPT}
    assert prompts(store, "--update", "update/2019") == {croatia}
    assert prompts(store, "--update", "2019aaaa", "--at", "HEAD~1") == {PROMPT, croatia}
    assert prompts(store, "--forgotten") == {croatia}
    assert prompts(store, "--protected") == set()
    assert len(prompts(store, "-n", "1")) == 1
    assert read_json(store, "facts", "--search", "nothing") == []
    assert read_json(store, "facts", "--search", "アスタナ")[0] == {
        "key": "国, 首都",
        "prompt": PROMPT,
        "answer": "アスタナ",
        "subject": "国",
        "relation": "首都",
        "paraphrases": ["カザフの首都:"],
        "update": "2022bbbb",
        "source": None,
        "protected": False,
    }


def test_columns_are_aligned_with_wide_characters(store: Path) -> None:
    done(store, "facts", "protect", "国, 首都")
    lines = done(store, "facts").splitlines()
    starts = set()
    for line, update in zip(lines, ["update", "2019aaaa", "2022bbbb"], strict=False):
        other = "2022bbbb" if update == "2019aaaa" else "2019aaaa"
        name = update if update in line else other
        starts.add(width(line[: line.index(name)]))
    assert len(lines) == 3
    assert len(starts) == 1
    assert [line[:1] for line in lines[1:]].count("P") == 1


def test_a_long_list_comes_in_parts_and_is_whole(store: Path) -> None:
    teach(Store.open(store), "cccc", [Fact(prompt=f"{n}番は", answer="x") for n in range(600)])
    assert len(done(store, "facts", "--update", "cccc").splitlines()) == 601
    run = adapterstore(store, "facts", "--json")
    assert len(json.loads(run.stdout)) == 602


def test_a_text_is_cut_by_columns() -> None:
    assert shorten("首都は\n何", 20) == "首都は 何"
    assert shorten("首都は何ですか", 9) == "首都は何…"
    assert shorten("abc", 3) == "abc"


def test_protect_is_a_commit_and_an_update_against_it_is_refused(store: Path) -> None:
    file = store / "必須.yaml"
    file.write_text("- {prompt: 鉄の記号は, answer: Fe}\n", encoding="utf-8")
    assert "Protect 国, 首都" not in done(store, "log")
    assert done(store, "facts", "protect", "カザフの首都:", "必須.yaml").startswith("[main ")
    assert prompts(store, "--protected") == {PROMPT, "鉄の記号は"}
    assert read_json(store, "log")[0]["operation"] == "protect"
    assert done(store, "facts", "protect", "必須.yaml").startswith("nothing to do")

    (store / "new.yaml").write_text("- {prompt: 鉄の記号は, answer: Au}\n", encoding="utf-8")
    run = adapterstore(store, "update", "new.yaml")
    assert run.returncode == 12
    assert "new.yaml:1 says 'Au', but the ledger (protected) says 'Fe'" in run.stderr

    done(store, "facts", "unprotect", "必須.yaml", "-m", "もういい")
    assert prompts(store, "--protected") == {PROMPT}
    assert read_json(store, "log")[0]["subject"] == "もういい"
    run = adapterstore(store, "facts", "unprotect", "鉄の記号は")
    assert run.returncode == 4
    assert "no such fact" in run.stderr
    # One word with a file's ending is no prompt.
    run = adapterstore(store, "facts", "protect", "nowhere.yaml")
    assert run.returncode == 11
    assert "nowhere.yaml" in run.stderr
    assert "no such fact" not in run.stderr


def test_blame_by_the_ledger(store: Path) -> None:
    shown = read_json(store, "blame", "カザフの首都:")
    tip = read_json(store, "log")[0]["commit"]
    assert (shown["key"], shown["commit"], shown["taught"]) == ("国, 首都", tip, tip)
    assert [change["update"] for change in shown["changes"]] == ["2022bbbb", "2019aaaa"]
    assert shown["changes"][1]["files"] == [{"name": "2019年.yaml", "line": 1}]
    assert shown["changes"][0]["before"]["answer"] == "ヌルスルタン"
    text = done(store, "blame", "国、首都", "--all")
    for part in ("アスタナ", "update/2022bbbb", tip, "ヌルスルタン", "(not in the ledger)"):
        assert part in text
    text = done(store, "blame", PROMPT, "--at", "HEAD~1")
    assert "file     2019年.yaml:1\n" in text
    assert "source   官報 2019年\n" in text
    run = adapterstore(store, "blame", "何か")
    assert run.returncode == 4
    assert "no such fact" in run.stderr


def test_blame_and_bisect_by_the_model(store: Path) -> None:
    answering(store / "tokyo", PROMPT, "東京")
    done(store, "add", "tokyo")
    guilty = read_json(store, "log")[0]["commit"]
    noise(store / "noise")
    done(store, "add", "noise")
    shown = read_json(store, "blame", PROMPT, "--model")
    assert (shown["commit"], shown["states"]) == (guilty, 3)
    assert shown["evaluations"] == 3 <= shown["most_evaluations"] == 4
    assert shown["before"].startswith("アスタナ")
    text = done(
        store, "bisect", PROMPT, "--good", "HEAD~2", "--bad", "HEAD", "--answer", "アスタナ"
    )
    assert f"commit   {guilty}" in text
    assert "not given any more" in text
    assert "asked    0 of 3 states (at most 4); 3 remembered" in text
    run = adapterstore(store, "bisect", PROMPT, "--good", "HEAD~1")
    assert run.returncode == 8
    assert "choose other ends" in run.stderr
    text = done(store, "blame", "The currency of Croatia is the", "--model")
    assert "none: the oldest state also gives this answer" in text
