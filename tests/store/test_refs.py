"""A ref moves by compare-and-swap, or not at all; a killed writer blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import CorruptStore, RefMoved, StoreBusy, UnknownRevision
from adapterstore.history.fsck import fsck
from adapterstore.identifiers import CommitId
from adapterstore.store.refs import (
    LOCK_NAME,
    check_movable,
    current_branch,
    list_refs,
    move_ref,
    read_ref,
)
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import resolve
from tests.cli.running import contents

MAIN = "refs/heads/main"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Store.init(tmp_path).repository


def next_commit(repository: Repository, text: str = "next") -> tuple[CommitId, CommitId]:
    tip = read_ref(repository, MAIN)
    assert tip is not None
    tree = repository.commit(tip).tree_id
    return tip, repository.write_commit(tree, [tip], text)


def test_a_ref_moves_from_where_it_was_expected(repository: Repository) -> None:
    tip, new = next_commit(repository)
    move_ref(repository, MAIN, tip, new, "test: moved")
    assert read_ref(repository, MAIN) == new
    (latest, _) = repository.git.references[MAIN].log()
    assert (str(latest.oid_old), str(latest.oid_new), latest.message) == (tip, new, "test: moved")


def test_a_ref_that_moved_says_from_and_to(repository: Repository) -> None:
    tip, new = next_commit(repository)
    move_ref(repository, MAIN, tip, new, "first")
    _, other = next_commit(repository, "other")
    with pytest.raises(RefMoved) as raised:
        move_ref(repository, MAIN, tip, other, "second")
    assert (raised.value.expected, raised.value.actual) == (tip, new)
    assert read_ref(repository, MAIN) == new


def test_a_new_ref_is_made_once(repository: Repository) -> None:
    _, new = next_commit(repository)
    name = "refs/adapterstore/rejected/5ca2"
    move_ref(repository, name, None, new, "made")
    assert read_ref(repository, name) == new
    with pytest.raises(RefMoved, match="from nothing to"):
        move_ref(repository, name, None, new, "made again")


def test_the_lock_of_a_killed_writer_is_removed(repository: Repository) -> None:
    """The writer wrote down which ref it was about to move, and died with git's lock in place."""
    tip, new = next_commit(repository)
    (repository.folder / LOCK_NAME).write_text(MAIN)
    (repository.folder / f"{MAIN}.lock").write_text(new)
    move_ref(repository, MAIN, tip, new, "after the kill")
    assert read_ref(repository, MAIN) == new
    assert (repository.folder / LOCK_NAME).read_text() == ""


def test_the_lock_of_another_git_process_is_left(repository: Repository) -> None:
    tip, new = next_commit(repository)
    lock = repository.folder / f"{MAIN}.lock"
    lock.write_text("")
    with pytest.raises(StoreBusy, match=r"main\.lock.*if no other git process is at work"):
        move_ref(repository, MAIN, tip, new, "blocked")
    with pytest.raises(StoreBusy):
        move_ref(repository, MAIN, tip, new, "still blocked")
    assert lock.exists()
    assert read_ref(repository, MAIN) == tip


def test_an_intent_that_points_out_of_the_store_is_not_followed(
    repository: Repository, tmp_path: Path
) -> None:
    victim = tmp_path / "x.lock"
    victim.write_text("mine")
    (repository.folder / LOCK_NAME).write_text("refs/../../x")
    tip, new = next_commit(repository)
    move_ref(repository, MAIN, tip, new, "moved")
    assert victim.read_text() == "mine"


WRITER = """
import sys
from pathlib import Path
from adapterstore.errors import RefMoved
from adapterstore.store.refs import move_ref, read_ref
from adapterstore.store.repository import Repository
repository = Repository(Path(sys.argv[1]))
done = 0
while done < 20:
    tip = read_ref(repository, "refs/heads/main")
    new = repository.write_commit(repository.commit(tip).tree_id, [tip], f"{sys.argv[2]} {done}")
    try:
        move_ref(repository, "refs/heads/main", tip, new, "race")
    except RefMoved:
        continue
    done += 1
"""


def test_of_concurrent_writers_none_loses_a_commit(repository: Repository) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(repository.folder), name])
        for name in ("left", "right")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    tip = read_ref(repository, MAIN)
    messages = [commit.message.strip() for commit in repository.git.walk(tip)]
    for name in ("left", "right"):
        mine = [message for message in messages if message.startswith(name)]
        assert mine == [f"{name} {number}" for number in reversed(range(20))]


def test_the_lock_of_another_git_process_is_left_alone(repository: Repository) -> None:
    """Also by the second of our writers: the first one must not mark it as ours."""
    tip, new = next_commit(repository)
    lock = repository.folder / f"{MAIN}.lock"
    lock.touch()
    for _ in range(2):
        with pytest.raises(StoreBusy, match="another git process"):
            move_ref(repository, MAIN, tip, new, "test: moved")
    assert lock.exists()
    lock.unlink()
    move_ref(repository, MAIN, tip, new, "test: moved")


