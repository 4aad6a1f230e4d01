"""A daemon killed between publishing, putting away and writing down, then reverts and new drops.

No content that lands is lost, and none takes effect twice: an update is made anew exactly if its
content lands again after it was reverted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from adapterstore_daemon import filing
from adapterstore_daemon import worker as worker_module
from adapterstore_daemon.journal import Journal
from adapterstore_daemon.worker import Worker

from adapterstore import Store
from adapterstore.errors import BaseModelUnavailable, Contradiction
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import MAXIMUM_BYTES
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update import UpdateResult
from adapterstore.update.result import Status, read_update
from adapterstore.update.run import _find_earlier
from tests.cli.running import lora_folder
from tests.update.publishing import publish

FACTS = "- {prompt: The currency of Croatia is the, answer: euro}\n"
Moment = Literal["before", "after"]


class Killed(BaseException):
    """In the place of SIGKILL."""


class Place:
    """A store and its drops; updates are real, but for the training."""

    def __init__(self, folder: Path):
        self.store = Store.init(folder, base="org/base")
        self.adapter = lora_folder(folder / "adapter", base="org/base")
        self.drops = folder / "drops"
        self.drops.mkdir()
        self.journal = Journal(folder / "journal.sqlite3")
        self.trained = 0
        self.accepted = True

    def update(
        self, content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        assert isinstance(content, FactFile)
        ref, tip = self.store.tip("main")
        earlier = _find_earlier(self.store, ref, tip, [content], update_id, None)
        if earlier is not None:
            return earlier
        self.trained += 1
        publish(self.store, self.adapter, "a.yaml", FACTS, accepted=self.accepted)
        status: Status = "applied" if self.accepted else "rejected"
        return read_update(self.store.repository, update_id, status)

    def worker(self) -> Worker:
        return Worker(
            store=self.store,
            branch="main",
            folder=self.drops,
            journal=self.journal,
            update=self.update,
            progress=NO_PROGRESS,
            say=lambda line: None,
        )

    def start(self) -> list[str]:
        """Do what a daemon does that is started: settle what is open, take up what is there."""
        worker = self.worker()
        worker.recover()
        return [worker.handle(path) for path in sorted(self.drops.glob("*.yaml"))]

    def drop(self, text: str = FACTS) -> Path:
        # The clock of files may lag behind by a tick of the system's.
        time.sleep(2 * filing.CLOCK_TICK)
        path = self.drops / "a.yaml"
        path.write_text(text)
        return path

    def operations(self) -> list[str | None]:
        return [entry.operation for entry in self.store.log()][-2::-1]

    def states(self) -> list[str]:
        return [delivery.state for delivery in self.journal.deliveries()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def kill(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[Moment], None]:
    """Kills a daemon that handles the drop, before or after it puts the file away."""

    def kill(moment: Moment) -> None:
        real = worker_module.put_away

        def put_away(*arguments: Any) -> bool:
            if moment == "after":
                assert real(*arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(worker_module, "put_away", put_away)
            with pytest.raises(Killed):
                place.worker().handle(place.drops / "a.yaml")
        assert place.states()[-1] == "running"

    return kill


@pytest.mark.parametrize(
    ("moment", "then", "operations", "states"),
    [
        ("before", [], ["learn"], ["applied"]),
        ("after", [], ["learn"], ["applied"]),
        # The file that is still there is the one that was applied: the revert stands.
        ("before", ["revert"], ["learn", "revert"], ["applied"]),
        ("after", ["revert"], ["learn", "revert"], ["applied"]),
        ("before", ["drop"], ["learn"], ["applied", "applied"]),
        ("after", ["drop"], ["learn"], ["applied", "applied"]),
        ("before", ["revert", "drop"], ["learn", "revert", "learn"], ["applied", "applied"]),
        ("after", ["revert", "drop"], ["learn", "revert", "learn"], ["applied", "applied"]),
        ("after", ["drop", "revert"], ["learn", "revert", "learn"], ["applied", "applied"]),
        ("after", ["start", "revert", "drop"], ["learn", "revert", "learn"], ["applied"] * 2),
        ("before", ["start", "revert", "drop"], ["learn", "revert", "learn"], ["applied"] * 2),
    ],
)
def test_killed_reverted_dropped_again(
    place: Place,
    kill: Callable[[Moment], None],
    moment: Moment,
    then: list[str],
    operations: list[str],
    states: list[str],
) -> None:
    place.drop()
    kill(moment)
    for step in then:
        if step == "revert":
            place.store.revert("main", "HEAD")
        elif step == "drop":
            place.drop()
        else:
            place.start()
    assert set(place.start()) <= {"applied"}
    assert place.operations() == operations
    assert place.states() == states
    assert list(place.drops.glob("*.yaml")) == []


def test_what_could_not_be_put_away_is_a_delivery_of_its_own_when_it_lands_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = place.worker()
    # What is in the way comes there after the daemon looked.
    monkeypatch.setattr(worker_module, "check_folders", lambda drops: None)
    (place.drops / "processed").write_text("in the way")
    assert worker.handle(place.drop()) == "later"
    (delivery,) = place.journal.deliveries()
    assert "is published, but its file can't be put away: " in delivery.message
    place.store.revert("main", "HEAD")
    # The same file: the revert stands. Another one of the same content: it is applied anew.
    assert worker.handle(place.drops / "a.yaml") == "later"
    assert place.operations() == ["learn", "revert"]
    assert worker.handle(place.drop()) == "later"
    assert place.operations() == ["learn", "revert", "learn"]
    (place.drops / "processed").unlink()
    assert worker.handle(place.drops / "a.yaml") == "applied"
    assert place.states() == ["applied", "applied"]
    assert place.trained == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_refused_update_is_not_trained_again(
    place: Place, kill: Callable[[Moment], None], moment: Moment
) -> None:
    place.accepted = False
    place.drop()
    kill(moment)
    place.start()
    assert place.states() == ["rejected"]
    assert (place.drops / "rejected" / "a.yaml").exists()
    assert place.trained == 1


@pytest.mark.parametrize("text", ["- {prompt: P}\n", FACTS])
def test_what_was_refused_before_any_training_is_found_where_it_lies(
    place: Place,
    kill: Callable[[Moment], None],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    def contradicts(*_: object) -> UpdateResult:
        raise Contradiction("P", "a.yaml:1", "euro", "the ledger", "kuna")

    monkeypatch.setattr(place, "update", contradicts)
    place.drop(text)
    kill("after")
    place.start()
    (delivery,) = place.journal.deliveries()
    assert (delivery.state, delivery.message) == ("rejected", "see rejected/a.yaml.reason.txt")


def test_what_was_refused_unread_is_found_where_it_lies(
    place: Place, kill: Callable[[Moment], None]
) -> None:
    os.truncate(place.drop(), MAXIMUM_BYTES + 1)
    kill("after")
    place.start()
    (delivery,) = place.journal.deliveries()
    assert (delivery.state, delivery.message) == ("rejected", "see rejected/a.yaml.reason.txt")


def test_a_file_that_was_taken_away_is_not_one_that_was_refused_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> UpdateResult:
        raise Contradiction("P", "a.yaml:1", "euro", "the ledger", "kuna")

    def killed(*_: object) -> UpdateResult:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, "update", refused)
        place.drop()
        place.start()
    with monkeypatch.context() as patch:
        patch.setattr(place, "update", killed)
        place.drop()
        with pytest.raises(Killed):
            place.start()
    (place.drops / "a.yaml").unlink()
    place.start()
    assert place.states() == ["rejected", "gone"]
    assert place.journal.deliveries("gone")[0].message == "its file has gone"


def test_a_content_that_was_contradicted_since_is_not_told_as_applied(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> UpdateResult:
        raise BaseModelUnavailable("org/base", "no weights")

    place.drop()
    place.start()
    kuna = lora_folder(tmp_path / "kuna", seed=1, base="org/base")
    publish(place.store, kuna, "b.yaml", FACTS.replace("euro", "kuna"))
    with monkeypatch.context() as patch:
        patch.setattr(place, "update", unavailable)
        assert place.worker().handle(place.drop()) == "later"
    (place.drops / "a.yaml").unlink()
    place.worker().recover()
    assert place.states() == ["applied", "gone"]
