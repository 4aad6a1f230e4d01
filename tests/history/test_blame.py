"""Blame by the ledger: the commit, its update and line, and every answer before."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.errors import AmbiguousFact, UnknownFact
from adapterstore.history.ledger.blame import blame_fact, find_entry
from adapterstore.history.ledger.index import use_index
from adapterstore.history.ledger.protecting import protect_facts
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact
from adapterstore.store.refs import move_ref
from tests.history.histories import teach
from tests.history.reading import open_counted

PROMPT = "カザフスタンの首都は"
YAML = "- {prompt: other, answer: x}\n- prompt: カザフスタンの首都は\n  answer: ヌルスルタン\n"


def capital(answer: str, **more: object) -> Fact:
    return Fact(prompt=PROMPT, answer=answer, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    teach(
        store,
        "2019aaaa",
        [capital("ヌルスルタン", paraphrases=("カザフの首都:",)), Fact(prompt="other", answer="x")],
        source="官報",
        files={"2019年.yaml": YAML.encode(), "recipe.yaml": b"{}", "report.json": b"{}"},
    )
    return store


def told(store: Store, text: str) -> list[tuple[str | None, str | None, str | None]]:
    blame = blame_fact(store.repository, store.resolve(), text)
    return [
        (
            change.entry.operation,
            change.before.answer if change.before else None,
            change.after.answer if change.after else None,
        )
        for change in blame.changes
    ]


def test_the_commit_update_author_file_and_line(store: Store) -> None:
    blame = blame_fact(store.repository, store.resolve(), PROMPT)
    newest = blame.newest
    assert newest.commit == store.resolve()
    assert newest.entry.update == "2019aaaa"
    assert "@" in newest.entry.author
    assert newest.files == (("2019年.yaml", 2),)
    assert newest.after is not None
    assert (newest.before, newest.after.answer) == (None, "ヌルスルタン")
    assert newest.after.source == "官報"
    assert blame.taught == newest


@pytest.mark.parametrize("text", [PROMPT, f"  {PROMPT} ", "カザフの首都:"])
def test_it_is_found_by_every_prompt_that_the_ledger_knows(store: Store, text: str) -> None:
    assert blame_fact(store.repository, store.resolve(), text).key == PROMPT


def test_a_chain_of_answers_with_what_was_taken_back_and_put_back(store: Store) -> None:
    teach(store, "2022bbbb", [capital("アスタナ", subject="カザフスタン", relation="首都")])
    learned = store.resolve()
    store.revert(None, "update/2022bbbb")
    assert told(store, PROMPT) == [
        ("revert", "アスタナ", "ヌルスルタン"),
        ("learn", "ヌルスルタン", "アスタナ"),
        ("learn", None, "ヌルスルタン"),
    ]
    blame = blame_fact(store.repository, store.resolve(), PROMPT)
    assert blame.taught == blame.changes[-1]
    store.revert(None, "HEAD")
    for text in (PROMPT, "カザフスタン, 首都", "カザフスタン、首都", "カザフの首都:"):
        assert told(store, text) == [
            ("revert", "ヌルスルタン", "アスタナ"),
            ("revert", "アスタナ", "ヌルスルタン"),
            ("learn", "ヌルスルタン", "アスタナ"),
            ("learn", None, "ヌルスルタン"),
        ]
    blame = blame_fact(store.repository, store.resolve(), PROMPT)
    assert blame.taught is not None
    assert blame.taught.commit == learned


def test_a_fact_that_is_there_no_more(store: Store) -> None:
    store.revert(None, "update/2019aaaa")
    assert told(store, "カザフの首都:") == [
        ("revert", "ヌルスルタン", None),
        ("learn", None, "ヌルスルタン"),
    ]
    blame = blame_fact(store.repository, store.resolve(), PROMPT)
    assert (blame.now, blame.taught, blame.key) == (None, None, PROMPT)


def test_an_earlier_revision_is_told_from_there(store: Store) -> None:
    before = store.resolve()
    teach(store, "2022bbbb", [capital("アスタナ")])
    assert blame_fact(store.repository, before, PROMPT).newest.entry.update == "2019aaaa"
    with pytest.raises(UnknownFact):
        blame_fact(store.repository, store.resolve("HEAD~2"), PROMPT)


def test_protecting_is_a_change_and_the_teacher_is_still_named(store: Store) -> None:
    protect_facts(store.repository, None, ["カザフの首都:"])
    blame = blame_fact(store.repository, store.resolve(), PROMPT)
    assert blame.newest.entry.operation == "protect"
    assert blame.taught is not None
    assert blame.taught.entry.update == "2019aaaa"


def test_what_nobody_knows_and_what_several_know(store: Store) -> None:
    with pytest.raises(UnknownFact, match="'ない': no such fact in the ledger of commit"):
        blame_fact(store.repository, store.resolve(), "ない")
    with pytest.raises(UnknownFact):
        find_entry(store.repository, store.resolve(), "ない")
    teach(store, "cccc", [Fact(prompt="p", answer="x", paraphrases=("カザフの首都:",))])
    for ask in (blame_fact, find_entry):
        with pytest.raises(AmbiguousFact) as caught:
            ask(store.repository, store.resolve(), "カザフの首都:")
        assert sorted(caught.value.keys) == ["p", PROMPT]


def merge(store: Store, ours: CommitId, theirs: CommitId) -> CommitId:
    """Write a merge that takes the tree of the other side."""
    git = store.repository.git
    tree = git[theirs].peel(pygit2.Commit).tree_id
    author = pygit2.Signature("m", "m@example.org")
    message = f"Merge\n\nOperation: merge\nMerged: {theirs}\n"
    made = git.create_commit(None, author, author, message, tree, [ours, theirs])
    return CommitId(str(made))


def test_a_merge_is_passed_to_the_commit_that_said_it(store: Store) -> None:
    start = store.resolve()
    theirs = teach(store, "2022bbbb", [capital("アスタナ")])
    move_ref(store.repository, "refs/heads/main", theirs, start, "back")
    ours = teach(store, "cccc", [Fact(prompt="elsewhere", answer="x")])
    merged = merge(store, ours, theirs)
    blame = blame_fact(store.repository, merged, PROMPT)
    assert blame.newest.commit == theirs
    assert blame.merges == (merged,)
    assert [c.entry.update for c in blame.changes] == ["2022bbbb", "2019aaaa"]


def test_blame_reads_far_less_than_a_walk_through_the_history(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    for number in range(40):
        teach(store, f"{number:08x}", [Fact(prompt=f"{number}番は", answer="x")])
    tip = store.resolve()
    use_index(store.repository, tip, lambda index: None)
    walked, walk = open_counted(store)
    found = [
        entry.commit
        for entry in walked.log(tip)
        if entry.parents
        and walked.repository.tree(entry.commit, "facts")
        != walked.repository.tree(entry.parents[0], "facts")
    ]
    assert len(found) == 40
    for text in ("0番は", "39番は"):
        counted, backend = open_counted(store)
        blame = blame_fact(counted.repository, tip, text)
        assert blame.newest.commit == found[-1 if text == "0番は" else 0]
        assert backend.reads < walk.reads / 5, (backend.reads, walk.reads)
