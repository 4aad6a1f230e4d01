"""gc and prune: what is reachable or young stays, the rest goes, and nothing is ever half gone."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.errors import CorruptStore, InvalidSetting, StoreBusy
from adapterstore.history.fsck import fsck
from adapterstore.history.housekeeping.durations import DAY, parse_duration
from adapterstore.history.housekeeping.expiry import Ages
from adapterstore.history.housekeeping.gc import Collected, collect_garbage
from adapterstore.store import locks
from adapterstore.store.refs import move_ref
from adapterstore.store.revisions import REJECTED
from tests.cli.running import contents, lora_folder

NOW = Ages(grace=0.0)
EVERYTHING = Ages(grace=0.0, reflog=0.0, unreachable=0.0, rejected=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two commits on main, and one that was reset away."""
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    store.add(None, lora_folder(tmp_path / "b", seed=2))
    store.add(None, lora_folder(tmp_path / "c", seed=3))
    reset(store, "HEAD~1")
    return store


def reset(store: Store, revision: str) -> None:
    move_ref(store.repository, "refs/heads/main", store.resolve(), store.resolve(revision), "reset")


def age(store: Store, days: float) -> None:
    """Make every file of the store's objects look older."""
    for folder in ("objects", "lfs"):
        for path in (store.repository.folder / folder).rglob("*"):
            then = path.stat().st_mtime - days * DAY
            os.utime(path, (then, then))


def sound(store: Store) -> None:
    folder = store.repository.folder
    assert fsck(Store.open(folder).repository).problems == []
    for command in (["git", "fsck", "--full", "--strict"], ["git", "lfs", "fsck"]):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "missing" not in run.stdout + run.stderr
        assert "broken" not in run.stdout + run.stderr


def kinds(result: Collected) -> dict[str, int]:
    found: dict[str, int] = {}
    for removal in result.removals:
        kind = removal.kind if removal.kind != "git object" else removal.name.split()[0]
        found[kind] = found.get(kind, 0) + 1
    return found


def tensor_files(store: Store) -> int:
    return sum(1 for _ in store.repository.objects.names())


def loose(store: Store) -> list[Path]:
    return [p for p in (store.repository.folder / "objects").glob("??/*") if p.is_file()]


def test_what_the_reflog_remembers_stays(store: Store) -> None:
    lost = store.resolve("main@{1}")
    result = collect_garbage(store.repository, NOW)
    assert kinds(result) == {}
    assert tensor_files(store) == 3
    assert len(store.snapshot(lost).composition) == 3
    sound(store)


def test_what_nothing_names_goes_once_it_is_old(store: Store) -> None:
    forgetful = Ages(reflog=0.0)
    lost = store.resolve("main@{1}")
    assert kinds(collect_garbage(store.repository, forgetful)) == {"reflog entry": 10}
    assert store.resolve(lost) == lost
    age(store, 13)
    assert kinds(collect_garbage(store.repository, forgetful)) == {}
    age(store, 2)
    result = collect_garbage(store.repository, forgetful)
    # The commit, its tree, composition.json, README.md, deltas/, deltas/x, config and pointer; the
    # two adapters' configs are equal.
    assert kinds(result) == {"commit": 1, "tree": 3, "blob": 3, "tensor file": 1}
    assert tensor_files(store) == 2
    assert store.repository.git.get(lost) is None
    sound(store)


def test_a_dry_run_lists_the_same_and_changes_nothing(store: Store) -> None:
    before = contents(store.repository.folder)
    times = {p: p.stat().st_mtime for p in store.repository.folder.rglob("*")}
    wanted = collect_garbage(store.repository, EVERYTHING, dry_run=True)
    assert contents(store.repository.folder) == before
    assert {p: p.stat().st_mtime for p in store.repository.folder.rglob("*")} == times
    assert wanted.size_after is None
    done = collect_garbage(store.repository, EVERYTHING)
    assert done.removals == wanted.removals
    assert done.packed == wanted.packed > 0
    assert all(r.reason for r in done.removals)
    (file,) = (r for r in done.removals if r.kind == "tensor file")
    assert file.size > 100


