"""Tensor files: complete under their name or not there."""

import hashlib
import os
import resource
from pathlib import Path

import pytest

from adapterstore.errors import CorruptStore, ObjectMissing, UnreadableFile
from adapterstore.identifiers import ObjectId
from adapterstore.store.objects import CHUNK_BYTES, ObjectStore, Pointer


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "lfs")


def put(objects: ObjectStore, source: Path) -> Pointer:
    with objects.stage(source) as staged:
        return objects.publish(staged)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 17])
def test_an_object_lies_under_its_sha256_with_its_bytes(
    objects: ObjectStore, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    pointer = put(objects, tmp_path / "source")
    assert pointer == Pointer(ObjectId(hashlib.sha256(data).hexdigest()), size)
    path = objects.verify(pointer, "test")
    assert path.read_bytes() == data
    a, b = pointer.object_id[:2], pointer.object_id[2:4]
    assert path == tmp_path / "lfs" / "objects" / a / b / pointer.object_id


def test_what_is_staged_and_not_published_leaves_nothing(
    objects: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    with objects.stage(tmp_path / "source") as staged:
        assert staged.path.read_bytes() == b"tensors"
    assert [p for p in (tmp_path / "lfs").rglob("*") if p.is_file()] == []


def test_moving_takes_the_file_itself(objects: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"tensors")
    inode = source.stat().st_ino
    with objects.stage(source, move=True) as staged:
        pointer = objects.publish(staged)
    assert not source.exists()
    assert objects.path(pointer.object_id).stat().st_ino == inode


def test_the_same_bytes_twice_are_one_object(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    first = put(objects, tmp_path / "source")
    inode = objects.path(first.object_id).stat().st_ino
    assert put(objects, tmp_path / "source") == first
    assert objects.path(first.object_id).stat().st_ino == inode


def test_a_flipped_bit_is_found_and_the_bytes_are_kept(
    objects: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    pointer = put(objects, tmp_path / "source")
    path = objects.path(pointer.object_id)
    path.chmod(0o644)
    path.write_bytes(b"tensorr")
    with pytest.raises(CorruptStore, match="hashes to"):
        objects.verify(pointer, "test")
    assert path.read_bytes() == b"tensorr"


@pytest.mark.parametrize("damaged", [b"tensorr", b"tens", b""])
def test_a_damaged_object_gives_way_to_its_right_bytes(
    objects: ObjectStore, tmp_path: Path, damaged: bytes
) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    path = objects.path(put(objects, tmp_path / "source").object_id)
    path.chmod(0o644)
    path.write_bytes(damaged)
    with path.open("rb") as reader:
        pointer = put(objects, tmp_path / "source")
        assert objects.verify(pointer, "test").read_bytes() == b"tensors"
        assert reader.read() == damaged, "who reads it already has one file, not a mixture"
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_trial_has_right_bytes_of_its_own_and_repairs_nothing(
    objects: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    path = objects.path(put(objects, tmp_path / "source").object_id)
    path.chmod(0o644)
    path.write_bytes(b"tensorr")
    trial = ObjectStore(tmp_path / "trial", behind=objects)
    pointer = put(trial, tmp_path / "source")
    assert trial.verify(pointer, "test").read_bytes() == b"tensors"
    assert path.read_bytes() == b"tensorr"


def test_another_size_is_found_without_reading(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    pointer = put(objects, tmp_path / "source")
    with pytest.raises(CorruptStore, match="has 7 bytes, not 8"):
        objects.open_path(Pointer(pointer.object_id, 8), "test")


def test_a_missing_object_is_named(objects: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="ab{63} is missing".replace("b{63}", "b" * 63)):
        objects.open_path(Pointer(ObjectId("a" + "b" * 63), 1), "deltas/x")


def test_a_source_that_is_not_there_is_named(objects: ObjectStore, tmp_path: Path) -> None:
    with (
        pytest.raises(UnreadableFile, match="missing: No such file"),
        objects.stage(tmp_path / "missing"),
    ):
        pass


def test_new_files_of_a_trial_stay_out_of_the_store(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "tried").write_bytes(b"tried")
    kept = put(objects, tmp_path / "kept")
    trial = ObjectStore(tmp_path / "trial", behind=objects)
    tried = put(trial, tmp_path / "tried")
    assert trial.verify(kept, "test") == objects.path(kept.object_id)
    assert trial.verify(tried, "test").read_bytes() == b"tried"
    with pytest.raises(ObjectMissing):
        objects.open_path(tried, "test")


def test_a_pointer_reads_back() -> None:
    pointer = Pointer(ObjectId("ab" * 32), 160_000_000)
    assert Pointer.from_bytes(pointer.to_bytes(), "test") == pointer


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x08\x00\x00\x00\x00\x00\x00\x00{}",
        Pointer(ObjectId("ab" * 32), 5).to_bytes() + b"\n",
        Pointer(ObjectId("ab" * 32), 5).to_bytes().replace(b"size 5", b"size 05"),
        Pointer(ObjectId("ab" * 32), 5).to_bytes().replace(b"sha256:ab", b"sha256:AB"),
    ],
)
def test_anything_but_canonical_text_is_no_pointer(text: bytes) -> None:
    with pytest.raises(CorruptStore, match="not a Git LFS pointer"):
        Pointer.from_bytes(text, "deltas/x")


@pytest.mark.parametrize("limit", [0, 3])
def test_a_full_disk_is_not_put_down_to_the_source(
    objects: ObjectStore, tmp_path: Path, limit: int
) -> None:
    (tmp_path / "source").write_bytes(b"tensors")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            put(objects, tmp_path / "source")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(raised.value.filename).startswith(str(tmp_path / "lfs"))
    assert list(objects.names()) == []
    assert not any((tmp_path / "lfs" / "tmp").iterdir())
