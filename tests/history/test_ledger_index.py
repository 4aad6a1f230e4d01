"""The index says what a walk through the commits says, and is thrown away where it does not."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterstore import Store
from adapterstore.errors import Contradiction
from adapterstore.history.ledger.blame import blame_fact
from adapterstore.history.ledger.index import INDEX_NAME, KeyChange, LedgerIndex, use_index
from adapterstore.history.ledger.known import find_known
from adapterstore.history.ledger.protecting import protect_facts, unprotect_facts
from adapterstore.history.ledger.reading import entry_blobs, read_ledger
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.contradictions import check_against_ledger
from adapterstore.knowledge.facts import Fact, FactFile, canonical_text, digest_key
from adapterstore.knowledge.ledger import show_key
from adapterstore.store.cache import CACHE_NAME
from tests.history.histories import teach
from tests.history.reading import open_counted

PROMPTS = ["首都は", "首都:", "p", "q", "r"]

facts = st.builds(
    Fact,
    prompt=st.sampled_from(PROMPTS),
    answer=st.none() | st.sampled_from("xyz"),
    subject=st.none() | st.sampled_from(["国", "s"]),
    relation=st.none() | st.just("首都"),
    paraphrases=st.lists(st.sampled_from(["o", "n", "首都は?"]), max_size=2).map(tuple),
)


def consistent(chosen: list[Fact]) -> list[Fact]:
    """Keep the facts that contradict no earlier one."""
    kept: list[Fact] = []
    for fact in chosen:
        if not any(fact.key == k.key or fact.prompt == k.prompt for k in kept):
            kept.append(fact)
    return kept


steps = st.one_of(
    st.tuples(st.just("teach"), st.lists(facts, min_size=1, max_size=3).map(consistent)),
    st.tuples(st.just("revert"), st.integers(0, 5)),
    st.tuples(st.just("protect"), st.integers(0, 5)),
    st.tuples(st.just("unprotect"), st.integers(0, 5)),
)


def plain_chain(store: Store, digest: str) -> list[KeyChange]:
    """Return what a walk over every commit says of one key, newest first."""
    found = []
    commit: CommitId | None = store.resolve()
    while commit is not None:
        parents = store.repository.parents(commit)
        parent = parents[0] if parents else None
        before = (
            entry_blobs(store.repository, parent, [digest])[digest] if parent is not None else None
        )
        after = entry_blobs(store.repository, commit, [digest])[digest]
        if before != after:
            texts = [str(blob) if blob is not None else None for blob in (before, after)]
            found.append(KeyChange(commit, *texts))
        commit = parent
    return found


def take(store: Store, number: int, step: tuple[str, object]) -> None:
    """Take one step of a history; what would contradict a protected fact must say so."""
    name, what = step
    entries = sorted(read_ledger(store.repository, store.resolve()))
    if name == "teach":
        assert isinstance(what, list)
        known = find_known(store.repository, store.resolve(), what)
        file = FactFile(name="f", source=None, facts=tuple(what), data=b"", digest="")
        try:
            check_against_ledger([file], known.every)
        except Contradiction:
            assert any(known.every.values())
        else:
            teach(store, f"{number:04x}", what)
            check_taught(store, f"{number:04x}", what)
        return
    assert isinstance(what, int)
    if name == "revert":
        history = [entry for entry in store.log() if entry.parents]
        if history:
            store.revert(None, history[what % len(history)].commit)
    elif entries:
        change = protect_facts if name == "protect" else unprotect_facts
        change(store.repository, None, [show_key(entries[what % len(entries)])])


def check_taught(store: Store, update: str, taught: list[Fact]) -> None:
    """Each fact is one entry, which its prompt asks for, with its answer and its update."""
    known = find_known(store.repository, store.resolve(), taught)
    for fact in taught:
        (entry,) = (e for e in known.of(fact.key) if e.update == update)
        assert fact.prompt in entry.prompts
        assert (entry.answer, entry.update) == (fact.answer, update)
        assert set(fact.paraphrases) <= set(entry.prompts)


def check_index(store: Store) -> None:
    """Everything that the index says is what reading everything says."""
    tip = store.resolve()
    ledger = read_ledger(store.repository, tip)

    def check(index: LedgerIndex) -> None:
        assert index.count(tip) == len(ledger)
        protected = {entry.key for entry in index.protected(tip)}
        assert protected == {key for key, entry in ledger.items() if entry.protected}
        forgotten = {digest_key(key) for key, entry in ledger.items() if entry.answer is None}
        assert index.forgotten(tip) == sorted(forgotten)
        asked = index.entries_asked_by(tip, [*PROMPTS, "o", "n"])
        for prompt, entries in asked.items():
            knowing = {
                key for key, entry in ledger.items() if prompt in map(canonical_text, entry.prompts)
            }
            assert {entry.key for entry in entries} == knowing
        for key in [*PROMPTS, "国\t首都", "s\t首都"]:
            digest = digest_key(key)
            assert index.changes(tip, digest) == plain_chain(store, digest)

    use_index(store.repository, tip, check)
    for key, entry in ledger.items():
        blame = blame_fact(store.repository, tip, show_key(key))
        assert blame.now == entry
        assert blame.newest.after == entry
        for newer, older in zip(blame.changes, blame.changes[1:], strict=False):
            assert newer.before == older.after
        assert blame.changes[-1].before is None


@given(st.lists(steps, min_size=1, max_size=7))
@settings(
    derandomize=True,
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_index_and_blame_agree_with_the_commits(history: list[tuple[str, object]]) -> None:
    with TemporaryDirectory() as folder:
        store = Store.init(folder)
        for number, step in enumerate(history):
            take(store, number, step)
        # At once from nothing, and in the parts in which it was made on the way.
        check_index(store)
        shutil.rmtree(store.repository.folder / CACHE_NAME, ignore_errors=True)
        check_index(store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [Fact(prompt="首都は", answer="x"), Fact(prompt="p", answer="x")])
    teach(store, "bbbb", [Fact(prompt="首都は", answer="y")])
    use_index(store.repository, store.resolve(), lambda index: None)
    return store


def index_path(store: Store) -> Path:
    return store.repository.folder / CACHE_NAME / INDEX_NAME


def test_a_commit_is_indexed_once(store: Store) -> None:
    counted, backend = open_counted(store)
    use_index(counted.repository, store.resolve(), lambda index: None)
    assert backend.reads == 0
    teach(store, "cccc", [Fact(prompt="q", answer="x")])
    counted, backend = open_counted(store)
    use_index(counted.repository, store.resolve(), lambda index: None)
    # The commit and its parent, of both the tree, facts/ and a folder; the entry. No more of them.
    assert backend.reads <= 12


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM changes WHERE rowid_of_newest",
        "UPDATE changes SET after = before WHERE before IS NOT NULL",
        "DELETE FROM commits",
        "DROP TABLE prompts",
        "CREATE TABLE stranger (id)",
    ],
)
def test_an_index_that_does_not_fit_is_made_anew(store: Store, damage: str) -> None:
    connection = sqlite3.connect(index_path(store))
    if "rowid_of_newest" in damage:
        damage = f"DELETE FROM changes WHERE commit_id = '{store.resolve()}'"
    with connection:
        connection.execute(damage)
    connection.close()
    blame = blame_fact(store.repository, store.resolve(), "首都は")
    assert [c.entry.update for c in blame.changes] == ["bbbb", "aaaa"]
    check_index(store)


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all", b"SQLite format 3\0" + b"x" * 500]
)
def test_a_file_that_is_no_index_is_made_anew(store: Store, content: bytes) -> None:
    index_path(store).write_bytes(content)
    assert blame_fact(store.repository, store.resolve(), "p").newest.entry.update == "aaaa"
    assert index_path(store).read_bytes().startswith(b"SQLite format 3")
    check_index(store)


def test_where_nothing_can_be_kept_an_index_in_memory_serves(store: Store) -> None:
    shutil.rmtree(index_path(store).parent)
    index_path(store).parent.write_text("in the way")
    check_index(store)
    assert index_path(store).parent.read_text() == "in the way"


def test_another_process_that_keeps_the_index_is_not_waited_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapterstore.history.ledger.index._LOCK_SECONDS", 0.01)
    teach(store, "cccc", [Fact(prompt="q", answer="x")])
    other = sqlite3.connect(index_path(store), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert blame_fact(store.repository, store.resolve(), "q").newest.entry.update == "cccc"
    other.close()
