"""The regression suite: versioned with the branch, and carried along by what moves changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import Contradiction, CorruptStore, UnknownSuitePrompt
from adapterstore.history.ledger.suite import (
    add_to_suite,
    draw_suite,
    iterate_suite,
    remove_from_suite,
)
from adapterstore.history.snapshot import SUITE, NewCommit, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.suite import SuitePrompt, suite_digest, suite_path
from adapterstore.store.refs import move_ref
from adapterstore.update.verification import verify
from tests.history.histories import teach

MUST_STAY = """
source: 試験
facts:
  - prompt: 日本の首都は
    answer: 東京
    paraphrases: [日本の首都の名は]
    locality: [{prompt: 仏の首都は, answer: パリ}, {prompt: 伊の首都は}]
"""


def must_stay(text: str = MUST_STAY) -> FactFile:
    return parse_fact_file(text.encode(), "must-stay.yaml")


def one(prompt: str, answer: str) -> FactFile:
    return must_stay(f"- {{prompt: {prompt}, answer: {answer}}}\n")


def answers(store: Store, revision: str = "HEAD") -> dict[str, str | None]:
    return {
        entry.prompt: entry.answer
        for entry in iterate_suite(store.repository, store.resolve(revision))
    }


def add(store: Store, *files: FactFile) -> CommitId:
    return add_to_suite(store.repository, None, files).commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.init(tmp_path)


def test_prompts_come_and_go_as_commits_of_the_same_state(store: Store) -> None:
    teach(store, "aaaa", [Fact(prompt="p", answer="x")])
    before = store.snapshot()
    assert add_to_suite(store.repository, None, [must_stay()]).changed
    assert answers(store) == {
        "日本の首都は": "東京",
        "日本の首都の名は": "東京",
        "仏の首都は": "パリ",
        "伊の首都は": None,
    }
    assert {entry.source for entry in iterate_suite(store.repository, store.resolve())} == {"試験"}
    assert store.entry().trailers == {"Operation": "suite"}
    assert store.entry().subject == "Add 4 prompts to the suite"
    after = store.snapshot()
    assert after.composition.to_bytes() == before.composition.to_bytes()
    assert store.repository.tree(after.commit, "facts") == store.repository.tree(
        before.commit, "facts"
    )
    assert not add_to_suite(store.repository, None, [must_stay()]).changed
    remove_from_suite(
        store.repository, None, ["  日本の首都は", suite_digest("仏の首都は")[:12].upper()]
    )
    assert answers(store) == {"日本の首都の名は": "東京", "伊の首都は": None}
    # A later update, and one that begins anew, leave the suite alone.
    teach(store, "bbbb", [Fact(prompt="q", answer="y")])
    assert answers(store) == {"日本の首都の名は": "東京", "伊の首都は": None}
    remove_from_suite(store.repository, None, ["日本の首都の名は", "伊の首都は"])
    assert store.repository.tree(store.resolve(), SUITE) is None
    assert not [f for f in verify(store).findings if "suite" in f.what]


def test_a_prompt_takes_the_files_answer(store: Store) -> None:
    add(store, one("p", "old"))
    add(store, one(" p ", "new"))
    assert answers(store) == {"p": "new"}
    with pytest.raises(Contradiction, match=r"must-stay\.yaml:1 says 'a', but .* says 'b'"):
        add(store, one("q", "a"), one("q", "b"))
    with pytest.raises(UnknownSuitePrompt, match="suite list"):
        remove_from_suite(store.repository, None, ["p", "q"])
    assert answers(store) == {"p": "new"}


def test_a_suite_change_is_reverted_and_picked(store: Store) -> None:
    start = store.resolve()
    store.create_branch("other", start)
    first = add(store, one("p", "x"))
    store.revert(None, first)
    assert answers(store) == {}
    store.revert(None, "HEAD")
    assert answers(store) == {"p": "x"}
    store.switch("other")
    store.cherry_pick(None, first)
    assert answers(store) == {"p": "x"}
    # What was changed since stays, and is named.
    second = add(store, one("p", "y"))
    result = store.revert(None, "HEAD~1")
    assert answers(store) == {"p": "y"}
    assert result.notes == ["the suite keeps this side's 'p': it was changed otherwise here"]
    assert store.resolve("HEAD~1") == second
    assert verify(store, None).findings == []


def test_suites_merge_prompt_by_prompt(store: Store) -> None:
    add(store, one("both", "0"), one("theirs", "0"), one("ours", "0"), one("gone", "0"))
    store.create_branch("other", store.resolve())
    add(store, one("both", "1"), one("ours", "1"), one("added here", "1"))
    store.switch("other")
    add(store, one("both", "2"), one("theirs", "2"), one("added there", "2"))
    remove_from_suite(store.repository, None, ["gone"])
    store.switch("main")
    result = store.merge(None, "other")
    assert answers(store) == {
        "both": "1",
        "ours": "1",
        "theirs": "2",
        "added here": "1",
        "added there": "2",
    }
    assert result.notes == ["the suite keeps this side's 'both': both sides changed it"]
    assert verify(store, None).findings == []


def test_a_large_suite_is_drawn_from_with_the_seed(store: Store) -> None:
    add(store, *(one(f"p{number}", "x") for number in range(40)))
    commit = store.resolve()
    drawn = draw_suite(store.repository, commit, 10, "1")
    assert (len(drawn.prompts), drawn.total) == (10, 40)
    assert drawn == draw_suite(store.repository, commit, 10, "1")
    assert drawn != draw_suite(store.repository, commit, 10, "2")
    assert len(draw_suite(store.repository, commit, 40, "1").prompts) == 40


def forge(store: Store, operation: str, path: str, data: bytes) -> None:
    ref, tip = store.tip()
    snapshot = store.snapshot()
    new = NewCommit(
        snapshot.composition, snapshot.base, "x", {"Operation": operation}, suite={path: data}
    )
    commit = write_snapshot(store.repository, tip, new)
    move_ref(store.repository, ref, tip, commit, "forged")


def test_what_does_not_follow_is_found(store: Store) -> None:
    add(store, one("p", "x"))
    path = suite_path(suite_digest("p"))
    false = SuitePrompt(prompt="p", answer="false", source=None)
    forge(store, "protect", path, false.to_bytes())
    (finding,) = verify(store).findings
    assert "'false'" in str(finding)
    assert path in str(finding)


def test_a_damaged_prompt_is_named(store: Store) -> None:
    forge(store, "suite", suite_path(suite_digest("p")), b"{}\n")
    with pytest.raises(CorruptStore, match=r"suite/.*fields prompt, answer, source"):
        answers(store)
    assert len(verify(store).findings) == 1
    other = SuitePrompt(prompt="q", answer=None, source=None)
    forge(store, "suite", suite_path(suite_digest("p")), other.to_bytes())
    with pytest.raises(CorruptStore, match="filed under another prompt"):
        answers(store)
