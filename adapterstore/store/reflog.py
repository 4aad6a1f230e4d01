"""Where refs and HEAD have been: git's reflogs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adapterstore.identifiers import CommitId
from adapterstore.store.dates import date_of
from adapterstore.store.durable import make_folder
from adapterstore.store.reflog_files import write_reflog
from adapterstore.store.repository import Repository, intact

_NOTHING = "0" * 40


@dataclass(frozen=True)
class ReflogEntry:
    """One move of a ref."""

    before: CommitId | None
    """None: the ref was made."""
    after: CommitId
    author: str
    time: datetime
    message: str


def read_reflog(repository: Repository, name: str) -> list[ReflogEntry]:
    """Return where a ref (full name, or ``HEAD``) has been, newest first; entry n is ``name@{n}``.

    Empty if there is no such ref, or none of its moves was recorded.
    """
    with intact(name):
        reference = repository.git.references.get(name)
    if reference is None or not _path(repository, name).is_file():
        return []
    entries = []
    for item in reference.log():
        by = item.committer
        before = str(item.oid_old)
        entries.append(
            ReflogEntry(
                before=CommitId(before) if before != _NOTHING else None,
                after=CommitId(str(item.oid_new)),
                author=f"{by.name} <{by.email}>",
                time=date_of(by),
                message=item.message or "",
            )
        )
    return entries


def check_reflogs(repository: Repository, names: Iterable[str]) -> None:
    """Raise `OSError` if one of these reflogs is there and can't be appended to."""
    for path in (_path(repository, name) for name in names):
        if path.exists():
            path.open("ab").close()


def reflog_sizes(repository: Repository, names: Iterable[str]) -> dict[str, int | None]:
    """Return how long reflogs are, in bytes (None: there is none)."""
    paths = {name: _path(repository, name) for name in names}
    return {name: p.stat().st_size if p.is_file() else None for name, p in paths.items()}


def cut_reflogs(repository: Repository, sizes: Mapping[str, int | None]) -> None:
    """Make reflogs as long as they were: take back what has been appended since."""
    for name, now in reflog_sizes(repository, sizes).items():
        size = sizes[name]
        if now is not None and size is None:
            _path(repository, name).unlink()
        elif now is not None and size is not None and now > size:
            os.truncate(_path(repository, name), size)


def carry_reflog(repository: Repository, old: str, new: str, target: str) -> None:
    """Put the reflog of ``old`` before the one entry of ``new``, which names ``target`` already."""
    try:
        earlier = _path(repository, old).read_bytes()
    except FileNotFoundError:
        return
    made = _path(repository, new).read_bytes()
    # The entry says that the ref was made from nothing: it was there, under another name.
    carried = earlier + target.encode() + made[len(target) :]
    write_reflog(repository, new, carried.splitlines())


def remove_reflog(repository: Repository, name: str) -> None:
    """Remove the reflog of a ref that is gone, and the folders that it leaves empty."""
    path = _path(repository, name)
    path.unlink(missing_ok=True)
    _remove_empty_folders(path.parent, repository.folder / "logs" / "refs")


def clear_stale_reflogs(repository: Repository, name: str) -> None:
    """Make room for a new ref's reflog: remove those of refs that are gone and stand in its way.

    A process that is killed while it deletes ``a/b`` may leave ``logs/refs/heads/a/b`` behind; then
    a branch ``a`` could not be made.
    """
    logs = repository.folder / "logs"
    path = _path(repository, name)
    for folder in path.parents:
        if folder.is_file():
            folder.unlink()
    make_folder(path.parent)
    if path.is_dir():
        for stale in [inner for inner in path.rglob("*") if inner.is_file()]:
            if repository.git.references.get(str(stale.relative_to(logs))) is None:
                remove_reflog(repository, str(stale.relative_to(logs)))
        _remove_empty_folders(path, path.parent)
    else:
        path.unlink(missing_ok=True)


def _path(repository: Repository, name: str) -> Path:
    return repository.folder / "logs" / name


def _remove_empty_folders(folder: Path, stop: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != stop:
            folder.rmdir()
            folder = folder.parent
