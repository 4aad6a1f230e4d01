"""The journal: each content is open once, and a state moves only from where it was."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from adapterstore_daemon.journal import SCHEMA_VERSION, Delivery, Journal

from adapterstore import Store
from adapterstore.errors import CorruptStore, UnsupportedFormat
from adapterstore.identifiers import CommitId, UpdateId
from tests.cli.running import contents, run_code

NOBODY = 65534
START = CommitId("c" * 40)


VERSION_1 = """
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    branch TEXT NOT NULL,
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'pending', 'applied', 'rejected')),
    update_id TEXT NOT NULL,
    start_commit TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    message TEXT NOT NULL,
    commits TEXT NOT NULL,
    landed_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
CREATE UNIQUE INDEX one_open_delivery ON delivery (folder, branch, digest)
    WHERE state IN ('running', 'pending');
PRAGMA journal_mode = WAL;
PRAGMA user_version = 1;
INSERT INTO delivery VALUES
    (3, '/drops', 'main', 'dddd', '価格.csv', 'applied', 'u3', 'cccc', 1, 'fine', '["aaaa"]',
     '2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:00:01.000000+00:00'),
    (4, '/drops', 'main', 'dddd', '価格.csv', 'pending', 'u4', 'cccc', 2, 'no weights', '[]',
     '2026-01-02T00:00:00.000000+00:00', '2026-01-02T00:00:01.000000+00:00');
"""
"""A journal as the first release wrote it; never to be changed."""


def claim(
    journal: Journal, digest: str = "d" * 64, update: str = "u1", mapping: str = ""
) -> Delivery:
    new = UpdateId(update)
    return journal.claim("/drops", "main", digest, mapping, "価格.yaml", START, lambda: new)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "daemon" / "journal.sqlite3")


def test_a_claim_that_was_cut_off_is_taken_up_with_its_update_id(journal: Journal) -> None:
    first = claim(journal, update="u1")
    again = claim(journal, update="u2")
    assert (again.id, again.update_id, again.attempts) == (first.id, "u1", 2)
    assert again.name == "価格.yaml"


def test_a_content_under_another_mapping_is_another_delivery(journal: Journal) -> None:
    first = claim(journal, mapping="a" * 64)
    second = claim(journal, mapping="b" * 64, update="u2")
    assert (second.id != first.id, second.update_id) == (True, "u2")
    assert claim(journal, mapping="a" * 64).id == first.id


def test_a_journal_of_the_first_version_is_read_and_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
    connection.close()
    before = path.read_bytes()
    journal = Journal(path, read_only=True)
    rows = journal.deliveries()
    journal.close()
    assert [(row.id, row.state, row.update_id) for row in rows] == [
        (3, "applied", "u3"),
        (4, "pending", "u4"),
    ]
    assert (rows[0].commits, rows[1].message) == (["aaaa"], "no weights")
    assert path.read_bytes() == before
    journal = Journal(path)
    assert journal.deliveries() == rows
    # Which mapping it was begun with nobody knows: the first that asks goes on with it.
    assert (claim(journal, "dddd", mapping="a" * 64).id, len(journal.deliveries())) == (4, 2)
    assert claim(journal, "dddd", mapping="b" * 64).id == 5
    journal.close()


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
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedFormat, match=f"version {SCHEMA_VERSION + 1}"):
        Journal(path)
    assert path.read_bytes()[100:] == before[100:]


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"facts: []\n" * 200)
    with pytest.raises(CorruptStore, match="not a journal"):
        Journal(tmp_path / "journal.sqlite3")


# Root may write anything, so as root the command drops to nobody first.
STATUS_AS_NOBODY = f"""
import os
import adapterstore_daemon.main as main
if os.geteuid() == 0:
    os.seteuid({NOBODY})
main.main()
"""


@pytest.mark.parametrize("running", [False, True], ids=["nobody writes", "a daemon writes"])
def test_status_works_where_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    # git looks for the user's settings.
    monkeypatch.setenv("HOME", str(tmp_path))
    store = Store.init(tmp_path, base="org/base").repository.folder
    journal = Journal(store / "daemon" / "journal.sqlite3")
    claim(journal)
    if not running:
        journal.close()
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    for folder in tmp_path.parents:
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    before = contents(store)
    run = run_code(tmp_path, STATUS_AS_NOBODY, "status")
    assert run.stderr == ""
    assert "running   価格.yaml  update/u1" in run.stdout
    assert contents(store) == before
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
        os.chown(path, os.geteuid(), os.getegid())


def test_one_that_is_just_begun_is_read_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.touch()
    journal = Journal(path, read_only=True)
    assert journal.deliveries() == []
    journal.close()
    assert path.read_bytes() == b""
