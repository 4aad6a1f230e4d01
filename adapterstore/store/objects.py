"""Tensor files by their SHA-256, in the place where Git LFS keeps them.

An object file, once present under its name, is complete and its bytes hash to its name: the bytes
are hashed while they are copied to a temporary file of the same file system, fsynced, and only then
renamed. Layout and pointer text: git-lfs, docs/spec.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory

from adapterstore.errors import CorruptStore, ObjectMissing, UnreadableFile
from adapterstore.identifiers import ObjectId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.durable import fsync_folder, make_folder
from adapterstore.store.locks import try_lock
from adapterstore.store.refusals import naming

CHUNK_BYTES = 1 << 20
_OBJECT_ID = re.compile(r"[0-9a-f]{64}")
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9]\d*)\n"
)

Look = Callable[[memoryview], None]
"""Is shown the bytes of a file, part by part."""


def _look_at_nothing(_: memoryview) -> None:
    pass


@dataclass(frozen=True)
class Pointer:
    """What git holds in the place of a tensor file."""

    object_id: ObjectId
    size: int

    def to_bytes(self) -> bytes:
        """Return the pointer's canonical text."""
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.object_id}\nsize {self.size}\n"
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Pointer:
        """Read a pointer; raise `CorruptStore` on anything but canonical text."""
        match = _POINTER.fullmatch(data)
        if match is None:
            raise CorruptStore(where, "not a Git LFS pointer")
        return cls(ObjectId(match[1].decode()), int(match[2]))


@dataclass(frozen=True)
class StagedFile:
    """A complete, durable copy that has no name in the store yet."""

    path: Path
    pointer: Pointer


class ObjectStore:
    """The folder ``lfs/`` of a store."""

    def __init__(self, folder: Path, behind: ObjectStore | None = None):
        """Open ``folder``; objects that it lacks are read from ``behind``, never written there."""
        self._objects = folder / "objects"
        self._temporary = folder / "tmp"
        self._behind = behind

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder on the store's file system; it is removed at the end.

        It is locked for as long, so that `gc` knows it from what a killed process left behind.
        """
        make_folder(self._temporary)
        with TemporaryDirectory(dir=self._temporary) as folder, naming(self._temporary):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                try_lock(handle, fcntl.LOCK_SH)
                yield Path(folder)
            finally:
                os.close(handle)

    def path(self, object_id: ObjectId) -> Path:
        """Return where an object lies, or would lie."""
        own = self._own_path(object_id)
        if self._behind is not None and not own.exists():
            theirs = self._behind.path(object_id)
            return theirs if theirs.exists() else own
        return own

    def _own_path(self, object_id: ObjectId) -> Path:
        return self._objects / object_id[:2] / object_id[2:4] / object_id

    @contextmanager
    def stage(
        self,
        source: Path,
        progress: Progress = NO_PROGRESS,
        move: bool = False,
        look: Look = _look_at_nothing,
    ) -> Iterator[StagedFile]:
        """Bring a file's bytes in, hashed in the same pass; forgotten unless `publish` is called.

        With ``move``, a file that is on the store's file system already is taken, not copied.
        ``look`` is shown all bytes, in order.

        Raises:
            UnreadableFile: the source can't be read.
            OSError: the disk is full, or there is no permission to write to the store.
        """
        make_folder(self._temporary)
        temporary = self._temporary / uuid.uuid4().hex
        try:
            if move:
                source.replace(temporary)
                digest, size = _hash(temporary, progress, look)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            else:
                digest, size = _copy(source, temporary, progress, look)
            yield StagedFile(temporary, Pointer(ObjectId(digest), size))
        finally:
            temporary.unlink(missing_ok=True)

    def publish(self, staged: StagedFile) -> Pointer:
        """Give a staged file its name, durably; one that is there already, whole, stays as it is.

        Either way it is as young as a new one, so that `gc` counts its grace period from now. One
        that is damaged gives way: the right bytes are at hand, and a commit is about to name them.
        """
        if self._is_whole(staged.pointer):
            with suppress(PermissionError):  # another user's file: the writers' lock has to do
                os.utime(self.path(staged.pointer.object_id))
        else:
            target = self._own_path(staged.pointer.object_id)
            make_folder(target.parent)
            staged.path.chmod(0o444)
            staged.path.replace(target)
            fsync_folder(target.parent)
        return staged.pointer

    def _is_whole(self, pointer: Pointer) -> bool:
        try:
            self.verify(pointer, "the object that is there")
        except CorruptStore:
            return False
        return True

    def open_path(self, pointer: Pointer, where: str) -> Path:
        """Return the path of an object that is there with its full size.

        Raises:
            ObjectMissing: no such object.
            CorruptStore: the object has another size.
        """
        path = self.path(pointer.object_id)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise ObjectMissing(where, pointer.object_id) from None
        if size != pointer.size:
            raise CorruptStore(
                where, f"object {pointer.object_id} has {size} bytes, not {pointer.size}"
            )
        return path

    def verify(self, pointer: Pointer, where: str, progress: Progress = NO_PROGRESS) -> Path:
        """Return the path of an object after hashing all its bytes.

        Raises:
            ObjectMissing: no such object.
            CorruptStore: its bytes do not hash to its name.
        """
        path = self.open_path(pointer, where)
        digest, _ = _hash(path, progress)
        if digest != pointer.object_id:
            raise CorruptStore(where, f"object {pointer.object_id} hashes to {digest}")
        return path

    def names(self) -> Iterator[tuple[Path, ObjectId | None]]:
        """Yield every file under ``objects/`` and the id it is named by (None: no proper name)."""
        for path in sorted(p for p in self._objects.rglob("*") if not p.is_dir()):
            name = path.name
            proper = _OBJECT_ID.fullmatch(name) and path == self.path(ObjectId(name))
            yield path, ObjectId(name) if proper else None


def _copy(source: Path, target: Path, progress: Progress, look: Look) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with _reading(source):
        reader = source.open("rb", buffering=0)
    with reader, naming(target), target.open("xb", buffering=0) as writer:
        progress.start(f"storing {source.name}", os.fstat(reader.fileno()).st_size)
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        while count := _read_into(reader, buffer, source):
            part = view[:count]
            digest.update(part)
            look(part)
            while part:
                part = part[writer.write(part) :]
            size += count
            progress.advance(count)
        os.fsync(writer.fileno())
    return digest.hexdigest(), size


def _read_into(reader: FileIO, buffer: bytearray, source: Path) -> int:
    with _reading(source):
        return reader.readinto(buffer) or 0


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(str(source), error.strerror or str(error)) from error


def _hash(path: Path, progress: Progress, look: Look = _look_at_nothing) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as reader:
        progress.start(f"checking {path.name[:12]}", os.fstat(reader.fileno()).st_size)
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        while count := reader.readinto(buffer):
            digest.update(view[:count])
            look(view[:count])
            size += count
            progress.advance(count)
    return digest.hexdigest(), size