def test_all_is_in_one_pack_after_it_and_reads_the_same(store: Store) -> None:
    before = {e.commit: store.snapshot(e.commit) for e in store.log()}
    result = collect_garbage(store.repository, EVERYTHING)
    assert loose(store) == []
    assert len(list((store.repository.folder / "objects/pack").glob("*.pack"))) == 1
    assert result.size_after is not None
    assert result.size_after < result.size_before
    fresh = Store.open(store.repository.folder)
    for reader in (store, fresh):
        assert {e.commit: reader.snapshot(e.commit) for e in reader.log()} == before
        assert reader.resolve(reader.resolve()[:7]) == reader.resolve()
    findings = fsck(fresh.repository)
    assert findings.problems == []
    assert findings.counts["git objects"] == result.packed
    again = collect_garbage(fresh.repository, EVERYTHING)
    assert (again.removals, again.packed) == ([], 0)
    sound(store)


def test_a_packed_store_goes_on(store: Store, tmp_path: Path) -> None:
    collect_garbage(store.repository, NOW)
    other = Store.open(tmp_path)
    other.add(None, lora_folder(tmp_path / "d", seed=4))
    other.revert(None, "HEAD")
    result = collect_garbage(store.repository, NOW)
    assert result.packed > 0
    assert len(list((store.repository.folder / "objects/pack").glob("*.pack"))) == 1
    assert [e.operation for e in store.log()] == ["revert", "add", "add", "commit", "init"]
    sound(store)


def test_garbage_in_packs_goes_too_and_young_garbage_becomes_loose(store: Store) -> None:
    lost = store.resolve("main@{1}")
    collect_garbage(store.repository, NOW)
    assert loose(store) == []
    assert kinds(collect_garbage(store.repository, Ages(reflog=0.0))) == {"reflog entry": 10}
    assert store.resolve(lost) == lost
    assert len(loose(store)) == 7
    age(store, 15)
    collected = collect_garbage(store.repository, Ages(reflog=0.0))
    assert kinds(collected) == {"commit": 1, "tree": 3, "blob": 3, "tensor file": 1}
    sound(store)


def test_garbage_in_a_pack_goes_at_once_without_grace(store: Store) -> None:
    collect_garbage(store.repository, NOW)
    result = collect_garbage(store.repository, EVERYTHING)
    assert kinds(result)["commit"] == 1
    assert loose(store) == []
    assert tensor_files(store) == 2
    sound(store)


def test_garbage_over_several_packs_and_loose_files_goes(store: Store, tmp_path: Path) -> None:
    subprocess.run(["git", "repack", "-q"], cwd=store.repository.folder, check=True)
    store.add(None, lora_folder(tmp_path / "d", seed=4))
    store.add(None, "HEAD~1..HEAD")
    subprocess.run(["git", "repack", "-q"], cwd=store.repository.folder, check=True)
    store.add(None, "HEAD~1..HEAD")
    reset(store, "HEAD~3")
    result = collect_garbage(store.repository, EVERYTHING)
    assert kinds(result)["commit"] == 4
    assert len(list((store.repository.folder / "objects/pack").glob("*.pack"))) == 1
    sound(store)


def test_prune_leaves_packs_reflogs_and_rejected_updates(store: Store) -> None:
    collect_garbage(store.repository, NOW)
    packs = list((store.repository.folder / "objects/pack").iterdir())
    never = Ages(grace=0.0, reflog=None, unreachable=None, rejected=None)
    store.repository.git.create_blob(b"garbage")
    result = collect_garbage(store.repository, never, pack=False)
    assert kinds(result) == {"blob": 1}
    assert list((store.repository.folder / "objects/pack").iterdir()) == packs
    assert store.resolve("main@{1}")


def test_a_rejected_update_expires_by_the_date_of_its_commit(store: Store) -> None:
    repository = store.repository
    old = old_commit(store, days=31)
    new = old_commit(store, days=29)
    move_ref(repository, f"{REJECTED}aaaa", None, old, "rejected: aaaa")
    move_ref(repository, f"{REJECTED}bbbb", None, new, "rejected: bbbb")
    result = collect_garbage(repository, NOW)
    assert [r.name for r in result.removals if r.kind == "rejected update"] == ["update/aaaa"]
    assert list(repository.git.references) == ["refs/adapterstore/rejected/bbbb", "refs/heads/main"]
    assert not (repository.folder / "logs" / f"{REJECTED}aaaa").exists()
    assert repository.git.get(old) is None
    sound(store)


