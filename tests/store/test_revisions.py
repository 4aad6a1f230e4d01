"""From what a user types to a commit: git's syntax, and updates."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.errors import (
    AmbiguousRevision,
    CorruptStore,
    NotAStore,
    StoreExists,
    UnknownRevision,
)
from adapterstore.history.updates import Phase, new_update_id
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update, resolve
from tests.cli.running import lora_folder
from tests.history.publishing import publish_phases


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    for number in range(3):
        store.commit(None, lora_folder(tmp_path / f"a{number}", seed=number))
    return store


def publish(store: Store, update: str, digest: str, accepted: bool = True) -> list[CommitId]:
    """Publish an update of two phases, each of a composition at hand."""
    snapshot = store.snapshot()
    phases = [
        Phase(operation, f"{operation} it", snapshot.composition, snapshot.base, {"Scale": "1"})
        for operation in ("forget", "learn")
    ]
    return publish_phases(store, None, update, digest, phases, accepted=accepted)


def test_git_syntax(store: Store) -> None:
    ids = [entry.commit for entry in store.log()]
    git = store.repository.git
    git.create_tag("v1", ids[1], pygit2.enums.ObjectType.COMMIT, pygit2.Signature("a", "b"), "one")
    git.references.create("refs/tags/light", ids[2])
    for text, number in {
        "HEAD": 0,
        "main": 0,
        "refs/heads/main": 0,
        "main~2": 2,
        "HEAD^": 1,
        "HEAD^^": 2,
        "main@{1}": 1,
        "v1": 1,
        "v1~1": 2,
        "light": 2,
        ids[3]: 3,
        ids[3][:9]: 3,
        ids[3][:9].upper(): 3,
    }.items():
        assert resolve(store.repository, text) == ids[number], text


@pytest.mark.parametrize(
    "text",
    ["", "nowhere", "main~9", "-h", "a\0b", "HEAD:base.json", "ab", "update/", "update/zzzz", "é"],
)
def test_what_names_nothing_is_said_to(store: Store, text: str) -> None:
    with pytest.raises(UnknownRevision):
        resolve(store.repository, text)


def test_ids_of_files_and_trees_are_no_revisions(store: Store) -> None:
    tree = str(store.repository.commit(store.resolve()).tree_id)
    with pytest.raises(UnknownRevision):
        resolve(store.repository, tree)


def test_an_update_is_found_by_its_trailer(store: Store) -> None:
    before = store.resolve()
    commits = publish(store, "5ca2598a2a59", "5c" * 32)
    assert resolve(store.repository, "update/5ca2598a2a59") == commits[1] == store.resolve()
    assert resolve(store.repository, "update/5ca2") == commits[1]
    assert resolve(store.repository, "update/5ca2598a2a59~2") == before
    assert find_update(store.repository, "5ca2598a2a59") == commits
    assert new_update_id(store.repository, "5ca2598a2a59" + "0" * 52) == "5ca2598a2a59-2"


def test_a_refused_update_is_found_and_the_branch_has_not_moved(store: Store) -> None:
    before = store.resolve()
    commits = publish(store, "aaaa598a2a59", "aa" * 32, accepted=False)
    assert store.resolve() == before
    assert resolve(store.repository, "update/aaaa598a2a59") == commits[-1]
    assert new_update_id(store.repository, "aaaa598a2a59" + "0" * 52) == "aaaa598a2a59-2"


def test_an_update_id_that_begins_two_is_ambiguous(store: Store) -> None:
    publish(store, "5ca2598a2a59", "5c" * 32)
    publish(store, "5ca2ffffffff", "5d" * 32)
    with pytest.raises(AmbiguousRevision, match="update/5ca2598a2a59, update/5ca2ffffffff"):
        resolve(store.repository, "update/5ca2")


def test_a_store_is_found_from_below_and_not_from_beside(store: Store, tmp_path: Path) -> None:
    below = tmp_path / "one" / "two"
    below.mkdir(parents=True)
    assert Repository.discover(below).folder == store.repository.folder
    with pytest.raises(NotAStore):
        Repository.discover(Path(tmp_path.anchor))
    with pytest.raises(StoreExists):
        Store.init(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [".adapterstore"]


@pytest.mark.parametrize("settings", ["name =\nemail =", "name = <a>\nemail = a b"])
def test_an_author_that_no_commit_can_have_is_replaced(tmp_path: Path, settings: str) -> None:
    store = Store.init(tmp_path, base="org/base")
    with (store.repository.folder / "config").open("a") as config:
        config.write(f"[user]\n{settings}\n")
    assert Store.open(tmp_path).entry().operation == "init"


@pytest.mark.damages_the_store
def test_a_store_that_git_cannot_open_is_not_taken_for_none(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="org/base")
    (store.repository.folder / "HEAD").unlink()
    with pytest.raises(CorruptStore, match="git can't open it"):
        Store.open(tmp_path)


@pytest.mark.damages_the_store
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("part", ["HEAD", "config", "objects", "refs"])
def test_a_repository_around_a_damaged_store_is_not_taken_for_it(
    tmp_path: Path, part: str, bare: bool
) -> None:
    pygit2.init_repository(str(tmp_path), bare=bare)
    path = Store.init(tmp_path / "work", base="org/base").repository.folder / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(CorruptStore):
        Store.open(tmp_path / "work")
    if part == "config":
        path.touch()
        with pytest.raises(CorruptStore, match="does not say that it is bare"):
            Store.open(tmp_path / "work")


def test_a_git_work_tree_is_no_store(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path))
    (tmp_path / ".git" / "lfs").mkdir()
    with pytest.raises(NotAStore, match="a git work tree"):
        Store.open(tmp_path / ".git")


@pytest.mark.damages_the_store
@pytest.mark.parametrize("there", [True, False])
def test_only_where_a_store_came_in_between_is_there_one_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def rename(draft: Path, target: Path) -> Path:
        if there:
            target.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StoreExists if there else OSError, match="already" if there else "No space"):
        Store.init(tmp_path, base="org/base")


def test_a_new_store_is_durable_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    rename, fsync = Path.rename, os.fsync

    def noted_fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    def checked_rename(draft: Path, target: Path) -> Path:
        folders = [Path(folder) for folder, _, _ in os.walk(draft)]
        assert {draft / "HEAD", draft / "config", *folders} <= set(synced)
        return rename(draft, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", checked_rename)
    Store.init(tmp_path, base="org/base")
    assert tmp_path in synced
