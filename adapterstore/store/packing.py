"""Git's objects as files: loose ones, and packs of them.

Nothing is removed before what stands in for it is durable: a pack is written aside, read back
object by object, fsynced, and takes its name before any loose file of its objects goes.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.durable import fsync_file, fsync_folder, make_folder, put_file
from adapterstore.store.refusals import git_writing
from adapterstore.store.repository import Repository

_FOLDER = re.compile(r"[0-9a-f]{2}")
_REST = re.compile(r"[0-9a-f]{38}")
_INDEX_MAGIC = b"\xfftOc\x00\x00\x00\x02"
_SIDECARS = (".idx", ".rev", ".bitmap", ".mtimes", ".pack")
"""In the order of removal: a pack without its index is not seen any more."""


@dataclass(frozen=True)
class LooseObject:
    """One object in a file of its own."""

    object_id: str
    path: Path
    size: int
    modified: float


@dataclass(frozen=True)
class Pack:
    """One pack and its index."""

    path: Path
    object_ids: frozenset[str]
    size: int
    modified: float

    @property
    def kept(self) -> bool:
        """Whether somebody wants it left alone (git's ``.keep``)."""
        return self.path.with_suffix(".keep").exists()


def list_loose(repository: Repository) -> list[LooseObject]:
    """Return the loose objects of the store itself (not those of alternates)."""
    found = []
    for folder in sorted((repository.folder / "objects").iterdir()):
        if not _FOLDER.fullmatch(folder.name):
            continue
        for path in sorted(folder.iterdir()):
            if _REST.fullmatch(path.name):
                status = path.stat()
                name = folder.name + path.name
                found.append(LooseObject(name, path, status.st_size, status.st_mtime))
    return found


def list_packs(repository: Repository) -> list[Pack]:
    """Return the packs of the store itself; one without an index is left out, as git does.

    Raises:
        CorruptStore: an index that can't be read.
    """
    found = []
    for index in sorted((repository.folder / "objects" / "pack").glob("pack-*.idx")):
        path = index.with_suffix(".pack")
        if path.exists():
            size = sum(file.stat().st_size for file in _files(path))
            found.append(Pack(path, _read_index(index), size, path.stat().st_mtime))
    return found


def _files(pack: Path) -> list[Path]:
    return [file for suffix in _SIDECARS if (file := pack.with_suffix(suffix)).exists()]


def _read_index(path: Path) -> frozenset[str]:
    """Return the ids in a pack's index (gitformat-pack, version 2)."""
    data = path.read_bytes()
    if not data.startswith(_INDEX_MAGIC) or len(data) < 8 + 1024:
        raise CorruptStore(str(path), "not a pack index of version 2")
    (count,) = struct.unpack(">I", data[8 + 1020 : 8 + 1024])
    names = data[8 + 1024 : 8 + 1024 + 20 * count]
    if len(names) != 20 * count:
        raise CorruptStore(str(path), "is shorter than its table says")
    return frozenset(names[at : at + 20].hex() for at in range(0, len(names), 20))


def write_pack(
    repository: Repository, object_ids: Collection[str], progress: Progress = NO_PROGRESS
) -> Path:
    """Write one pack of some objects, durably; return its path.

    Raises:
        CorruptStore: an object does not come back from the pack as it was.
        OSError: the disk is full, or there is no permission to write.
    """
    target = repository.folder / "objects" / "pack"
    make_folder(target)
    progress.start("packing", len(object_ids))
    with repository.objects.scratch() as scratch:
        aside = scratch / "pack"
        aside.mkdir()
        builder = pygit2.PackBuilder(repository.git)
        for object_id in sorted(object_ids):
            builder.add(pygit2.Oid(hex=object_id))
        with git_writing(target):
            builder.write(aside)
        (index,) = aside.glob("*.idx")
        if _read_index(index) != set(object_ids):
            raise CorruptStore(str(target), "a new pack holds other objects than were asked for")
        written = pygit2.Odb(str(scratch))
        for object_id in object_ids:
            # libgit2 compares the hash of what it reads with the name it was asked for.
            written.read(object_id)
            progress.advance()
        # A pack is seen by its index: that comes last.
        for suffix in (".pack", ".idx"):
            file = index.with_suffix(suffix)
            fsync_file(file)
            file.replace(target / file.name)
        fsync_folder(target)
        return target / index.with_suffix(".pack").name


def unpack(repository: Repository, object_id: str, modified: float) -> None:
    """Write a packed object as a loose one of a certain age."""
    kind, data = repository.git.read(object_id)
    names = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
    path = repository.folder / "objects" / object_id[:2] / object_id[2:]
    make_folder(path.parent)
    with repository.objects.scratch() as scratch:
        aside = scratch / "object"
        header = f"{names[int(kind)]} {len(data)}\0".encode()
        put_file(aside, zlib.compress(header + data))
        aside.chmod(0o444)
        os.utime(aside, (modified, modified))
        aside.replace(path)
    fsync_folder(path.parent)


def remove_pack(pack: Pack) -> None:
    """Remove a pack, its index first."""
    # Git's caches over packs and commits; it makes them again.
    objects = pack.path.parent.parent
    for cache in (*pack.path.parent.glob("multi-pack-index*"), objects / "info" / "packs"):
        cache.unlink(missing_ok=True)
    for file in _files(pack.path):
        file.unlink(missing_ok=True)


def remove_commit_graph(repository: Repository) -> None:
    """Remove git's cache of the commits' graph: it may name commits that go."""
    info = repository.folder / "objects" / "info"
    for path in (info / "commit-graph", *info.glob("commit-graphs/*")):
        path.unlink(missing_ok=True)