def old_commit(store: Store, days: float) -> str:
    git = store.repository.git
    who = pygit2.Signature("a", "a@b", int(time.time() - days * DAY), 0)
    tree = store.repository.commit(store.resolve()).tree_id
    return str(git.create_commit(None, who, who, f"{days}", tree, [store.resolve()]))


def test_what_the_trailers_of_a_commit_name_stays(store: Store) -> None:
    """Or its composition could not be computed again."""
    lost = store.resolve("main@{1}")
    store.add(None, f"HEAD..{lost}", coefficient="0.5")
    collect_garbage(store.repository, EVERYTHING)
    assert len(store.snapshot(lost).composition) == 3
    sound(store)


def test_tags_and_linked_work_trees_keep_what_they_stand_on(store: Store, tmp_path: Path) -> None:
    git, lost = store.repository.git, store.resolve("main@{1}")
    who = pygit2.Signature("a", "a@b", 1, 0)
    inner = git.create_tag("inner", lost, pygit2.enums.ObjectType.COMMIT, who, "inner")
    git.create_tag("outer", inner, pygit2.enums.ObjectType.TAG, who, "outer")
    git.references.delete("refs/tags/inner")
    assert kinds(collect_garbage(store.repository, EVERYTHING)).keys() == {"reflog entry"}
    git.references.delete("refs/tags/outer")
    work_tree = ["git", "-c", "filter.lfs.smudge=cat", "worktree", "add", "-q", "--detach"]
    subprocess.run(
        [*work_tree, str(tmp_path / "tree"), lost], cwd=store.repository.folder, check=True
    )
    collect_garbage(store.repository, EVERYTHING)
    assert len(store.snapshot(lost).composition) == 3
    sound(store)


def test_a_pack_that_somebody_keeps_is_left_alone(store: Store) -> None:
    collect_garbage(store.repository, NOW)
    (pack,) = (store.repository.folder / "objects/pack").glob("*.pack")
    pack.with_suffix(".keep").touch()
    result = collect_garbage(store.repository, EVERYTHING)
    assert kinds(result).keys() == {"reflog entry"}
    assert pack.exists()
    assert tensor_files(store) == 3
    sound(store)