def test_after_a_refused_move_a_lock_of_git_is_left_alone(repository: Repository) -> None:
    tip, new = next_commit(repository)
    with pytest.raises(RefMoved):
        move_ref(repository, MAIN, None, new, "test: moved")
    lock = repository.folder / f"{MAIN}.lock"
    lock.touch()
    with pytest.raises(StoreBusy):
        move_ref(repository, MAIN, tip, new, "test: moved")
    assert lock.exists()


@pytest.mark.damages_the_store
def test_what_hinders_a_move_and_is_no_lock_is_told_as_it_is(repository: Repository) -> None:
    tip, new = next_commit(repository)
    log = repository.folder / "logs" / MAIN
    log.unlink()
    log.mkdir()
    (log / "in the way").touch()
    with pytest.raises(OSError, match="reflog"):
        move_ref(repository, MAIN, tip, new, "test: moved")
    assert read_ref(repository, MAIN) == tip


def test_whether_a_ref_can_be_moved_is_found_out_without_a_trace(repository: Repository) -> None:
    before = contents(repository.folder)
    check_movable(repository, MAIN)
    assert contents(repository.folder) == before
    lock = repository.folder / f"{MAIN}.lock"
    lock.touch()
    with pytest.raises(StoreBusy, match=r"main\.lock.*delete this file"):
        check_movable(repository, MAIN)
    assert lock.exists()


@pytest.mark.damages_the_store
def test_what_hinders_a_move_and_is_no_lock_is_found_before_it(repository: Repository) -> None:
    log = repository.folder / "logs" / MAIN
    log.unlink()
    log.mkdir()
    with pytest.raises(OSError, match=f"logs/{MAIN}"):
        check_movable(repository, MAIN)
    assert not (repository.folder / f"{MAIN}.lock").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_refs_that_may_not_be_written_are_found_before_a_move(repository: Repository) -> None:
    heads = repository.folder / "refs/heads"
    heads.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match=r"refs/heads"):
            check_movable(repository, MAIN)
    finally:
        heads.chmod(0o755)


LOOKING = """
import os, signal, sys
from pathlib import Path
import adapterstore.store.refs as refs
refs.check_reflogs = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
refs.check_movable(refs.Repository(Path(sys.argv[1])), "refs/heads/main")
"""


def test_who_is_killed_while_looking_blocks_nobody(repository: Repository) -> None:
    killed = subprocess.run([sys.executable, "-c", LOOKING, str(repository.folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (repository.folder / f"{MAIN}.lock").exists()
    tip, new = next_commit(repository)
    move_ref(repository, MAIN, tip, new, "after the kill")
    assert read_ref(repository, MAIN) == new


@pytest.mark.damages_the_store
@pytest.mark.parametrize("content", ["zzz\n", "", f"{'1' * 40}\n", "ref: refs/heads/gone\n"])
def test_a_broken_ref_is_named_and_hinders_no_other(repository: Repository, content: str) -> None:
    (repository.folder / "refs/heads/broken").write_text(content)
    with pytest.raises(CorruptStore, match="refs/heads/broken"):
        read_ref(repository, "refs/heads/broken")
    assert list(list_refs(repository, "refs/")) == [MAIN]


def test_a_tag_may_name_any_object(repository: Repository) -> None:
    tip, _ = next_commit(repository)
    repository.git.references.create("refs/tags/base", repository.commit(tip).tree["base.json"].id)
    assert list(list_refs(repository, "refs/")) == [MAIN]
    assert fsck(repository).problems == []


def test_what_stock_git_makes_of_refs_is_sound(repository: Repository) -> None:
    git = ["git", "-C", str(repository.folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (
        ["branch", "feature"],
        ["tag", "-a", "released", "-m", "a tag with an object of its own"],
        ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/feature"],
        ["pack-refs", "--all"],
    ):
        subprocess.run([*git, *command], check=True)
    assert fsck(repository).problems == []
    assert resolve(repository, "released") == resolve(repository, "HEAD")


@pytest.mark.damages_the_store
def test_a_head_that_stands_for_no_branch_is_told_with_the_way_back(
    repository: Repository,
) -> None:
    tip, _ = next_commit(repository)
    for content in (tip, "garbage", "ref: refs/heads/gone"):
        (repository.folder / "HEAD").write_text(f"{content}\n")
        with pytest.raises(UnknownRevision, match="adapterstore switch BRANCH"):
            current_branch(repository)
    with pytest.raises(UnknownRevision, match="refs/heads/gone"):
        resolve(repository, "HEAD")
    (repository.folder / MAIN).write_text("zzz\n")
    (repository.folder / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(CorruptStore, match=MAIN):
        resolve(repository, "HEAD")
