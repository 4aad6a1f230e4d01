"""A base's files are hashed once, and anew as soon as one of them may have changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.adapters.base_model import file_digest
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import BaseModelMismatch
from adapterstore.history import base_digests
from adapterstore.history.base_digests import remembered_digest


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read and hashed from now on."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(base_digests, "file_digest", counted)
    monkeypatch.setattr(base_digests, "SETTLED_NS", 0)
    return names


def test_a_file_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    path = tmp_path / "重み.safetensors"
    path.write_bytes(b"weights")
    first = remembered_digest(tmp_path)(path)
    assert remembered_digest(tmp_path)(path) == first == file_digest(path)
    assert hashed == [path.name]
    shutil.rmtree(tmp_path / "cache")
    assert remembered_digest(tmp_path)(path) == first
    assert len(hashed) == 2


def test_a_change_of_equal_size_is_seen_even_if_the_time_is_put_back(
    tmp_path: Path, hashed: list[str]
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    before = path.stat()
    remembered_digest(tmp_path)(path)
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_digest(tmp_path)(path) == file_digest(path)
    other = tmp_path / "other"
    other.write_bytes(b"another")
    other.replace(path)
    assert remembered_digest(tmp_path)(path) == file_digest(path)
    assert len(hashed) == 3


def test_a_file_that_changed_just_now_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_digests, "SETTLED_NS", 3_600_000_000_000)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    remembered_digest(tmp_path)(path)
    remembered_digest(tmp_path)(path)
    assert len(hashed) == 2


def test_a_store_hashes_its_base_once_and_still_refuses_another(
    tmp_path: Path, hashed: list[str]
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(MODEL_PATH, folder)
    store = Store.init(tmp_path / "store", base=str(folder))
    store.settings.with_value("base.path", str(folder)).write()
    assert store.base_folder() == folder
    known = len(hashed)
    assert known > 0
    assert Store.open(tmp_path / "store").base_folder() == folder
    assert len(hashed) == known
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BaseModelMismatch):
        store.base_folder()
    assert hashed[known:] == [weights.name]
