"""Count what is read: a git repository whose objects come through a counter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pygit2

from adapterstore import Store


class Counter:
    """How often libgit2 has read an object."""

    reads = 0


class CountingBackend(pygit2.OdbBackend):
    """Gives the objects of another backend, and counts those that are read."""

    def __init__(self, source: Any, counter: Counter):
        super().__init__()
        self._source, self._counter = source, counter

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        found: tuple[int, bytes] = self._source.read(oid)
        self._counter.reads += 1
        return found

    def read_prefix_cb(self, oid: pygit2.Oid) -> tuple[int, bytes, pygit2.Oid]:
        found: tuple[int, bytes, pygit2.Oid] = self._source.read_prefix(oid)
        self._counter.reads += 1
        return found

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


def open_counted(store: Store) -> tuple[Store, Counter]:
    """Open a store again, to read only, with its reads counted from 0."""
    again = Store.open(store.repository.folder.parent)
    objects = store.repository.folder / "objects"
    counter, database = Counter(), pygit2.Odb()
    loose = pygit2.OdbBackendLoose(str(objects), -1, False)
    for priority, source in enumerate((loose, pygit2.OdbBackendPack(str(objects))), 1):
        database.add_backend(CountingBackend(source, counter), priority)
    again.repository.git.set_odb(database)
    return again, counter
