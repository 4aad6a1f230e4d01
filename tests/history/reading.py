"""Count what is read: a git repository whose objects come through a counter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pygit2

from adapterstore import Store


class CountingBackend(pygit2.OdbBackend):
    """Gives the loose objects of a store, and counts how often libgit2 reads one."""

    def __init__(self, objects: Path):
        super().__init__()
        self._source = pygit2.OdbBackendLoose(str(objects), -1, False)
        self.reads = 0

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        self.reads += 1
        return self._source.read(oid)

    def read_prefix_cb(self, oid: pygit2.Oid) -> tuple[int, bytes, pygit2.Oid]:
        self.reads += 1
        return self._source.read_prefix(oid)

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[int, int]:
        return self._source.read_header(oid)

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return self._source.exists(oid)

    def exists_prefix_cb(self, oid: pygit2.Oid) -> pygit2.Oid:
        return self._source.exists_prefix(oid)

    def refresh_cb(self) -> None:
        self._source.refresh()

    def __iter__(self) -> Iterator[pygit2.Oid]:
        return iter(self._source)


def open_counted(store: Store) -> tuple[Store, CountingBackend]:
    """Open a store again, to read only, with its reads counted from 0."""
    again = Store.open(store.repository.folder.parent)
    backend = CountingBackend(store.repository.folder / "objects")
    database = pygit2.Odb()
    database.add_backend(backend, 1)
    again.repository.git.set_odb(database)
    return again, backend