def test_a_store_that_git_itself_has_packed_is_read_and_collected(store: Store) -> None:
    folder = store.repository.folder
    for command in (
        ["git", "gc", "-q"],
        ["git", "commit-graph", "write", "--reachable"],
        ["git", "multi-pack-index", "write"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert (folder / "packed-refs").exists()
    sound(store)
    collect_garbage(store.repository, EVERYTHING)
    assert tensor_files(store) == 2
    sound(Store.open(folder))


def test_leftovers_go_but_not_those_in_use(store: Store, tmp_path: Path) -> None:
    folder = store.repository.folder
    left = [
        folder / "lfs/tmp/0123abcd",
        folder / "objects/tmp_object_git2_a1b2c3",
        folder / f".adapterstore.yaml.{'a' * 32}",
        tmp_path / f".adapterstore-{'b' * 32}",
    ]
    left[0].write_bytes(b"half a file")
    left[1].write_bytes(b"half an object")
    left[2].write_bytes(b"half a file of settings")
    left[3].mkdir()
    (left[3] / "HEAD").write_text("ref: refs/heads/main\n")
    mine = tmp_path / ".adapterstore-notes"
    mine.mkdir()
    with store.repository.objects.scratch() as scratch:
        (scratch / "training").write_bytes(b"x")
        assert kinds(collect_garbage(store.repository, NOW)) == {}
        age(store, 1)
        then = time.time() - DAY
        for path in (*left, left[3] / "HEAD", mine):
            os.utime(path, (then, then))
        assert kinds(collect_garbage(store.repository, Ages())) == {}
        result = collect_garbage(store.repository, NOW)
        assert kinds(result) == {"leftover": 4}
        assert (scratch / "training").exists()
    assert not any(path.exists() for path in left)
    assert mine.exists()
    sound(store)


def test_storing_what_is_there_already_makes_it_young(store: Store, tmp_path: Path) -> None:
    """The bytes of a running commit may have lain in the store for long, named by nothing."""
    collect_garbage(store.repository, Ages(reflog=0.0))
    age(store, 20)
    path = tmp_path / "c" / "adapter_model.safetensors"
    with store.repository.objects.stage(path) as staged:
        pointer = store.repository.objects.publish(staged)
    result = collect_garbage(store.repository, Ages())
    assert "tensor file" not in kinds(result)
    assert store.repository.objects.verify(pointer, "test")


def test_gc_and_writers_keep_each_other_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "GC_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "WRITER_WAIT_SECONDS", 0.05)
    other = Store.open(store.repository.folder)
    with store.repository.writing(), other.repository.writing():
        with pytest.raises(StoreBusy, match="is writing"):
            collect_garbage(other.repository, NOW)
        collect_garbage(other.repository, NOW, dry_run=True)
    with store.repository.collecting(), pytest.raises(StoreBusy, match="gc is at work"):
        other.revert(None, "HEAD")
    other.revert(None, "HEAD")


class Impatient:
    """Notes what it is told, and ends a wait at the tenth look after that."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.looks = 0

    def start(self, stage: str, total: int | None = None) -> None:
        raise AssertionError(stage)

    def advance(self, steps: int = 1) -> None:
        assert steps == 0
        self.looks += len(self.told)
        if self.looks == 10:
            raise InterruptedError

    def note(self, text: str) -> None:
        self.told.append(text)


def test_a_wait_that_lasts_is_told_once_and_can_be_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store.open(store.repository.folder)
    gc_waits, writer_waits = Impatient(), Impatient()
    monkeypatch.setattr(locks, "TELL_SECONDS", 0.02)
    with store.repository.writing():
        other.repository.waiting = gc_waits
        with pytest.raises(InterruptedError):
            collect_garbage(other.repository, NOW)
    with store.repository.collecting():
        other.repository.waiting = writer_waits
        with pytest.raises(InterruptedError):
            other.revert(None, "HEAD")
    assert gc_waits.told == ["waiting for another command, an update or the daemon, at most 20 s"]
    assert writer_waits.told == ["waiting for gc, at most 600 s"]
    # Who gave up holds nothing.
    collect_garbage(store.repository, NOW)
    assert store.revert(None, "HEAD").changed


def test_gc_and_writers_of_one_process_keep_each_other_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads with one `Store`: only the one that holds the lock may write."""
    monkeypatch.setattr(locks, "GC_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "WRITER_WAIT_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as thread, store.repository.collecting():
        with pytest.raises(StoreBusy, match="gc is at work"):
            thread.submit(store.revert, None, "HEAD").result()
        with pytest.raises(StoreBusy, match="is writing"):
            thread.submit(collect_garbage, store.repository).result()
        assert store.revert(None, "HEAD").changed


def test_no_ref_goes_or_changes_its_name_while_gc_looks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WRITER_WAIT_SECONDS", 0.05)
    store.create_branch("tmp")
    other = Store.open(store.repository.folder.parent)
    verbs = [
        lambda: other.delete_branch("tmp"),
        lambda: other.rename_branch("tmp", "new"),
        lambda: other.switch("tmp"),
    ]
    for verb in verbs:
        with store.repository.collecting(), pytest.raises(StoreBusy, match="gc is at work"):
            verb()
    assert [(found.name, found.current) for found in store.branches()] == [
        ("main", True),
        ("tmp", False),
    ]


@pytest.mark.damages_the_store
def test_a_damaged_store_is_left_alone(store: Store) -> None:
    tree = str(store.repository.commit(store.resolve()).tree_id)
    (store.repository.folder / "objects" / tree[:2] / tree[2:]).unlink()
    before = contents(store.repository.folder)
    with pytest.raises(CorruptStore, match="nothing was removed"):
        collect_garbage(Store.open(store.repository.folder).repository, EVERYTHING)
    assert contents(store.repository.folder) == before


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2w", 14 * DAY), ("90d", 90 * DAY), ("12h", 43200), ("0", 0), ("5m", 300)],
)
def test_a_time_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, "--grace") == seconds
    assert parse_duration("never", "--grace") is None
    assert parse_duration("0", "--grace") == 0


@pytest.mark.parametrize("text", ["", "2", "-1d", "1.5d", "2 w", "two weeks", "9999999d", "２w"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(InvalidSetting, match="--grace"):
        parse_duration(text, "--grace")
