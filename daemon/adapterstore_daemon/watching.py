"""Watch a folder, and hand over each complete file once."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from adapterstore.knowledge.tables.finding import find_mappings
from adapterstore_daemon.landing import ENDINGS, Settling, find_fact_files, is_fact_file
from adapterstore_daemon.worker import Outcome, Stopped, Worker

_ENDINGS = " ".join(ENDINGS)


class _Bell(FileSystemEventHandler):
    """Rings at any event; what there is to do is read off the folder, so none can be lost."""

    def __init__(self) -> None:
        self.rung = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in {"opened", "closed_no_write"}:
            self.rung.set()


class Watch:
    """The loop of the daemon: one thread works, watchdog's thread rings."""

    def __init__(
        self,
        folder: Path,
        worker: Worker,
        stop: threading.Event,
        settle_seconds: float,
        rescan_seconds: float,
        retry_seconds: float,
    ):
        self._folder, self._worker, self._stop = folder, worker, stop
        self._settling = Settling(settle_seconds)
        self._tick = max(settle_seconds / 4, 0.02)
        self._rescan = rescan_seconds
        self._retry = retry_seconds
        self._waiting: dict[Path, tuple[float, float, float | None]] = {}
        """File → when to try it again, how long the wait was, and when the file was changed."""
        self._ignored: set[Path] = set()
        self._gone = ""
        """What was said when the folder could not be read or watched."""

    def run(self) -> None:
        """Handle files until the daemon is told to stop; a folder that has gone may come back."""
        while not self._stop.is_set():
            try:
                self._watch()
            except OSError as error:
                self._say_gone(error)
                self._stop.wait(self._retry)

    def _say_gone(self, error: OSError, *, then: str = "") -> None:
        text = f"later {self._folder.name}: {error.strerror or error}{then}"
        if text != self._gone:
            self._worker.say(text)
        self._gone = text

    def _observe(self, bell: _Bell) -> BaseObserver | None:
        """Return a running observer of the folder, or None if the system has none left.

        Raises:
            OSError: the folder can't be read.
        """
        # Making an observer takes of what the system has few of: not while there is no folder.
        self._files()
        observer = None
        try:
            observer = Observer()
            observer.schedule(bell, str(self._folder), recursive=False)
            observer.start()
        except OSError as error:
            if observer is not None:
                observer.stop()
            self._files()
            self._say_gone(error, then=f"; looked into every {self._rescan:g} s")
            return None
        return observer

    def _watch(self) -> None:
        """Handle files until the daemon is told to stop, or the folder is removed."""
        bell = _Bell()
        observer = self._observe(bell)
        if observer is None:
            self._wait(bell.rung, self._round())
            return
        try:
            # An emitter ends with its folder; one that is made in its place needs another.
            while not self._stop.is_set() and all(e.is_alive() for e in observer.emitters):
                bell.rung.clear()
                seconds = self._round()
                if self._gone:
                    self._worker.say(f"watching {self._folder.name} again")
                self._gone = ""
                self._wait(bell.rung, seconds)
        finally:
            observer.stop()
            observer.join()

    def run_once(self) -> list[Outcome]:
        """Handle what is there now; return what came of each file.

        What somebody has open for writing is for later, and so is what is left when the daemon is
        told to stop.
        """
        outcomes: list[Outcome] = []
        there = set(self._files())
        with suppress(Stopped):
            while there and not self._stop.is_set():
                for path in self._look(self._files()):
                    if self._stop.is_set():
                        break
                    if path in there and self._settling.is_still_complete(path):
                        outcomes.append(self._worker.handle(path))
                        there.discard(path)
                held = self._settling.held
                mappings = find_mappings(there)
                for path in [p for p in there if held & {p, mappings[p]}]:
                    what = "it" if path in held else "its mapping"
                    self._worker.say(f"later {path.name}: {what} is open for writing")
                    outcomes.append("later")
                    there.discard(path)
                there &= set(self._files())
                if there:
                    self._stop.wait(self._tick)
        self._worker.settle_gone()
        outcomes += ["later"] * len(there)
        return outcomes

    def _round(self) -> float:
        """Handle what is complete; return for how many seconds nothing is to be done."""
        for path in self._due():
            if self._stop.is_set():
                break
            if not self._settling.is_still_complete(path):
                continue
            if self._worker.handle(path) == "later":
                _, wait, _ = self._waiting.get(path, (0.0, self._retry / 2, None))
                wait = min(2 * wait, 64 * self._retry)
                self._waiting[path] = (time.monotonic() + wait, wait, _changed_at(path))
            else:
                self._waiting.pop(path, None)
        self._worker.settle_gone()
        left = self._files()
        self._waiting = {path: entry for path, entry in self._waiting.items() if path in left}
        now = time.monotonic()
        waits = [max(self._retry_at(path) - now, self._tick) for path in left]
        return min([self._rescan, *waits])

    def _due(self) -> list[Path]:
        """Return the files to be handled now, in the order in which they landed.

        Before a file, all that landed earlier are tried again, however long they are to wait: an
        older file that is done after a newer one would take back what that said.
        """
        now, files = time.monotonic(), self._files()
        due = {path for path in files if self._retry_at(path) <= now}
        complete = self._look(files if due else [])
        last = max((n for n, path in enumerate(complete, 1) if path in due), default=0)
        return complete[:last]

    def _look(self, files: list[Path]) -> list[Path]:
        """Return which files are complete, and with them the mappings that tables are read by."""
        mappings = find_mappings(files)
        beside = {mapping for mapping in mappings.values() if mapping is not None}
        complete = {None, *self._settling.look([*files, *sorted(beside)])}
        return [path for path in files if path in complete and mappings[path] in complete]

    def _retry_at(self, path: Path) -> float:
        retry_at, _, changed = self._waiting.get(path, (0.0, 0.0, None))
        # One that was touched is to be tried now.
        return retry_at if changed == _changed_at(path) else 0.0

    def _files(self) -> list[Path]:
        """Return the fact files there, in the order in which they landed."""
        files, others = find_fact_files(self._folder)
        for path in others:
            if path not in self._ignored:
                self._ignored.add(path)
                odd = is_fact_file(path)
                why = "not a regular file" if odd else f"its name ends in none of {_ENDINGS}"
                self._worker.say(f"ignored {path.name}: {why}")
        return files

    def _wait(self, bell: threading.Event, seconds: float) -> None:
        """Wait for an event in the folder, the end, or the time."""
        deadline = time.monotonic() + seconds
        while not bell.is_set() and not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(min(left, self._tick))


def _changed_at(path: Path) -> float | None:
    try:
        return path.lstat().st_ctime
    except OSError:
        return None
