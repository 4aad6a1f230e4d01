"""Protecting is a commit that changes the ledger and no weight."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import Contradiction, RefMoved, UnknownFact
from adapterstore.history.ledger.protecting import protect_facts, unprotect_facts
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.knowledge.formats import parse_fact_file
from tests.history.histories import teach

MUST_HOLD = "- {prompt: 鉄の記号は, answer: Fe}\n- {prompt: 首都は, answer: x, paraphrases: [o]}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [Fact(prompt="首都は", answer="x", paraphrases=("首都:",))])
    return store


def must_hold(text: str = MUST_HOLD) -> FactFile:
    return parse_fact_file(text.encode(), "must-hold.yaml")


def protected(store: Store) -> dict[str, bool]:
    ledger = read_ledger(store.repository, store.resolve())
    return {entry.prompt: entry.protected for entry in ledger.values()}


def test_protecting_and_taking_it_back_are_commits_of_the_same_state(store: Store) -> None:
    before = store.snapshot()
    result = protect_facts(store.repository, None, ["首都:"])
    assert result.changed
    assert protected(store) == {"首都は": True}
    assert store.entry().trailers == {"Operation": "protect"}
    assert store.entry().subject == "Protect 首都は"
    assert store.snapshot().composition == before.composition
    assert not protect_facts(store.repository, None, ["首都は"]).changed
    unprotect_facts(store.repository, None, ["首都は"])
    assert store.entry().subject == "Unprotect 首都は"
    assert store.repository.tree(store.resolve(), "facts") == store.repository.tree(
        before.commit, "facts"
    )
    assert not unprotect_facts(store.repository, None, ["首都は"]).changed


def test_a_file_protects_what_was_never_taught_too(store: Store) -> None:
    protect_facts(store.repository, None, [], [must_hold()])
    assert protected(store) == {"首都は": True, "鉄の記号は": True}
    entries = read_ledger(store.repository, store.resolve())
    assert (entries["鉄の記号は"].update, entries["首都は"].update) == ("", "aaaa")
    assert entries["鉄の記号は"].answer == "Fe"
    # Only its protection had put it there.
    unprotect_facts(store.repository, None, [], [must_hold()])
    assert protected(store) == {"首都は": False}


def test_a_file_that_says_another_answer_is_refused(store: Store) -> None:
    file = must_hold("- {prompt: p, answer: x}\n- {prompt: '首都:', answer: y}\n")
    with pytest.raises(
        Contradiction,
        match=r"^首都は: must-hold\.yaml:2 says 'y', but the ledger \(since update/aaaa\) says 'x'",
    ):
        protect_facts(store.repository, None, [], [file])
    with pytest.raises(Contradiction, match="says 'x', but must-hold"):
        protect_facts(
            store.repository,
            None,
            [],
            [must_hold("- {prompt: p, answer: x}\n- {prompt: p, answer: y}\n")],
        )
    assert protected(store) == {"首都は": False}


def test_a_named_fact_of_a_file_finds_the_entry_of_its_prompt(store: Store) -> None:
    file = must_hold("- {prompt: 首都は, answer: x, subject: 国, relation: 首都}\n")
    protect_facts(store.repository, None, [], [file])
    assert protected(store) == {"首都は": True}


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(UnknownFact):
        protect_facts(store.repository, None, ["首都は", "ない"])
    with pytest.raises(UnknownFact, match="鉄の記号は"):
        unprotect_facts(store.repository, None, [], [must_hold()])
    assert protected(store) == {"首都は": False}


def test_with_expect_it_runs_once(store: Store) -> None:
    start = store.resolve()
    first = protect_facts(store.repository, None, ["首都は"], expect=start)
    again = protect_facts(store.repository, None, ["首都は"], expect=start)
    assert (again.commit, again.changed) == (first.commit, False)
    with pytest.raises(RefMoved):
        protect_facts(store.repository, None, [], [must_hold()], expect=start)


def test_a_revert_gives_the_protection_back(store: Store) -> None:
    protect_facts(store.repository, None, [], [must_hold()])
    store.revert(None, "HEAD")
    assert protected(store) == {"首都は": False}
