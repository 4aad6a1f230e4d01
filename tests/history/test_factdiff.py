"""What became of the ledger between two commits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import CorruptStore, InvalidSetting, UnknownRevision
from adapterstore.history.ledger.factdiff import changed_facts, count_facts, facts_of_commit
from adapterstore.history.log import names_of_commits, resolve_range
from adapterstore.history.snapshot import NewCommit, write_snapshot
from adapterstore.history.viewing.log_filter import LogFilter, parse_time
from adapterstore.history.viewing.log_query import select
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.refs import move_ref
from adapterstore.store.repository import Change


def entry(prompt: str, answer: str | None, update: str = "u1") -> tuple[str, bytes]:
    written = LedgerEntry(
        prompt=prompt,
        answer=answer,
        subject=None,
        relation=None,
        paraphrases=(),
        update=update,
        source="a file's own words",
    )
    return ledger_path(digest_key(written.key)), written.to_bytes()


def put(store: Store, ledger: dict[str, Change], file: str = "facts.yaml") -> CommitId:
    """Commit a change of the ledger on main, as an update does."""
    tip = store.snapshot()
    new = NewCommit(
        composition=tip.composition,
        base=tip.base,
        subject="Learn",
        trailers={"Operation": "learn", "Update": "abcd", "Phase": "1/1"},
        ledger=ledger,
        update_files={file: b"", "recipe.yaml": b""},
    )
    commit = write_snapshot(store.repository, tip.commit, new)
    move_ref(store.repository, "refs/heads/main", tip.commit, commit, "put")
    return commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    put(store, dict([entry("首都は", "東京"), entry("Gone", "x"), entry("Old", "kuna")]), "一.yaml")
    gone, _ = entry("Gone", None)
    put(store, {gone: None, **dict([entry("Old", "Éuro", "u2"), entry("首都は", "東京", "u2")])})
    put(store, dict([entry("Secret", None, "u3")]), "three.jsonl")
    return store


def test_each_fact_says_what_became_of_it(store: Store) -> None:
    facts = {
        fact.prompt: fact for fact in facts_of_commit(store.repository, store.resolve("HEAD~1"))
    }
    assert {prompt: fact.status for prompt, fact in facts.items()} == {
        "Gone": "removed",
        "Old": "changed",
        "首都は": "restated",
    }
    assert (facts["Old"].before, facts["Old"].after, facts["Old"].update) == ("kuna", "Éuro", "u2")
    assert (facts["Gone"].before, facts["Gone"].after, facts["Gone"].update) == ("x", None, "u1")
    assert facts["Old"].key == digest_key("Old")
    (forgotten,) = facts_of_commit(store.repository, store.resolve())
    assert (forgotten.status, forgotten.after) == ("added", None)


def test_two_states_that_are_no_parent_and_child(store: Store) -> None:
    before, after = store.resolve("HEAD~3"), store.resolve()
    there = changed_facts(store.repository, before, after)
    assert count_facts(there) == {"added": 3, "changed": 0, "removed": 0, "restated": 0}
    back = changed_facts(store.repository, after, before)
    assert count_facts(back) == {"added": 0, "changed": 0, "removed": 3, "restated": 0}
    assert there == changed_facts(store.repository, None, after)
    assert changed_facts(store.repository, after, after) == []


def test_a_ledger_file_that_is_none_is_named(store: Store) -> None:
    path, _ = entry("Old", None)
    for data in (b"{", b"[]"):
        commit = put(store, {path: data})
        with pytest.raises(CorruptStore, match="ledger entry"):
            facts_of_commit(store.repository, commit)


def subjects(store: Store, *revisions: str, **wanted: object) -> list[str]:
    part = resolve_range(store.repository, revisions or ["HEAD"])
    chosen = LogFilter(**wanted)  # type: ignore[arg-type]
    return [entry.commit for entry in select(store.repository, part, chosen)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"fact": "éuro"}, ["HEAD~1"]),
        ({"fact": "e\N{COMBINING ACUTE ACCENT}uro"}, ["HEAD~1"]),
        ({"fact": "首都"}, ["HEAD~1", "HEAD~2"]),
        ({"fact": "nowhere"}, []),
        ({"operations": ("init",)}, ["HEAD~3"]),
        ({"operations": ("init", "learn"), "fact": "Secret"}, ["HEAD"]),
        ({"file": "一.yaml"}, ["HEAD~2"]),
        ({"file": "*.yaml"}, ["HEAD~1", "HEAD~2"]),
        ({"file": "recipe.yaml"}, []),
        ({"author": "@"}, ["HEAD", "HEAD~1", "HEAD~2", "HEAD~3"]),
        ({"author": "nobody at all"}, []),
        ({"since": datetime.now(UTC) + timedelta(days=1)}, []),
        ({"until": datetime.now(UTC) - timedelta(days=1)}, []),
        ({"since": datetime.now(UTC) - timedelta(days=1), "fact": "Gone"}, ["HEAD~1", "HEAD~2"]),
    ],
)
def test_a_filter_keeps_what_meets_it(
    store: Store, wanted: dict[str, object], expected: list[str]
) -> None:
    assert subjects(store, **wanted) == [store.resolve(revision) for revision in expected]


def test_ranges_are_as_in_git_log(store: Store) -> None:
    assert subjects(store, "HEAD~2..HEAD") == [store.resolve("HEAD"), store.resolve("HEAD~1")]
    assert subjects(store, "HEAD~2..") == subjects(store, "HEAD~2..HEAD")
    assert subjects(store, "HEAD..HEAD") == []
    assert subjects(store, "..HEAD") == []
    assert subjects(store, "HEAD~2", "HEAD~1") == subjects(store, "HEAD~1")
    for wrong in ("..", "HEAD...main", "nowhere..HEAD", ""):
        with pytest.raises(UnknownRevision):
            subjects(store, wrong)


def test_commits_have_the_names_that_refs_give_them(store: Store) -> None:
    tip = store.resolve()
    move_ref(store.repository, "refs/tags/v1", None, tip, "tag")
    move_ref(store.repository, "refs/heads/枝", None, tip, "branch")
    move_ref(store.repository, "refs/adapterstore/rejected/ab", None, store.resolve("HEAD~1"), "no")
    assert names_of_commits(store.repository) == {
        tip: ["HEAD → main", "枝", "tag: v1"],
        store.resolve("HEAD~1"): ["refused: update/ab"],
    }


NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "end_of_day", "expected"),
    [
        ("2026-11-01T12:30+09:00", False, datetime(2026, 11, 1, 3, 30, tzinfo=UTC)),
        ("2026-11-01 12:30:15Z", True, datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)),
        ("3 days ago", False, datetime(2026, 11, 22, 12, 0, tzinfo=UTC)),
        ("1 week ago", True, datetime(2026, 11, 18, 12, 0, tzinfo=UTC)),
        ("2026-11-01", False, datetime(2026, 11, 1).astimezone()),
        ("2026-11-01", True, datetime(2026, 11, 1, 23, 59, 59, 999999).astimezone()),
    ],
)
def test_times_are_read(text: str, end_of_day: bool, expected: datetime) -> None:
    assert parse_time(text, end_of_day=end_of_day, now=lambda: NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "x days ago", "999999 weeks ago"])
def test_what_is_no_time_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(InvalidSetting, match="write it like 2026-11-01"):
        parse_time(text, now=lambda: NOW)
