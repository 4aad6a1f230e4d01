"""Branches, tags, HEAD and reflogs: made, moved, renamed, deleted, and refused."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.errors import (
    BaseModelUnavailable,
    BranchNotMerged,
    InvalidName,
    NameTaken,
    RefInUse,
    UnknownRevision,
)
from adapterstore.history.fsck import fsck
from adapterstore.history.log import names_of_commits
from adapterstore.store.signatures import SignatureChecker, Signed
from tests.cli.running import lora_folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    lora_folder(tmp_path / "b", seed=2)
    return store


def names(store: Store) -> list[str]:
    return [branch.name for branch in store.branches()]


def test_verbs_move_the_branch_that_is_current(store: Store, tmp_path: Path) -> None:
    store.create_branch("日本/価格", "HEAD~1")
    store.switch("日本/価格")
    store.add(None, tmp_path / "b")
    assert [(b.name, b.current) for b in store.branches()] == [("main", False), ("日本/価格", True)]
    assert store.resolve("main") != store.resolve("HEAD") == store.resolve("日本/価格")
    store.switch("-")
    assert store.tip()[0] == "refs/heads/main"
    assert store.resolve("@{-1}") == store.resolve("日本/価格")
    with pytest.raises(UnknownRevision, match="no such branch"):
        store.switch("nowhere")


@pytest.mark.parametrize(
    "name",
    [
        *["a..b", "-x", "a b", "a~1", "x.lock", "HEAD", "@", "", "/a", "a/", "a\tb", "f" * 40],
        *["update/5ca2", "refs/heads/x", "a:b", "a@{1}"],
    ],
)
def test_names_that_git_or_a_revision_could_not_have_are_refused(store: Store, name: str) -> None:
    for make in (store.create_branch, store.create_tag):
        with pytest.raises(InvalidName):
            make(name)
    with pytest.raises(InvalidName):
        store.rename_branch(None, name)
    assert names(store) == ["main"]


def test_a_name_is_used_once_and_is_no_folder_of_names(store: Store) -> None:
    store.create_branch("a/b")
    for name, taken in (("main", "main"), ("a", "a/b"), ("a/b/c", "a/b")):
        with pytest.raises(NameTaken) as raised:
            store.create_branch(name)
        assert raised.value.taken == taken
    with pytest.raises(NameTaken):
        store.rename_branch("a/b", "main")
    store.create_tag("a")
    with pytest.raises(NameTaken):
        store.create_tag("a")


def test_a_branch_is_deleted_if_nothing_is_left_behind(store: Store, tmp_path: Path) -> None:
    store.create_branch("side")
    store.delete_branch("side")
    store.create_branch("side")
    store.add("side", tmp_path / "b")
    tip = store.resolve("side")
    with pytest.raises(BranchNotMerged) as raised:
        store.delete_branch("side")
    assert (raised.value.tip, raised.value.commits) == (tip, 1)
    store.create_tag("kept", "side")
    assert store.delete_branch("side") == tip
    store.delete_tag("kept")
    store.create_branch("side", tip)
    assert store.delete_branch("side", force=True) == tip
    assert store.entry(tip).commit == tip
    for force in (False, True):
        with pytest.raises(RefInUse):
            store.delete_branch("main", force=force)
    with pytest.raises(UnknownRevision):
        store.delete_branch("nowhere")
    assert names(store) == ["main"]
    assert fsck(store.repository).problems == []


def test_a_deleted_branch_leaves_room_for_others(store: Store) -> None:
    store.create_branch("a/b")
    store.delete_branch("a/b")
    store.create_branch("a")
    store.delete_branch("a")
    store.create_branch("a/b/c")
    logs = store.repository.folder / "logs" / "refs" / "heads"
    # As a process leaves them that is killed between removing a ref and its reflog.
    (logs / "x").write_text("")
    (logs / "y" / "z").mkdir(parents=True)
    (logs / "y" / "z" / "log").write_text("")
    store.create_branch("x/y")
    store.create_branch("y")
    assert names(store) == ["a/b/c", "main", "x/y", "y"]


def test_a_branch_takes_its_reflog_and_head_along(store: Store) -> None:
    before = store.reflog("main")
    store.rename_branch(None, "trunk")
    assert store.tip() == ("refs/heads/trunk", before[0].after)
    assert names(store) == ["trunk"]
    after = store.reflog("trunk")
    assert after[1:] == before
    assert (after[0].before, after[0].after) == (before[0].after, before[0].after)
    assert store.resolve("trunk@{1}") == before[0].after
    with pytest.raises(NameTaken):
        store.rename_branch("trunk", "trunk/two")
    assert fsck(store.repository).problems == []


@pytest.mark.damages_the_store
@pytest.mark.parametrize(("seconds", "year"), [(99999999999999, 9987), (-99999999999999, 5)])
def test_dates_that_no_calendar_has_are_told_as_the_nearest(
    store: Store, seconds: int, year: int
) -> None:
    tip, git = store.resolve(), store.repository.git
    text = f"object {tip}\ntype commit\ntag far\ntagger A <a@b> {seconds} +0000\n\nfar\n"
    tag = git.odb.write(pygit2.enums.ObjectType.TAG, text.encode())
    git.references.create("refs/tags/far", tag)
    (found,) = store.tags()
    assert found.time is not None
    assert found.time.year == year
    logs = store.repository.folder / "logs" / "HEAD"
    logs.write_text(f"{tip} {tip} A <a@b> {seconds} +0000\tfar\n")
    assert [entry.time.year for entry in store.reflog()] == [year]
    signed = Signed(b"x", "-----BEGIN SSH SIGNATURE-----", seconds)
    checker = SignatureChecker(store.repository, logs)
    assert checker._find_signer(signed, str(logs), None).judgement == "unknown-signer"


def test_a_message_of_half_characters_is_kept_as_git_can_keep_it(store: Store) -> None:
    store.create_tag("v1", message="half \udcff")
    assert [tag.subject for tag in store.tags()] == ["half ?"]


def test_nothing_but_reflogs_is_ever_among_the_reflogs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill would leave there, nobody would remove."""
    logs = store.repository.folder / "logs"
    known = {"HEAD", "refs/heads/main", "refs/heads/trunk"}
    replace = Path.replace
    replaced = []

    def looked(path: Path, target: Path) -> Path:
        assert {str(p.relative_to(logs)) for p in logs.rglob("*") if p.is_file()} <= known
        replaced.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", looked)
    store.rename_branch(None, "trunk")
    assert replaced == [logs / "refs/heads/trunk"]


