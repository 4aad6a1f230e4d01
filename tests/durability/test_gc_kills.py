"""gc killed at random moments, and gc beside writers: no store is ever less than sound."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.store.refs import move_ref
from tests.cli.running import done, lora_folder, read_json
from tests.durability.test_kills import check_sound, history, how_long, kill_after, start

GC = ("gc", "--grace", "0", "--reflog", "0", "--unreachable", "0")
KILLS = 8


def store_with_garbage(folder: Path) -> None:
    """Make a store with garbage everywhere: in two packs, in loose files, and under lfs/."""
    store = Store.init(folder)
    store.commit(None, lora_folder(folder / "first", seed=1))
    for number in range(60):
        store.add(None, lora_folder(folder / f"a{number}", seed=10 + number))
        if number in {20, 40}:
            subprocess.run(["git", "repack", "-q", "-d"], cwd=store.repository.folder, check=True)
    move_ref(
        store.repository, "refs/heads/main", store.resolve(), store.resolve("HEAD~50"), "reset"
    )
    for number in range(20):
        store.add(None, folder / f"a{59 - number}", coefficient="0.5")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    store_with_garbage(folder)
    return folder


@pytest.fixture(scope="module")
def unharmed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    folder = tmp_path_factory.mktemp("unharmed") / "store"
    shutil.copytree(template, folder)
    return how_long(folder, "adapterstore_cli", *GC)


@pytest.mark.parametrize("number", range(KILLS))
def test_gc_killed_at_any_moment_leaves_a_sound_store(
    tmp_path: Path, template: Path, unharmed: float, number: int
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(template, folder)
    published = history(folder)
    # It begins with imports: the moments lie behind most of them.
    moment = random.Random(f"gc{number}").uniform(0.2 * unharmed, 1.1 * unharmed)
    kill_after(start(folder, "adapterstore_cli", *GC), moment)
    check_sound(folder, published)
    done(folder, *GC)
    check_sound(folder, published)
    assert read_json(folder, *GC)["removals"] == []
    loose = [p for p in (folder / ".adapterstore/objects").glob("??/*") if p.is_file()]
    assert loose == []


def test_gc_in_a_loop_beside_writers_in_a_loop_loses_nothing(tmp_path: Path) -> None:
    """The writers store adapters that lie in the store as garbage already, again and again."""
    done(tmp_path, "init")
    for number in range(3):
        lora_folder(tmp_path / f"a{number}", seed=number)
    done(tmp_path, "commit", "a0")
    made = 0
    collector = start(tmp_path, "adapterstore_cli", *GC)
    collected = 0
    deadline = time.monotonic() + 300
    while (made < 12 or collected < 6) and time.monotonic() < deadline:
        base = Store.open(tmp_path).resolve()
        writers = [
            start(tmp_path, "adapterstore_cli", "add", f"a{1 + made % 2}"),
            start(tmp_path, "adapterstore_cli", "commit", f"a{made % 3}"),
        ]
        for process in writers:
            _, errors = process.communicate()
            assert process.returncode == 0, errors.decode()
            made += 1
        if collector.poll() is not None:
            _, errors = collector.communicate()
            assert collector.returncode == 0, errors.decode()
            collected += 1
            collector = start(tmp_path, "adapterstore_cli", *GC)
        store = Store.open(tmp_path)
        if made % 4 == 0:
            # What was just made becomes garbage, and is made again.
            move_ref(store.repository, "refs/heads/main", store.resolve(), base, "reset")
    _, errors = collector.communicate()
    assert collector.returncode == 0, errors.decode()
    assert made >= 12
    assert collected >= 6
    check_sound(tmp_path, history(tmp_path))


def test_a_writer_that_is_killed_holds_no_gc_up(tmp_path: Path) -> None:
    done(tmp_path, "init")
    code = (
        "import os, signal\nfrom adapterstore import Store\n"
        "with Store.open().repository.writing():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert run.returncode < 0
    done(tmp_path, *GC)
