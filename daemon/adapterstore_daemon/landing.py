"""Files that land: which count, when they are complete, and how their bytes are read."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adapterstore.errors import FactFileError
from adapterstore.knowledge.formats import MAXIMUM_BYTES, SUFFIXES, read_regular_file
from adapterstore.knowledge.tables.finding import TABLE_SUFFIXES, find_mapping, is_mapping

_UNFINISHED_ENDINGS = ("~", ".tmp", ".part", ".partial", ".crdownload", ".swp")
_PROC = Path("/proc")
ENDINGS = (*SUFFIXES, *(s for s in TABLE_SUFFIXES if s not in SUFFIXES))
"""Of the names that are taken up."""


@dataclass(frozen=True)
class Signature:
    """What tells one state of a file from another."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature of a file's status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class LandedMapping:
    """The bytes of a table's mapping."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Landed:
    """The bytes of a complete file, and the state that it was in."""

    path: Path
    data: bytes
    signature: Signature
    arrived: float
    """When it was put there, or last written or touched: seconds since the epoch."""
    mapping: LandedMapping | None
    """What it is read by, if it is a table."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def mapping_digest(self) -> str:
        """SHA-256 (64 hex digits) of the mapping; empty if there is none."""
        return hashlib.sha256(self.mapping.data).hexdigest() if self.mapping is not None else ""


def is_fact_file(path: Path) -> bool:
    """Return whether a name is one that the daemon takes up: facts, or a table of them."""
    return not _is_passed_over(path.name) and path.suffix.lower() in ENDINGS


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.endswith(_UNFINISHED_ENDINGS) or is_mapping(name)


def find_fact_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return a folder's fact files in the order in which they landed, and what is never taken up.

    Of the latter, neither folders nor what nobody expects to be taken up: mappings, hidden and
    unfinished files.

    Raises:
        OSError: the folder can't be read.
    """
    files, others = [], []
    for path in folder.iterdir():
        current = signature(path)
        if is_fact_file(path) and current is not None:
            files.append((current.modified, path.name, path))
        elif is_fact_file(path) or not (_is_passed_over(path.name) or path.is_dir()):
            others.append(path)
    return [path for _, _, path in sorted(files)], others


def signature(path: Path) -> Signature | None:
    """Return the state of a regular file, without following links (None: it is none)."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return Signature.of(status) if stat.S_ISREG(status.st_mode) else None


class Settling:
    """Waits until files are complete: unchanged for a while, and open for writing nowhere."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._seen: dict[Path, tuple[Signature, float]] = {}
        self.held: set[Path] = set()
        """Files that did not change for long enough, but were open for writing at the last look."""

    def look(self, paths: list[Path]) -> list[Path]:
        """Return which of the files there are complete; call it again for the others."""
        now = time.monotonic()
        seen = {}
        settled = {}
        for path in paths:
            current = signature(path)
            if current is None:
                continue
            before, since = self._seen.get(path, (None, now))
            if before != current:
                since = now
            seen[path] = (current, since)
            if now - since >= self._seconds:
                settled[path] = current
        written = open_for_writing(settled.values())
        self.held = {path for path, current in settled.items() if current in written}
        # To look at what every process has open is dear: they are waited for anew.
        self._seen = seen | {path: (settled[path], now) for path in self.held}
        return [path for path in settled if path not in self.held]

    def is_still_complete(self, path: Path) -> bool:
        """Return whether a file is as `look` saw it last: others may have been handled since."""
        current = signature(path)
        return (
            current is not None
            and path in self._seen
            and self._seen[path][0] == current
            and not open_for_writing([current])
        )


def open_for_writing(files: Iterable[Signature]) -> set[Signature]:
    """Return which files any process that we may look at has open for writing (Linux)."""
    wanted = {(file.device, file.inode): file for file in files}
    found: set[Signature] = set()
    if not wanted or not _PROC.is_dir():
        return found
    for descriptor in _PROC.glob("[0-9]*/fd/*"):
        try:
            status = descriptor.stat()
            file = wanted.get((status.st_dev, status.st_ino))
            if file is None:
                continue
            information = descriptor.parent.parent / "fdinfo" / descriptor.name
            flags = int(information.read_text().split("flags:")[1].split()[0], 8)
        except (OSError, IndexError, ValueError):
            # Processes end and descriptors close while we look.
            continue
        if flags & os.O_ACCMODE != os.O_RDONLY:
            found.add(file)
    return found


def read_landed(path: Path, store_folder: Path) -> Landed:
    """Read a file's bytes once, and those of its mapping, which may be in the store's settings.

    Raises:
        FactFileError: no permission, or too large; either of them.
        OSError: it has gone, or the disk fails.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        problem = "no permission to read it; let the daemon's user read it, and put it back"
        raise FactFileError(path.name, problem) from error
    with os.fdopen(handle, "rb") as file:
        before = os.fstat(file.fileno())
        if before.st_size > MAXIMUM_BYTES:
            problem = f"{before.st_size} bytes; at most {MAXIMUM_BYTES} are read: split it"
            raise FactFileError(path.name, problem)
        data = file.read(MAXIMUM_BYTES + 1)
    mapping = _read_mapping(path, store_folder)
    return Landed(path, data, Signature.of(before), before.st_ctime, mapping)


def _read_mapping(table: Path, store_folder: Path) -> LandedMapping | None:
    path = find_mapping(table, store_folder)
    if path is None:
        return None
    name = printable(str(path))
    return LandedMapping(name, read_regular_file(path, name))


def printable(name: str) -> str:
    """Return a file's name as text: it need not be UTF-8. No two names become one."""
    return os.fsencode(name.replace("\\", "\\\\")).decode(errors="backslashreplace")
