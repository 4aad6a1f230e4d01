"""The journal: each content is open once, and a state moves only from where it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from adapterstore_daemon.journal import Delivery, Journal

from adapterstore.errors import CorruptStore, UnsupportedFormat
from adapterstore.identifiers import CommitId, UpdateId

START = CommitId("c" * 40)


def claim(journal: Journal, digest: str = "d" * 64, update: str = "u1") -> Delivery:
    return journal.claim("/drops", "main", digest, "価格.yaml", START, lambda: UpdateId(update))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "daemon" / "journal.sqlite3")


def test_a_claim_that_was_cut_off_is_taken_up_with_its_update_id(journal: Journal) -> None:
    first = claim(journal, update="u1")
    again = claim(journal, update="u2")
    assert (again.id, again.update_id, again.attempts) == (first.id, "u1", 2)
    assert again.name == "価格.yaml"


def test_a_settled_content_that_lands_again_is_a_new_delivery(journal: Journal) -> None:
    first = claim(journal)
    assert journal.settle(first.id, "applied", "fine", [CommitId("a" * 40)])
    second = claim(journal, update="u2")
    assert (second.id != first.id, second.update_id) == (True, "u2")
    assert [d.state for d in journal.deliveries()] == ["applied", "running"]
    assert journal.deliveries("applied")[0].commits == ["a" * 40]


def test_only_a_running_delivery_can_be_settled(journal: Journal) -> None:
    first = claim(journal)
    assert journal.settle(first.id, "rejected", "why")
    assert not journal.settle(first.id, "applied", "late")
    assert journal.deliveries()[0].message == "why"


def test_it_outlives_its_process(tmp_path: Path, journal: Journal) -> None:
    claim(journal)
    journal.close()
    (kept,) = Journal(tmp_path / "daemon" / "journal.sqlite3").deliveries("running")
    assert kept.start_commit == START


def test_a_journal_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedFormat, match="version 2"):
        Journal(path)
    assert path.read_bytes()[100:] == before[100:]


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"facts: []\n" * 200)
    with pytest.raises(CorruptStore, match="not a journal"):
        Journal(tmp_path / "journal.sqlite3")
