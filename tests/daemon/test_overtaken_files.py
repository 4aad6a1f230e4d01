"""A file that waits while newer ones are applied: whatever hinders it, it stays the older one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from adapterstore_daemon import worker as working
from adapterstore_daemon.landing import Landed, read_landed

from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.progress import Progress
from adapterstore.update import UpdateResult
from adapterstore.update.result import Status
from tests.daemon.test_hostile_drops import Place
from tests.history.histories import teach

OLD = "- {prompt: A is, answer: early}\n"
NEW = "- {prompt: A is, answer: late}\n"


@dataclass(frozen=True)
class Said:
    """What the last update said."""

    update: UpdateId
    digest: str

    def result(self, status: Status, commit: CommitId) -> UpdateResult:
        return UpdateResult(self.update, status, [commit], None, None, [])


class Updates:
    """Updates that say facts and train nothing; those of some files fail."""

    def __init__(self, place: Place):
        self.place = place
        self.hindered: set[str] = set()
        self.last = Said(UpdateId(""), "")

    def __call__(
        self, content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        assert isinstance(content, FactFile)
        if content.name in self.hindered:
            raise OSError(errno.ENOSPC, "no room")
        store = self.place.store
        if content.digest == self.last.digest:
            return self.last.result("already-applied", store.resolve())
        commit = teach(store, update_id, content.facts)
        self.last = Said(update_id, content.digest)
        return self.last.result("applied", commit)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def updates(place: Place) -> Updates:
    return Updates(place)


def test_what_newer_files_do_not_say_is_applied_late(place: Place, updates: Updates) -> None:
    worker = place.worker(updates)
    updates.hindered = {"old.yaml"}
    old = place.land("old.yaml", OLD)
    assert worker.handle(old) == "later"
    assert worker.handle(place.land("new.yaml", NEW.replace("A", "B"))) == "applied"
    updates.hindered = set()
    assert worker.handle(old) == "applied"


def test_a_newer_file_that_says_again_what_is_in_effect_counts(
    place: Place, updates: Updates
) -> None:
    worker = place.worker(updates)
    assert worker.handle(place.land("first.yaml", NEW)) == "applied"
    updates.hindered = {"old.yaml"}
    old = place.land("old.yaml", OLD)
    assert worker.handle(old) == "later"
    assert worker.handle(place.land("again.yaml", NEW)) == "applied"
    updates.hindered = set()
    assert worker.handle(old) == "rejected"
    assert "again.yaml was applied while" in place.said[-1]


def test_a_file_that_nobody_could_read_for_a_while_is_as_old_as_before(
    place: Place, updates: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, folder: Path) -> Landed:
        raise OSError(errno.EIO, "Input/output error")

    worker = place.worker(updates)
    old = place.land("old.yaml", OLD)
    monkeypatch.setattr(working, "read_landed", fails)
    assert worker.handle(old) == "later"
    monkeypatch.setattr(working, "read_landed", read_landed)
    assert worker.handle(place.land("new.yaml", NEW)) == "applied"
    # Readable, but hindered by something else first.
    updates.hindered = {"old.yaml"}
    assert worker.handle(old) == "rejected"
    assert [(d.id, d.name, d.state) for d in place.journal.deliveries()] == [
        (1, "old.yaml", "rejected"),
        (2, "new.yaml", "applied"),
    ]
    # Put there again, it is the newest.
    updates.hindered = set()
    assert worker.handle(place.land("old.yaml", OLD)) == "applied"


def test_of_two_waiting_files_of_one_content_both_are_old(place: Place, updates: Updates) -> None:
    worker = place.worker(updates)
    updates.hindered = {"old.yaml", "copy.yaml"}
    both = [place.land("old.yaml", OLD), place.land("copy.yaml", OLD)]
    assert [worker.handle(path) for path in both] == ["later"] * 2
    assert worker.handle(place.land("new.yaml", NEW)) == "applied"
    updates.hindered = set()
    assert [worker.handle(path) for path in both] == ["rejected"] * 2
    assert worker.handle(place.land("copy.yaml", OLD)) == "applied"


@pytest.mark.parametrize("hindrance", ["put away", "killed"])
def test_a_newer_file_counts_as_soon_as_it_is_published(
    place: Place, updates: Updates, monkeypatch: pytest.MonkeyPatch, hindrance: str
) -> None:
    def fails(*arguments: object) -> bool:
        if hindrance == "killed":
            raise KeyboardInterrupt
        raise OSError(errno.ENOSPC, "no room")

    worker = place.worker(updates)
    updates.hindered = {"old.yaml"}
    old = place.land("old.yaml", OLD)
    assert worker.handle(old) == "later"
    new = place.land("new.yaml", NEW)
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(working, "put_away", fails)
        assert worker.handle(new) == "later"
    updates.hindered = set()
    assert worker.handle(old) == "rejected"
    assert worker.handle(new) == "applied"


def test_what_lands_after_the_newer_file_is_newer_still(place: Place, updates: Updates) -> None:
    worker = place.worker(updates)
    updates.hindered = {"old.yaml"}
    old = place.land("old.yaml", OLD)
    assert worker.handle(old) == "later"
    assert worker.handle(place.land("new.yaml", NEW)) == "applied"
    # As a nightly export writes it again.
    old.unlink()
    place.land("old.yaml", OLD)
    updates.hindered = set()
    assert worker.handle(old) == "applied"
