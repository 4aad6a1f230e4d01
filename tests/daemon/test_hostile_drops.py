"""What lands is not what it should be: the daemon says so, and goes on with the next file."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from adapterstore_daemon import landing
from adapterstore_daemon.filing import put_away
from adapterstore_daemon.journal import Journal
from adapterstore_daemon.landing import Settling, Signature, signature
from adapterstore_daemon.watching import Watch
from adapterstore_daemon.worker import Stopped, Update, Worker, local_update
from watchdog.observers.api import BaseObserver

from adapterstore import Store
from adapterstore.errors import Contradiction, CorruptJournal, UpdateIdTaken
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update import UpdateResult
from tests.waiting import wait_until

NO_ANSWER = '{"prompt": "The currency of Croatia is the"}\n'


class Place:
    """A store, a folder of drops, and a worker that handles them here."""

    def __init__(self, folder: Path):
        self.store = Store.init(folder, base="org/base")
        self.drops = folder / "drops"
        self.drops.mkdir()
        self.journal = Journal(folder / "journal.sqlite3")
        self.said: list[str] = []

    def worker(self, update: Update | None = None) -> Worker:
        return Worker(
            store=self.store,
            branch="main",
            folder=self.drops,
            journal=self.journal,
            update=update or local_update(self.store, "main"),
            progress=NO_PROGRESS,
            say=self.said.append,
        )

    def land(self, name: str, text: str = NO_ANSWER) -> Path:
        path = self.drops / name
        path.write_text(text, encoding="utf-8")
        return path

    def names(self, folder: str) -> set[str]:
        return {path.name for path in (self.drops / folder).iterdir()}


def watch(place: Place, update: Update) -> Watch:
    """Return a watch that waits for a moment, and tries again after 1000 seconds."""
    return Watch(place.drops, place.worker(update), threading.Event(), 0.01, 2000, 1000)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.journal.close()


def test_a_name_as_long_as_a_name_can_be_is_put_away(place: Place) -> None:
    path = place.land(f"{'国' * 82}ab.jsonl")
    assert len(os.fsencode(path.name)) == 254
    assert place.worker().handle(path) == "rejected"
    reason, kept = sorted(place.names("rejected"), key=lambda name: name.endswith(".jsonl"))
    assert kept.startswith("国" * 70)
    assert reason == f"{kept}.reason.txt"


def test_long_names_that_begin_alike_do_not_meet(place: Place) -> None:
    for ending in "ab":
        path = place.land(f"{'n' * 240}{ending}.jsonl", NO_ANSWER + "\n" * ord(ending))
        assert place.worker().handle(path) == "rejected"
    assert len(place.names("rejected")) == 4


def test_a_name_that_is_not_utf8_is_put_away(place: Place) -> None:
    name = os.fsdecode(b"\xff\xfe prices.jsonl")
    assert place.worker().handle(place.land(name)) == "rejected"
    assert place.names("rejected") == {name, f"{name}.reason.txt"}
    assert place.journal.deliveries()[0].name == "\\xff\\xfe prices.jsonl"


def test_a_file_in_the_place_of_the_folder_leaves_the_drop_for_later(place: Place) -> None:
    (place.drops / "rejected").write_text("in the way")
    path = place.land("a.jsonl")
    assert place.worker().handle(path) == "later"
    assert path.exists()
    assert place.journal.deliveries()[0].state == "pending"
    (place.drops / "rejected").unlink()
    assert place.worker().handle(path) == "rejected"


def test_an_unexpected_failure_leaves_its_file_and_not_the_others(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        raise KeyError(file.name)

    path = place.land("a.jsonl", '{"prompt": "A is", "answer": "b"}\n')
    assert place.worker(fails).handle(path) == "later"
    assert path.exists()
    assert "unexpected KeyError: 'a.jsonl'" in place.journal.deliveries()[0].message
    assert capsys.readouterr().err == ""
    worker = place.worker(fails)
    worker.debug = True
    assert worker.handle(path) == "later"
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "raise KeyError(file.name)" in shown


def test_an_id_that_was_taken_elsewhere_is_replaced_before_the_work_is_done_again(
    place: Place,
) -> None:
    asked: list[UpdateId] = []

    def taken(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        asked.append(update_id)
        (running,) = place.journal.deliveries("running")
        assert running.update_id == update_id
        if len(asked) == 1:
            raise UpdateIdTaken(update_id, place.store.resolve())
        raise Contradiction("A", "a.jsonl:1", "b", "the ledger", "c")

    path = place.land("a.jsonl", '{"prompt": "A is", "answer": "b"}\n')
    assert place.worker(taken).handle(path) == "rejected"
    assert asked[1] == f"{asked[0]}-2"
    (settled,) = place.journal.deliveries()
    assert (settled.state, settled.update_id) == ("rejected", asked[1])


def test_a_file_replaced_at_the_last_moment_goes_back(place: Place) -> None:
    path = place.land("a.jsonl")
    read = signature(path)
    place.land("new").rename(path)
    changed = signature(path)
    assert not put_away(path, read, "rejected", "why\n")
    assert signature(path) == changed
    assert not (place.drops / "rejected").exists()


def test_a_file_that_is_written_again_while_others_are_handled_is_for_later(place: Place) -> None:
    """Both were complete when the round began; the second one is being written when its turn is."""
    first, second = place.land("a.jsonl"), place.land("b.jsonl", NO_ANSWER + "\n")
    writers = []

    def update(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        writers.append(second.open("a"))
        raise OSError("later, please")

    first.write_text('{"prompt": "A is", "answer": "b"}\n')
    os.utime(first, (1, 1))
    assert watch(place, update).run_once() == ["later", "later"]
    assert place.said[-1] == "later b.jsonl: it is open for writing"
    first.unlink()
    writers[0].close()
    assert watch(place, update).run_once() == ["rejected"]
    assert not second.exists()


def test_what_is_left_when_it_is_told_to_stop_is_for_later(place: Place) -> None:
    def stopped(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        raise Stopped

    for name in ("a.jsonl", "b.jsonl"):
        place.land(name, f'{{"prompt": "{name} is", "answer": "b"}}\n')
    place.land("0.jsonl")
    os.utime(place.drops / "0.jsonl", (1, 1))
    assert watch(place, stopped).run_once() == ["rejected", "later", "later"]


def test_a_file_that_waits_costs_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def update(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        raise OSError("later, please")

    place.land("a.jsonl", '{"prompt": "A is", "answer": "b"}\n')
    watching = watch(place, update)
    wait_until(lambda: watching._round() > 0 and len(place.said) > 1, "the first attempt")
    looks: list[Signature] = []

    def look(files: Iterable[Signature]) -> set[Signature]:
        looks.extend(files)
        return set()

    monkeypatch.setattr(landing, "open_for_writing", look)
    seconds = [watching._round() for _ in range(5)]
    assert looks == []
    assert min(seconds) > 900
    place.land("b.jsonl", NO_ANSWER)
    assert watching._round() < 1
    wait_until(lambda: watching._round() > 900, "the other file")
    assert place.names("rejected") == {"b.jsonl", "b.jsonl.reason.txt"}


def test_a_file_that_waits_is_tried_again_when_it_is_touched(place: Place) -> None:
    attempts = []

    def update(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        attempts.append(update_id)
        raise OSError("later, please")

    path = place.land("a.jsonl", '{"prompt": "A is", "answer": "b"}\n')
    watching = watch(place, update)
    wait_until(lambda: watching._round() > 900 and len(attempts) == 1, "the first attempt")
    os.utime(path)
    wait_until(lambda: watching._round() > 900 and len(attempts) == 2, "the second attempt")
    assert len(set(attempts)) == len(place.journal.deliveries()) == 1


def test_what_waits_for_a_branch_that_was_deleted_has_a_row(place: Place) -> None:
    place.store.create_branch("side")
    worker = place.worker()
    worker.branch = "side"
    path = place.land("a.jsonl")
    place.store.delete_branch("side")
    assert worker.handle(path) == worker.handle(path) == "later"
    (row,) = place.journal.deliveries()
    assert (row.state, row.branch, row.attempts) == ("pending", "side", 2)
    assert "'side': no such branch" in row.message
    place.store.create_branch("side")
    assert worker.handle(path) == "rejected"
    assert [d.id for d in place.journal.deliveries("rejected")] == [row.id]


def test_settling_tells_what_has_changed_since(place: Place) -> None:
    path = place.land("a.jsonl")
    settling = Settling(0)
    assert settling.look([path]) == [path]
    assert settling.is_still_complete(path)
    path.write_text("more")
    assert not settling.is_still_complete(path)
    with path.open("a"):
        assert settling.look([path]) == []


@pytest.mark.parametrize("damage", ["no table", "bytes"])
def test_a_damaged_journal_is_told_and_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.sqlite3"
    journal = Journal(path)
    place = ("/drops", "main", "d" * 64, "", "a.yaml", CommitId("c" * 40))
    journal.claim(*place, lambda: UpdateId("u1"))
    journal.close()
    if damage == "no table":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE delivery")
        connection.close()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    journal = Journal(path)
    with pytest.raises(CorruptJournal, match="move it aside"):
        journal.deliveries()
    with pytest.raises(CorruptJournal):
        journal.claim(*place, lambda: UpdateId("u2"))
    journal.close()


def test_a_journal_that_another_process_holds_is_trouble_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    journal = Journal(path)
    journal._connection.execute("PRAGMA busy_timeout = 10")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="locked"):
        journal.settle(1, "applied", "fine")
    holder.close()
    journal.close()


def test_an_older_file_has_its_turn_before_a_newer_one(place: Place) -> None:
    """Else what Monday's file says would take back what Tuesday's does, once it can be done."""
    asked: list[str] = []
    trouble = [True]

    def update(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        asked.append(file.name)
        if trouble[0]:
            raise OSError("no weights at hand")
        raise Contradiction("A", "a.jsonl:1", "b", "the ledger", "c")

    os.utime(place.land("z-monday.jsonl", '{"prompt": "A is", "answer": "b"}\n'), (1, 1))
    watching = watch(place, update)
    wait_until(lambda: watching._round() > 900, "the first attempt")
    assert asked == ["z-monday.jsonl"]
    trouble[0] = False
    place.land("a-tuesday.jsonl", '{"prompt": "A is", "answer": "c"}\n')
    wait_until(lambda: bool(watching._round()) and not watching._files(), "both files")
    assert asked == ["z-monday.jsonl", "z-monday.jsonl", "a-tuesday.jsonl"]


def run_while(watching: Watch, stop: threading.Event, steps: Callable[[], None]) -> None:
    """Run a watch in this thread, whose journal it is, while another goes through the steps."""
    failures: list[BaseException] = []

    def go() -> None:
        try:
            steps()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)
        finally:
            stop.set()

    thread = threading.Thread(target=go)
    thread.start()
    watching.run()
    thread.join()
    for failure in failures:
        raise failure


def test_a_folder_that_is_away_costs_nothing_the_system_has_few_of(place: Place) -> None:
    def inotify() -> int:
        links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum("inotify" in str(link) for link in links)

    before, stop = inotify(), threading.Event()

    def steps() -> None:
        threads = threading.active_count()
        wait_until(lambda: inotify() > before, "the watch")
        place.drops.rmdir()
        wait_until(lambda: len(place.said) == 1, "the folder to be missed")
        stop.wait(0.5)
        assert (inotify(), len(place.said)) == (before, 1)
        assert threading.active_count() <= threads
        place.drops.mkdir()
        place.land("a.jsonl")
        wait_until(lambda: "a.jsonl" in _put_away(place), "the file")

    run_while(Watch(place.drops, place.worker(), stop, 0.01, 2000, 0.01), stop, steps)
    assert place.said[:2] == ["later drops: No such file or directory", "watching drops again"]


def test_while_the_folder_is_away_none_of_its_files_has_gone(place: Place) -> None:
    def fails(file: FactFile, update_id: UpdateId, progress: Progress) -> UpdateResult:
        raise OSError("no weights at hand")

    worker = place.worker(fails)
    path = place.land("a.jsonl", '{"prompt": "A is", "answer": "b"}\n')
    assert worker.handle(path) == "later"
    away = place.drops.rename(place.drops.with_name("away"))
    for look in (worker.settle_gone, worker.recover):
        look()
        assert [row.state for row in place.journal.deliveries()] == ["pending"]
    away.rename(place.drops)
    worker.settle_gone()
    assert [row.state for row in place.journal.deliveries()] == ["pending"]
    path.unlink()
    worker.settle_gone()
    assert [row.state for row in place.journal.deliveries()] == ["gone"]


def test_a_system_that_can_watch_no_more_is_told_of_and_the_folder_looked_into(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many folders may be watched is a limit of the whole system: only its error is faked."""

    def fails(_: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    def steps() -> None:
        place.land("a.jsonl")
        wait_until(lambda: "a.jsonl" in _put_away(place), "the first file")
        place.land("b.jsonl", NO_ANSWER + "\n")
        wait_until(lambda: "b.jsonl" in _put_away(place), "the second file")

    monkeypatch.setattr(BaseObserver, "start", fails)
    stop = threading.Event()
    run_while(Watch(place.drops, place.worker(), stop, 0.01, 0.05, 1000), stop, steps)
    told = "later drops: inotify instance limit reached; looked into every 0.05 s"
    assert place.said.count(told) == 1


def test_a_table_waits_for_its_mapping_to_be_written(place: Place) -> None:
    """Half a mapping may be a mapping: of some of the columns only."""
    given: list[list[str]] = []

    def update(
        content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        assert isinstance(content, MappedTable)
        given.append([cell.fact.prompt for cell in content.cells])
        raise Contradiction("A", "t.csv:1", "b", "the ledger", "c")

    place.land("t.csv", "sku,price,size\na,1,2\n")
    mapping = place.drops / "t.map.yaml"
    with mapping.open("w") as writer:
        writer.write("key: sku\ncolumns:\n  price: {prompts: ['{sku} costs']}\n")
        writer.flush()
        assert watch(place, update).run_once() == ["later"]
        assert place.said == ["later t.csv: its mapping is open for writing"]
        writer.write("  size: {prompts: ['The size of {sku} is']}\n")
    assert watch(place, update).run_once() == ["rejected"]
    assert given == [["a costs", "The size of a is"]]


def _put_away(place: Place) -> set[str]:
    return place.names("rejected") if (place.drops / "rejected").exists() else set()
