"""Trees of many new files, written as one pack.

Git makes each loose object durable by itself, at two flushes of the disk; a pack takes three for
all of its objects.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pygit2

from adapterstore.store.packing import write_pack
from adapterstore.store.repository import Change, Repository, open_git

MANY = 100
"""From so many changed paths on, a pack is worth its own file and index."""


def write_tree(
    repository: Repository, base: pygit2.Tree | None, changes: Mapping[str, Change]
) -> pygit2.Oid:
    """Write a tree as `Repository.write_tree` does; many new objects become one pack.

    Raises:
        CorruptStore: an object that stays, or that was there already, is damaged.
    """
    if len(changes) < MANY:
        return repository.write_tree(base, changes)
    memory = _Memory()
    view = copy.copy(repository)
    # A handle of its own: what is in memory must not be seen through any other.
    view.git = open_git(repository.folder)
    view.git.odb.add_backend(memory, _BEFORE_THE_DISK)
    before = view.folder_at(str(base.id)) if base is not None else None
    tree = view.write_tree(before, changes)
    if memory.objects:
        write_pack(view, memory.objects.keys())
    return tree


_BEFORE_THE_DISK = 1000
"""libgit2 writes to the backend of the highest priority; its own have 1 and 2."""


class _Memory(pygit2.OdbBackend):
    """Objects that no file has yet. libgit2 asks the disk first for those that it is to write."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, tuple[int, bytes]] = {}

    def exists_cb(self, object_id: pygit2.Oid) -> bool:
        return str(object_id) in self.objects

    def read_cb(self, object_id: pygit2.Oid) -> tuple[int, bytes]:
        return self.objects[str(object_id)]

    def read_header_cb(self, object_id: pygit2.Oid) -> tuple[int, int]:
        kind, data = self.objects[str(object_id)]
        return kind, len(data)

    def write_cb(self, object_id: pygit2.Oid, data: bytes, kind: int) -> None:
        self.objects[str(object_id)] = (kind, data)

    def refresh_cb(self) -> None:
        """Nothing changes but by what is written here."""
