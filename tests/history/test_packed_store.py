"""A store of a thousand commits packs well, and every way of reading it finds what is packed."""

from __future__ import annotations

import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import Option

from adapterstore import Store
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.fsck import fsck
from adapterstore.history.housekeeping.expiry import Ages
from adapterstore.history.housekeeping.gc import Collected, collect_garbage
from adapterstore.history.snapshot import NewCommit, read_snapshot, write_snapshot
from adapterstore.store.refs import move_ref
from adapterstore.store.repository import Repository
from tests.cli.running import done, lora_folder, read_json

COMMITS = 1000


def grow(store: Store, commits: int) -> None:
    """Put commits on main that each change one coefficient and one fact."""
    repository = store.repository
    start = tip = store.resolve()
    snapshot = read_snapshot(repository, tip)
    (term,) = snapshot.composition
    # Not durable, for speed: opening a store anew turns it on again.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
    with repository.writing():
        for number in range(commits):
            coefficient = Decimal(number + 2) / 4
            composition = Composition.of([Term(term.delta, coefficient, term.role)])
            path = f"facts/{number % 256:02x}/{number:040x}.json"
            new = NewCommit(
                composition=composition,
                base=snapshot.base,
                subject=f"Add {number}",
                trailers={"Operation": "add", "Scale": "0.25", "Delta": term.delta},
                ledger={path: f'{{\n "answer": "{number}"\n}}\n'.encode()},
            )
            tip = write_snapshot(repository, tip, new)
        move_ref(repository, "refs/heads/main", start, tip, "grow")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collected, str]:
    folder = tmp_path_factory.mktemp("thousand")
    store = Store.init(folder)
    store.commit(None, lora_folder(folder / "a"))
    grow(store, COMMITS)
    middle = store.resolve(f"HEAD~{COMMITS // 2}")
    collected = collect_garbage(Repository(store.repository.folder), Ages(grace=0.0))
    return folder, collected, middle


def test_it_becomes_one_pack_of_a_fraction_of_the_size(
    packed: tuple[Path, Collected, str],
) -> None:
    folder, collected, _ = packed
    objects = folder / ".adapterstore" / "objects"
    assert [p for p in objects.glob("??/*") if p.is_file()] == []
    assert len(list((objects / "pack").glob("*.pack"))) == 1
    assert collected.removals == []
    assert collected.packed > 5 * COMMITS
    assert collected.size_after is not None
    assert collected.size_after < collected.size_before / 2
    on_disk = sum(p.stat().st_blocks * 512 for p in objects.rglob("*"))
    # A loose object takes a block of the disk, be it ever so small.
    assert on_disk < collected.packed * 4096 / 5


def test_reading_finds_what_is_packed(packed: tuple[Path, Collected, str]) -> None:
    folder, _, middle = packed
    store = Store.open(folder)
    assert sum(1 for _ in store.log()) == COMMITS + 2
    assert store.resolve(middle[:10]) == middle
    assert store.resolve(f"HEAD~{COMMITS // 2}") == middle
    assert len(read_json(folder, "log", middle[:12])) == COMMITS // 2 + 2
    assert read_json(folder, "show", middle[:12])["commit"] == middle
    findings = fsck(store.repository)
    assert findings.problems == []
    assert findings.counts["compositions"] == COMMITS + 2
    assert findings.counts["git objects"] > 5 * COMMITS


def test_writing_on_top_of_a_pack_works(packed: tuple[Path, Collected, str]) -> None:
    folder, _, middle = packed
    done(folder, "add", f"{middle[:12]}~1..{middle[:12]}")
    done(folder, "revert", "HEAD")
    run = ["git", "fsck", "--full", "--strict"]
    subprocess.run(run, cwd=folder / ".adapterstore", check=True, capture_output=True)
    assert (
        Store.open(folder).snapshot("HEAD").composition
        == Store.open(folder).snapshot("HEAD~2").composition
    )


@pytest.mark.damages_the_store
def test_a_damaged_pack_is_named(packed: tuple[Path, Collected, str], tmp_path: Path) -> None:
    """Of all bits of the pack one is wrong: fsck reads every packed object too."""
    folder = tmp_path / "copy"
    shutil.copytree(packed[0] / ".adapterstore", folder / ".adapterstore")
    (pack,) = (folder / ".adapterstore/objects/pack").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 16
    pack.chmod(0o644)
    pack.write_bytes(data)
    problems = fsck(Store.open(folder).repository).problems
    assert any(problem.where.startswith("git object") for problem in problems)
