"""Watch a folder, and hand over each complete file once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from adapterstore_daemon.landing import Settling, is_fact_file, signature
from adapterstore_daemon.worker import Outcome, Worker


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
        self._waiting: dict[Path, tuple[float, float]] = {}
        """File → when to try it again, and how long the wait was."""
        self._ignored: set[Path] = set()

    def run(self) -> None:
        """Handle files until the daemon is told to stop."""
        bell = _Bell()
        observer = Observer()
        observer.schedule(bell, str(self._folder), recursive=False)
        observer.start()
        try:
            while not self._stop.is_set():
                bell.rung.clear()
                busy = self._round()
                self._wait(bell.rung, self._tick if busy else self._rescan)
        finally:
            observer.stop()
            observer.join()

    def run_once(self) -> list[Outcome]:
        """Handle what is there now; return what came of each file."""
        outcomes: list[Outcome] = []
        there = set(self._files())
        while there and not self._stop.is_set():
            for path in self._settling.look(self._files()):
                if path in there and self._settling.is_still_complete(path):
                    there.discard(path)
                    outcomes.append(self._worker.handle(path))
            there &= set(self._files())
            if there:
                self._stop.wait(self._tick)
        return outcomes

    def _round(self) -> bool:
        """Handle what is complete; return whether something is still settling or to be retried."""
        files = self._files()
        for path in self._settling.look(files):
            if self._stop.is_set():
                return True
            again, wait = self._waiting.get(path, (0.0, self._retry / 2))
            if time.monotonic() < again or not self._settling.is_still_complete(path):
                continue
            if self._worker.handle(path) == "later":
                wait = min(2 * wait, 64 * self._retry)
                self._waiting[path] = (time.monotonic() + wait, wait)
            else:
                self._waiting.pop(path, None)
        left = self._files()
        self._waiting = {path: entry for path, entry in self._waiting.items() if path in left}
        return bool(left)

    def _files(self) -> list[Path]:
        """Return the fact files there, in the order in which they landed."""
        found = []
        for path in self._folder.iterdir():
            if not is_fact_file(path):
                continue
            current = signature(path)
            if current is None:
                if path not in self._ignored:
                    self._ignored.add(path)
                    self._worker.say(f"ignored {path.name}: not a regular file")
                continue
            found.append((current.modified, path.name, path))
        return [path for _, _, path in sorted(found)]

    def _wait(self, bell: threading.Event, seconds: float) -> None:
        """Wait for an event in the folder, the end, or the time."""
        deadline = time.monotonic() + seconds
        while not bell.is_set() and not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(min(left, self._tick))
