"""branch, switch, merge, cherry-pick, reset, reflog and tag, as typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.knowledge.facts import Fact
from tests.cli.running import adapterstore, done, lora_folder, read_json
from tests.history.publishing import publish

A, B, C = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
KEY = {"subject": "クロアチア", "relation": "通貨"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done(folder, "init")
    for number, name in enumerate("abc", 1):
        lora_folder(folder / name, seed=number)
    done(folder, "commit", "a")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def conflicting(folder: Path) -> Store:
    store = Store.open(folder)
    store.create_branch("試み")
    publish(store, A, [Fact(prompt="クロアチアの通貨は", answer="ユーロ", **KEY)], "main")
    publish(store, B, [Fact(prompt="クロアチアの通貨は", answer="クーナ", **KEY)], "試み")
    return store


def test_a_session_over_two_branches(folder: Path) -> None:
    assert done(folder, "switch", "-c", "試み").startswith("on branch 試み at ")
    done(folder, "add", "b", "--scale", "0.5")
    done(folder, "branch", "third", "main")
    rows = done(folder, "branch", "-v").splitlines()
    assert [row.split()[0] for row in rows] == ["main", "third", "*"]
    assert len({row.index(row.split()[-3]) for row in rows if "Commit" in row}) == 1
    listed = read_json(folder, "branch")
    assert [(b["name"], b["current"]) for b in listed] == [
        ("main", False),
        ("third", False),
        ("試み", True),
    ]
    done(folder, "switch", "main")
    done(folder, "add", "c")
    plan = read_json(folder, "merge", "試み", "--dry-run")
    assert (plan["outcome"], len(plan["terms"]), plan["conflicts"]) == ("merge", 3, [])
    assert "Merge 試み" in done(folder, "merge", "試み")
    assert read_json(folder, "show")["terms"] == [
        {**term, "kind": "lora", "rank": 2, "bytes": shown["bytes"]}
        for term, shown in zip(plan["terms"], read_json(folder, "show")["terms"], strict=True)
    ]
    assert "nothing to do" in done(folder, "merge", "試み")
    assert "deleted branch 試み (was " in done(folder, "branch", "-d", "試み")
    done(folder, "branch", "-m", "trunk")
    assert done(folder, "switch", "third").startswith("on branch third")
    assert done(folder, "switch", "-").startswith("on branch trunk")
    done(folder, "cherry-pick", "HEAD~1", "--message", "unused")
    assert done(folder, "revert", "HEAD", "-m", "1").startswith("[trunk ")


def test_a_conflict_is_named_and_decided(folder: Path) -> None:
    conflicting(folder)
    run = adapterstore(folder, "merge", "試み")
    assert run.returncode == 16
    for part in ("クロアチア, 通貨", "ユーロ", "クーナ", f"update/{A}", f"update/{B}", "--ours"):
        assert part in run.stderr
    assert len(run.stderr.splitlines()) == 1
    dry = adapterstore(folder, "merge", "試み", "--dry-run")
    assert (dry.returncode, dry.stderr) == (16, "")
    assert "not decided: 'クロアチア, 通貨'" in dry.stdout
    wrong = adapterstore(folder, "merge", "試み", "--ours", "スロベニア")
    assert wrong.returncode == 16
    assert "'スロベニア' is not in conflict" in wrong.stderr
    plan = read_json(folder, "merge", "試み", "--dry-run", "--theirs", "クロアチア, 通貨")
    (conflict,) = plan["conflicts"]
    assert (conflict["ours"], conflict["theirs"], conflict["chosen"]) == (
        "ユーロ",
        "クーナ",
        "theirs",
    )
    done(folder, "merge", "試み", "--theirs", "クロアチア, 通貨")
    (fact,) = read_json(folder, "show")["facts"]
    assert (fact["before"], fact["after"]) == ("ユーロ", "クーナ")


def test_a_lossy_merge_says_so(folder: Path) -> None:
    done(folder, "branch", "side")
    done(folder, "add", "b")
    done(folder, "switch", "side")
    done(folder, "add", "c")
    output = done(folder, "merge", "main", "--method", "ties", "--density", "0.4")
    assert "ties is lossy" in output
    shown = read_json(folder, "show")
    assert shown["trailers"]["Method"] == "ties"
    assert '"density": "0.4"' in shown["trailers"]["Parameters"]
    assert [t["role"] for t in shown["terms"] if t["kind"] == "dense"] == ["merge"]
    text = done(folder, "show")
    for part in ("Method: ties", "Parameters: ", "Seed: 0", "Relative-Error: "):
        assert part in text
    done(folder, "export", "HEAD", "out", "--as", "delta")


def test_resets_and_reflogs(folder: Path) -> None:
    done(folder, "add", "b")
    tip = read_json(folder, "log")[0]["commit"]
    said = done(folder, "reset", "HEAD~1")
    assert said.startswith("main is now at ")
    assert f"it was at {tip[:12]}" in said
    entries = read_json(folder, "reflog", "main")
    assert (entries[0]["name"], entries[0]["before"]) == ("main@{0}", tip)
    assert "main@{1}" in done(folder, "reflog", "main", "-n", "2")
    done(folder, "reset", "main@{1}")
    assert read_json(folder, "log")[0]["commit"] == tip


def test_tags(folder: Path) -> None:
    done(folder, "tag", "v1", "-m", "最初の版")
    (tag,) = read_json(folder, "tag")
    assert (tag["name"], tag["message"]) == ("v1", "最初の版\n")
    assert "最初の版" in done(folder, "tag")
    done(folder, "reset", "v1")
    done(folder, "tag", "-d", "v1")
    assert done(folder, "tag") == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["branch", "a..b"], 10, "git takes no such name"),
        (["branch", "x" * 251], 10, "a part of it has more than 250 bytes"),
        (["branch", "main"], 15, "is there already"),
        (["branch", "-d", "main"], 15, "is the current branch"),
        (["branch", "-d", "side"], 15, "--force"),
        (["branch", "-d"], 2, "name of one branch"),
        (["branch", "-f", "x"], 2, "--force is for -d"),
        (["branch", "x", "nowhere"], 4, "nowhere"),
        (["switch", "nowhere"], 4, "no such branch"),
        (["switch", "main", "HEAD"], 2, "REV is for -c"),
        (["switch", "-"], 4, "no other branch before"),
        (["merge", "nowhere"], 4, "nowhere"),
        (["merge", "side", "--ff-only", "--no-ff"], 2, "exclude each other"),
        (["merge", "diverged", "--ff-only"], 15, "merge without --ff-only"),
        (["merge", "side", "--density", "0.5"], 2, "lossy methods"),
        (["merge", "diverged", "--method", "ties", "--density", "2"], 10, "at most 1"),
        (["merge", "diverged", "--method", "ties", "--weights", "1"], 10, "two numbers"),
        (["revert", "side"], 4, "not part of this branch's history"),
        (["revert", "merged"], 15, "-m 1 "),
        (["cherry-pick", "merged"], 15, "-m 2 "),
        (["revert", "main..main"], 4, "an empty range: 'main' has all commits of 'main'"),
        (["cherry-pick", "main..main~1"], 4, "an empty range: 'main' has all"),
        (["reset", "nowhere"], 4, "nowhere"),
        (["reset", "side", "--expect", "main~1"], 5, "from where it was to move"),
        (["revert", "main", "--expect", "main~1"], 5, "from where it was to move"),
        (["reflog", "nowhere"], 4, "no such branch"),
        (["tag", "-d", "nowhere"], 4, "no such tag"),
        (["tag", "-m", "text"], 2, "name a tag"),
    ],
)
def test_what_is_refused_is_told_in_one_line(
    crossed: Path, arguments: list[str], code: int, says: str
) -> None:
    before = read_json(crossed, "branch")
    run = adapterstore(crossed, *arguments)
    assert (run.returncode, run.stdout) == (code, "")
    assert says in run.stderr
    assert "Traceback" not in run.stderr
    assert read_json(crossed, "branch") == before


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crossed")
    store = Store.init(folder)
    store.commit(None, lora_folder(folder / "a", seed=1))
    for name in ("side", "diverged", "merged"):
        store.create_branch(name)
    lora_folder(folder / "b", seed=2)
    store.add("side", folder / "b")
    store.add("diverged", folder / "b", coefficient="2")
    store.add("merged", folder / "b", coefficient="3")
    store.merge("merged", "diverged")
    store.add("main", folder / "b", coefficient="4")
    return folder


def test_a_merge_says_which_update_it_leaves_out(folder: Path) -> None:
    store = conflicting(folder)
    done(folder, "merge", "試み", "--ours", "all")
    assert f"both sides did it:\n  update/{B}\n" in done(folder, "show")
    publish(store, C, [Fact(prompt="P", answer="1")], "試み", store.snapshot().composition)
    store.cherry_pick("main", f"update/{C}")
    plan = done(folder, "merge", "試み", "--dry-run")
    tip = store.resolve("試み")
    assert f"both sides did it, and it counts once: {tip[:12]}" in plan
    done(folder, "merge", "試み")
    assert f"both sides did it:\n  commit {tip}\n" in done(folder, "show")
