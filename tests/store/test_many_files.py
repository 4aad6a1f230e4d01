"""Many new files are one pack: the same tree, found by every reader, durable at three flushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import CorruptStore
from adapterstore.store.many_files import MANY, write_tree
from adapterstore.store.packing import list_loose, list_packs
from adapterstore.store.repository import Change, Repository


def facts(count: int, text: str = "fact") -> dict[str, Change]:
    return {f"facts/{n % 7:02x}/{n}.json": f"{text} {n}\n".encode() for n in range(count)}


def test_many_new_files_are_one_pack_and_the_tree_that_loose_ones_make(tmp_path: Path) -> None:
    one, other = (Store.init(tmp_path / name).repository for name in ("one", "other"))
    known = one.git.create_blob(b"fact 3\n")
    loose = list_loose(one)
    changes = {**facts(MANY), "base.json": None, "README.md": one.git.create_blob(b"read\n")}
    other.git.create_blob(b"read\n")
    tree = write_tree(one, one.tree(Store(one).resolve()), changes)
    assert tree == other.write_tree(other.tree(Store(other).resolve()), changes)
    (pack,) = list_packs(one)
    # All but the one that was there: 99 blobs, and the trees of 7 folders, of facts/ and above it.
    assert len(pack.object_ids) == MANY - 1 + 7 + 2
    assert str(known) not in pack.object_ids
    assert len(list_loose(one)) == len(loose) + 1
    assert list((one.folder / "lfs" / "tmp").iterdir()) == []
    # The one that wrote it finds it, and who opens the store anew.
    for repository in (one, Repository(one.folder)):
        commit = repository.write_commit(tree, [], "a commit")
        assert repository.read(commit, "facts/05/34.json") is None
        assert repository.read(commit, "facts/05/40.json") == b"fact 40\n"
        assert len(repository.files(commit, "facts")) == MANY
    # Again, all of it is there.
    assert write_tree(one, one.tree(Store(one).resolve()), changes) == tree
    assert [p.path for p in list_packs(one)] == [pack.path]


def test_few_files_stay_loose(tmp_path: Path) -> None:
    repository = Store.init(tmp_path).repository
    write_tree(repository, None, facts(MANY - 1))
    assert list_packs(repository) == []


@pytest.mark.damages_the_store
@pytest.mark.parametrize("count", [1, MANY])
def test_a_damaged_folder_is_told_and_nothing_is_packed(tmp_path: Path, count: int) -> None:
    repository = Store.init(tmp_path).repository
    base = repository.write_tree(None, facts(1, "earlier"))
    folder = repository.git[base]["facts"]["00"].id
    before = repository.folder_at(str(base))
    path = repository.folder / "objects" / str(folder)[:2] / str(folder)[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    again = Repository(repository.folder)
    with pytest.raises(CorruptStore):
        write_tree(again, again.folder_at(str(before.id)), facts(count))
    assert list_packs(again) == []
