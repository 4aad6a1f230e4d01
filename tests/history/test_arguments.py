"""What `Store`'s methods do with arguments of another type, blank ones, and a store that is gone.

Each works or says in one line what is wrong; none ends in a TypeError of something inside.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.errors import (
    InvalidName,
    InvalidSetting,
    NotAStore,
    StoreExists,
    UnknownRevision,
    UnreadableFile,
)
from tests.cli.running import lora_folder

NO_TEXT: list[Any] = [3, Path("main"), b"main", ["main"]]
NO_REVISION = [*NO_TEXT, None, "", " ", "a\0b", "\udc80"]
NO_PATH: list[Any] = [3, b"main", ["main"], None, "a\0b", Path("a\0b")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two branches, the second ahead by one commit; and a tag."""
    store = Store.init(tmp_path / "store", base="example/base")
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    store.create_branch("side")
    store.add("side", lora_folder(tmp_path / "b", seed=2))
    store.create_tag("one")
    return store


@pytest.mark.parametrize("given", NO_REVISION)
def test_what_is_no_revision(tmp_path: Path, store: Store, given: Any) -> None:
    calls = [
        lambda: store.resolve(given),
        lambda: store.log(given),
        lambda: store.base_folder_at(given),
        lambda: store.load(given, None),
        lambda: store.export(given, tmp_path / "out"),
        lambda: store.create_branch("new", given),
        lambda: store.create_tag("new", given),
        lambda: store.revert(None, given),
        lambda: store.cherry_pick(None, given),
        lambda: store.merge(None, given),
        lambda: store.plan_merge(None, given),
        lambda: store.reset(None, given),
        lambda: store.switch(given if given is not None else 3),
        lambda: store.delete_tag(given if given != Path("main") else "main"),
    ]
    if not isinstance(given, Path):
        calls += [lambda: store.add(None, given), lambda: store.subtract(None, given)]
    if given is not None:
        calls += [
            lambda: store.tip(given),
            lambda: store.reflog(given),
            lambda: store.delete_branch(given),
            lambda: store.commit(None, tmp_path / "b", expect=given),
        ]
    for call in calls:
        with pytest.raises(UnknownRevision):
            call()


@pytest.mark.parametrize("given", NO_PATH)
def test_what_is_no_path(tmp_path: Path, store: Store, given: Any) -> None:
    calls = [
        lambda: Store.open(given),
        lambda: Store.init(given),
        lambda: store.commit(None, given),
        lambda: store.export("HEAD", given),
    ]
    if isinstance(given, Path):
        calls.append(lambda: store.add(None, given))
    for call in calls:
        with pytest.raises(UnreadableFile):
            call()


@pytest.mark.parametrize("given", [*NO_TEXT, None, "", "a\0b"])
def test_what_is_no_name(store: Store, given: Any) -> None:
    for call in (
        lambda: store.create_branch(given),
        lambda: store.create_tag(given),
        lambda: store.rename_branch("side", given),
    ):
        with pytest.raises(InvalidName):
            call()


@pytest.mark.parametrize("given", NO_TEXT)
def test_what_is_no_message(tmp_path: Path, store: Store, given: Any) -> None:
    for call in (
        lambda: store.commit(None, tmp_path / "b", message=given),
        lambda: store.add(None, tmp_path / "b", message=given),
        lambda: store.revert(None, "HEAD", message=given),
        lambda: store.create_tag("new", message=given),
    ):
        with pytest.raises(InvalidSetting, match="message: must be text"):
            call()


@pytest.mark.parametrize("base", ["", " ", "a\0b", "\udc80"])
def test_a_blank_base_is_no_model(tmp_path: Path, base: str) -> None:
    with pytest.raises(UnreadableFile, match="names no model"):
        Store.init(tmp_path / "new", base=base)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("given", [3, b"main", ["main"]])
def test_a_base_or_its_revision_of_another_type(tmp_path: Path, given: Any) -> None:
    for options in ({"base": given}, {"base": "example/base", "revision": given}):
        with pytest.raises(InvalidSetting):
            Store.init(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_path_as_base_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("demo"), Path("example/base"), tmp_path / "nothing"):
        with pytest.raises(UnreadableFile, match="not a folder"):
            Store.init(tmp_path / "new", base=path)
    from adapterstore.demo import MODEL_PATH

    shutil.copytree(MODEL_PATH, "demo")
    assert Store.init("new", base=Path("demo")).snapshot().base.digests is not None


def test_a_file_where_the_store_shall_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UnreadableFile, match="a file is in the way"):
            Store.init(folder)
    Store.init(tmp_path)
    with pytest.raises(StoreExists):
        Store.init(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"lossy": "ties"},
        {"fast_forward": "sometimes"},
        {"fast_forward": None},
        {"ours": "all"},
        {"theirs": None},
    ],
)
def test_an_option_that_a_merge_does_not_have(store: Store, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        store.merge(None, "side", **options)


def test_a_main_line_that_is_no_number(store: Store) -> None:
    store.merge(None, "side", fast_forward="never")
    mainline: Any = "1"
    with pytest.raises(UnknownRevision, match="no number 1"):
        store.revert(None, "HEAD", mainline=mainline)


def test_a_store_that_was_removed(tmp_path: Path, store: Store) -> None:
    shutil.rmtree(store.repository.folder)
    for call in (
        store.resolve,
        store.log,
        store.tip,
        store.branches,
        store.tags,
        lambda: store.commit(None, tmp_path / "b"),
        lambda: store.add(None, "side"),
        lambda: store.revert(None, "HEAD"),
        lambda: store.merge(None, "side"),
        lambda: store.reset(None, "side"),
        lambda: store.create_branch("new"),
        lambda: store.delete_branch("side"),
        lambda: store.rename_branch("side", "new"),
        lambda: store.switch("side"),
        lambda: store.create_tag("new"),
        lambda: store.delete_tag("one"),
        lambda: store.export("HEAD", tmp_path / "out"),
        store.base_folder,
    ):
        with pytest.raises(NotAStore, match="is not there any more"):
            call()
    assert not store.repository.folder.exists()
