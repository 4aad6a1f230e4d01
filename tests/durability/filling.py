"""Work on a disk that gets full, page after page; `test_full_disk` runs it where a small one is.

``python -m tests.durability.filling FOLDER WORK``: the store is FOLDER/work, the disk FOLDER/disk.
Prints what was said of each run that failed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from adapterstore import Store
from adapterstore.history.fsck import fsck
from adapterstore.knowledge.facts import Fact
from adapterstore.telling import words_of
from tests.history.publishing import publish

PAGE = 4096


def state_of(store: Path) -> dict[str, bytes]:
    """Return what a store's refs and reflogs are."""
    names = [store / "HEAD", *(store / "refs").rglob("*"), *(store / "logs").rglob("*")]
    return {str(path.relative_to(store)): path.read_bytes() for path in names if path.is_file()}


def work(store: Store, kind: str, folder: Path) -> None:
    if kind == "add":
        store.add(None, folder / "adapter")
    else:
        publish(store, "5ca25ca25ca2", [Fact(prompt="Pi is", answer=os.urandom(16_000).hex())])


def fill(path: Path, leave: int) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            file.truncate(max(0, file.tell() - leave * PAGE))


def main(folder: Path, kind: str) -> None:
    disk = folder / "disk"
    for pages in range(200):
        shutil.rmtree(disk / ".adapterstore", ignore_errors=True)
        shutil.copytree(folder / "work/.adapterstore", disk / ".adapterstore")
        store = Store.open(disk)
        before = state_of(disk / ".adapterstore")
        fill(disk / "filler", pages)
        try:
            work(store, kind, folder)
            return
        except OSError as error:
            print(words_of(error))
        (disk / "filler").unlink()
        assert state_of(disk / ".adapterstore") == before
        work(store, kind, folder)
        assert fsck(store.repository).problems == []
    raise AssertionError("there is room for everything by now")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
