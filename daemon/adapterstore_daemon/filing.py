"""Put a handled file away: to ``processed/`` or ``rejected/``, with what came of it beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from pathlib import Path

from adapterstore.store.durable import fsync_folder, make_folder
from adapterstore.store.refusals import naming
from adapterstore_daemon.landing import Signature, printable, signature

PROCESSED = "processed"
REJECTED = "rejected"
ENDINGS = {PROCESSED: ".result.json", REJECTED: ".reason.txt"}
"""Folder → the ending of what lies beside a file there."""

CLOCK_TICK = 0.05
"""Seconds by which the time of a file may lag behind the clock."""


def check_folders(drops: Path) -> None:
    """Raise `OSError` if handled files can't be moved to where they go.

    Before an update is made: one that is in effect while its file lies there puzzles everybody.
    """
    places = [drops]
    for folder in (drops / PROCESSED, drops / REJECTED):
        if not folder.exists():
            continue
        if not folder.is_dir():
            raise OSError(errno.ENOTDIR, "in the way of a folder; remove it", str(folder))
        if folder.stat().st_dev != drops.stat().st_dev:
            raise OSError(errno.EXDEV, "on another file system than what lands", str(folder))
        places.append(folder)
    for place in places:
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "no permission to move files", str(place))


def clock_of(folder: Path) -> float:
    """Return what time it is by a folder's file system, as the times of its files are.

    Seconds since the epoch. That of a server, or of another machine, may differ from ours.
    """
    try:
        os.utime(folder)
        return folder.stat().st_ctime
    except OSError:
        return time.time()


def put_away(path: Path, expected: Signature | None, folder: str, text: str) -> bool:
    """Move a file into a sub-folder, after writing what is to be said of it; nothing is replaced.

    Args:
        path: the file.
        expected: the state in which it was read; None moves it whatever it is.
        folder: ``processed`` or ``rejected``.
        text: the content of the file beside it.

    Returns:
        False if the file has changed or gone since it was read; then it stays.

    Raises:
        OSError: no permission, a full disk, or a file in the place of the folder; the file stays.
    """
    current = signature(path)
    if current is None or (expected is not None and current != expected):
        return False
    target_folder = path.parent / folder
    make_folder(target_folder)
    name, beside = _reserve(target_folder, path.name, ENDINGS[folder])
    target = target_folder / name
    try:
        with naming(beside):
            beside.write_text(text, encoding="utf-8", errors="replace")
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        path.rename(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            return False
        raise
    if expected is not None and signature(target) != expected and not path.exists():
        # Replaced between our look and our move: what nobody has read goes back.
        target.rename(path)
        beside.unlink()
        return False
    fsync_folder(target_folder)
    fsync_folder(path.parent)
    return True


def find_put_away(
    drops: Path, digest: str, since: float, name: str | None = None
) -> tuple[str, Path] | None:
    """Return where a content was put away after a time: the folder, and what lies beside it.

    Args:
        drops: the folder in which it landed.
        digest: SHA-256 of the content; empty if nobody could read it.
        since: seconds since the epoch.
        name: look under this name only, or this name with a number.
    """
    for folder, ending in ENDINGS.items():
        for path in (drops / folder).glob("*"):
            if name is not None and not _is_name_of(path.name, name):
                continue
            beside = path.with_name(f"{path.name}{ending}")
            try:
                # A file's status changes when it is moved.
                moved = beside.exists() and path.lstat().st_ctime >= since - CLOCK_TICK
                if not moved:
                    continue
                if not digest or hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                    return folder, beside
            except OSError:
                continue
    return None


def _is_name_of(name: str, original: str) -> bool:
    """Return whether a file called ``original`` may have been put away as ``name``."""
    stem, suffix = map(re.escape, (Path(original).stem, Path(original).suffix))
    return re.fullmatch(rf"{stem}(-\d+)?{suffix}", printable(name)) is not None


def _reserve(folder: Path, name: str, ending: str) -> tuple[str, Path]:
    """Return a name that is free in ``folder``, reserved by the file beside it."""
    original = Path(name)
    longest = os.pathconf(folder, "PC_NAME_MAX") - len(ending)
    number = 1
    while True:
        mark = "" if number == 1 else f"-{number}"
        chosen = f"{original.stem}{mark}{original.suffix}"
        if len(os.fsencode(chosen)) > longest:
            # The ends of a name that leaves no room for ``ending`` are enough to know it by.
            room = longest - len(os.fsencode(f"…{mark}{original.suffix}"))
            stem = os.fsencode(original.stem)[:room].decode(errors="ignore")
            chosen = f"{stem}…{mark}{original.suffix}"
        beside = folder / f"{chosen}{ending}"
        number += 1
        if (folder / chosen).exists() or (folder / chosen).is_symlink():
            continue
        try:
            beside.touch(exist_ok=False)
        except FileExistsError:
            # Left by a run that was killed before its move, or kept by the user: never replaced.
            continue
        return chosen, beside