@pytest.mark.parametrize("head", ["{tip}", "ref: refs/heads/gone", "garbage", ""])
def test_what_names_a_state_is_read_though_head_stands_for_no_branch(
    store: Store, tmp_path: Path, head: str
) -> None:
    tip = store.resolve()
    (store.repository.folder / "HEAD").write_text(head.format(tip=tip))
    assert [(b.name, b.current) for b in store.branches()] == [("main", False)]
    assert names_of_commits(store.repository) == {tip: ["main"]}
    for verb in (
        lambda: store.add(None, tmp_path / "b"),
        lambda: store.rename_branch(None, "x"),
        store.tip,
    ):
        with pytest.raises(UnknownRevision, match="switch BRANCH"):
            verb()
    with pytest.raises(BaseModelUnavailable, match="'example/base'"):
        store.base_folder_at("main")
    store.switch("main")
    assert store.tip() == ("refs/heads/main", tip)
    assert fsck(store.repository).problems == []


def test_a_reset_loses_nothing(store: Store, tmp_path: Path) -> None:
    store.add(None, tmp_path / "b")
    tip = store.resolve()
    result = store.reset(None, "HEAD~1")
    assert result.notes == [f"it was at {tip[:12]}; 'adapterstore reflog' keeps it"]
    newest = store.reflog("main")[0]
    assert (newest.before, newest.after) == (tip, store.resolve())
    assert newest.message == "reset: moving to HEAD~1"
    assert store.reset(None, "main@{1}").commit == tip
    assert not store.reset(None, tip).changed
    assert [entry.message for entry in store.reflog()][:2] == [
        "reset: moving to main@{1}",
        "reset: moving to HEAD~1",
    ]


def test_a_tag_says_who_when_and_why(store: Store) -> None:
    commit = store.create_tag("版-1", "HEAD~1", "公開\n\nその理由")
    (tag,) = store.tags()
    assert (tag.name, tag.commit, tag.subject) == ("版-1", commit, "公開")
    assert tag.message == "公開\n\nその理由\n"
    assert tag.tagger is not None
    assert store.resolve("版-1") == commit
    store.switch("main")
    with pytest.raises(UnknownRevision):
        store.switch("版-1")
    assert store.delete_tag("版-1") == commit
    with pytest.raises(UnknownRevision, match="no such tag"):
        store.delete_tag("版-1")


def test_an_update_is_found_wherever_a_ref_reaches_it(store: Store) -> None:
    from adapterstore.knowledge.facts import Fact
    from tests.history.publishing import publish

    store.create_branch("side")
    commit = publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1")], "side")
    store.create_tag("kept", "side")
    store.delete_branch("side")
    assert store.resolve("update/aaaa") == commit
