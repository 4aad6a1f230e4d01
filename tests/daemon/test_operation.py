"""What goes wrong around a daemon that runs for months: clocks, kills, disks, operators."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from adapterstore_daemon.filing import clock_of
from adapterstore_daemon.journal import Journal
from adapterstore_daemon.watching import Watch
from adapterstore_daemon.worker import MOST_CUT_OFF

from adapterstore import Store
from adapterstore.errors import BaseModelUnavailable, CorruptJournal, UnreadableFile
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.progress import Progress
from adapterstore.update import UpdateResult
from tests.cli.running import done, run_code
from tests.daemon.test_hostile_drops import Place
from tests.daemon.test_overtaken_files import Updates

WITH_A_CLOCK_OF_1970 = (
    "import time; time.time = lambda: 0.0; import adapterstore_daemon.main as main; main.main()"
)
AS_IT_IS = "import adapterstore_daemon.main as main; main.main()"
FACT = "- {{prompt: {} is, answer: b}}\n"


class Killed(BaseException):
    """In the place of SIGKILL."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.journal.close()


def killed(
    content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
) -> UpdateResult:
    raise Killed


def no_base(
    content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
) -> UpdateResult:
    raise BaseModelUnavailable("base", "not at hand")


def test_times_are_those_of_the_folder_and_not_of_the_machine(tmp_path: Path) -> None:
    done(tmp_path, "init", "--base", "org/base")
    (tmp_path / "drops").mkdir()
    (tmp_path / "drops" / "bad.json").write_text("{")
    before = time.time() - 1
    assert run_code(tmp_path, WITH_A_CLOCK_OF_1970, "run", "drops", "--once").returncode == 13
    journal = Journal(Store.open(tmp_path).repository.folder / "daemon" / "journal.sqlite3")
    (row,) = journal.deliveries()
    journal.close()
    assert datetime.fromisoformat(row.landed_at).timestamp() > before
    assert datetime.fromisoformat(row.changed_at).timestamp() > before


def test_where_the_folder_can_not_be_touched_the_machines_clock_is_taken(tmp_path: Path) -> None:
    assert abs(clock_of(tmp_path / "nowhere") - time.time()) < 60
    journal = Journal(tmp_path / "journal.sqlite3", clock=partial(clock_of, tmp_path / "nowhere"))
    journal.close()


def test_two_names_that_are_not_utf8_are_two_deliveries(place: Place) -> None:
    paths = [
        place.land(os.fsdecode(name), FACT.format(name[0]))
        for name in (b"\xff.yaml", b"\xfe.yaml", b"\\xff.yaml")
    ]
    worker = place.worker(no_base)
    for _ in range(2):
        assert [worker.handle(path) for path in paths] == ["later"] * 3
        worker.settle_gone()
    found = [(d.name, d.state, d.attempts) for d in place.journal.deliveries()]
    names = ("\\xff.yaml", "\\xfe.yaml", "\\\\xff.yaml")
    assert found == [(name, "pending", 2) for name in names]


@pytest.mark.parametrize("watched", [".adapterstore", ".adapterstore/tables"])
def test_the_stores_own_folder_is_not_watched(tmp_path: Path, watched: str) -> None:
    done(tmp_path, "init", "--base", "org/base")
    folder = Store.open(tmp_path).repository.folder
    (folder / "tables").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    run = run_code(tmp_path, AS_IT_IS, "run", watched, "--once")
    assert run.returncode == UnreadableFile.exit_code
    assert "the store's own folder; watch another one" in run.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_kills_the_daemon_lets_the_others_pass(place: Place) -> None:
    path = place.land("a.yaml", FACT.format("A"))
    for number in range(MOST_CUT_OFF):
        worker = place.worker(killed)
        worker.recover()
        (row,) = place.journal.deliveries() or (None,)
        assert row is None or (row.state, row.cut_off) == ("pending", number)
        with pytest.raises(Killed):
            worker.handle(path)
    worker = place.worker(Updates(place))
    worker.recover()
    assert worker.handle(path) == "rejected"
    (row,) = place.journal.deliveries()
    assert f"the daemon was killed {MOST_CUT_OFF} times while it worked on it" in row.message
    assert "put it there again" in (place.drops / "rejected" / "a.yaml.reason.txt").read_text()
    # As it says: with more memory, say.
    assert worker.handle(place.land("a.yaml", FACT.format("A"))) == "applied"


def test_an_attempt_that_ends_by_itself_is_none_that_was_cut_off(place: Place) -> None:
    path = place.land("a.yaml", FACT.format("A"))
    for _ in range(MOST_CUT_OFF):
        with pytest.raises(Killed):
            place.worker(killed).handle(path)
        worker = place.worker(no_base)
        worker.recover()
        assert worker.handle(path) == "later"
    assert [row.cut_off for row in place.journal.deliveries()] == [0]


def test_what_is_in_the_way_is_told_before_an_update_is_made(place: Place) -> None:
    path = place.land("a.yaml", FACT.format("A"))
    (place.drops / "processed").write_text("in the way")
    updates = Updates(place)
    worker = place.worker(updates)
    assert worker.handle(path) == "later"
    (row,) = place.journal.deliveries()
    assert row.message.endswith("drops/processed: in the way of a folder; remove it")
    assert updates.last.update == ""
    (place.drops / "processed").unlink()
    (place.drops / "processed").symlink_to("/dev/shm")
    assert worker.handle(path) == "later"
    assert place.journal.deliveries()[0].message.endswith("on another file system than what lands")
    (place.drops / "processed").unlink()
    assert worker.handle(path) == "applied"


@pytest.mark.parametrize("then", ["removed", "changed"])
def test_a_file_that_changes_while_it_is_trained_is_trained_no_further(
    place: Place, then: str
) -> None:
    path = place.land("a.yaml", FACT.format("A"))

    def trains(
        content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        progress.start("learn", 2)
        progress.advance()
        path.unlink() if then == "removed" else path.write_text(FACT.format("changed"))
        progress.advance()
        raise AssertionError("trained on")

    worker = place.worker(trains)
    assert worker.handle(path) == "later"
    assert [row.message for row in place.journal.deliveries()] == ["the file changed meanwhile"]
    worker.settle_gone()
    if then == "changed":
        assert place.worker(Updates(place)).handle(path) == "applied"
    assert [row.state for row in place.journal.deliveries()] == [
        "gone",
        *(["applied"] if then == "changed" else []),
    ]


def test_a_journal_that_was_removed_is_noticed(place: Place, tmp_path: Path) -> None:
    worker = place.worker(Updates(place))
    assert worker.handle(place.land("a.yaml", FACT.format("A"))) == "applied"
    (tmp_path / "journal.sqlite3").rename(tmp_path / "away")
    path = place.land("b.yaml", FACT.format("B"))
    with pytest.raises(CorruptJournal, match="removed or replaced while the daemon ran"):
        worker.handle(path)
    Journal(tmp_path / "journal.sqlite3").close()
    with pytest.raises(CorruptJournal):
        worker.handle(path)
    assert path.exists()


def test_once_ends_between_files_when_it_is_told_to(place: Place) -> None:
    stop = threading.Event()
    for number in range(5):
        place.land(f"{number}.json", "{")
    worker = place.worker()
    worker.say = lambda line: stop.set() if line.startswith("rejected") else None
    watch = Watch(place.drops, worker, stop, 0.01, 1000, 1000)
    assert sorted(watch.run_once()) == ["later"] * 4 + ["rejected"]
    assert len(list(place.drops.glob("*.json"))) == 4
