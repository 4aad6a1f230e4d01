"""SIGKILL while refs and HEAD move: the store stays sound and the next process is not blocked."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.history.fsck import fsck
from tests.cli.running import lora_folder

KILLS = 12

WORKER = """
import sys
from adapterstore import Store
store = Store.open(sys.argv[1])
if store.tip()[0] != "refs/heads/main":
    store.switch("main")
for branch in store.branches():
    if branch.name != "main":
        store.delete_branch(branch.name, force=True)
for tag in store.tags():
    store.delete_tag(tag.name)
print("ready", flush=True)
while True:
    store.create_branch("a/b", "start")
    store.switch("a/b")
    store.add(None, "leaf")
    store.rename_branch(None, "c")
    store.switch("main")
    store.add(None, "leaf", coefficient="-1")
    store.merge(None, "c")
    store.create_tag("kept")
    store.delete_tag("kept")
    store.delete_branch("c")
    store.reset(None, "start")
"""


def test_a_kill_at_any_moment_leaves_a_sound_store(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    folder = store.repository.folder
    start = store.resolve()
    leaf = store.commit(None, lora_folder(tmp_path / "a")).commit
    store.reset(None, start)
    program = WORKER.replace('"start"', f'"{start}"').replace('"leaf"', f'"{leaf}"')
    draw = random.Random(7)
    for number in range(KILLS):
        worker = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stderr is not None
        if worker.stdout.readline() != "ready\n":
            pytest.fail(f"after kill {number}: {worker.stderr.read()}")
        try:
            worker.wait(draw.uniform(0, 0.4))
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
        _, errors = worker.communicate()
        assert (worker.returncode, errors) == (-signal.SIGKILL, "")
        assert fsck(Store.open(tmp_path).repository).problems == []
    run = subprocess.run(
        ["git", "fsck", "--full", "--strict", "--no-dangling"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


RACER = """
import sys
from adapterstore import Store
from adapterstore.errors import NameTaken, RefMoved
store = Store.open(sys.argv[1])
made = 0
while made < 15:
    name = f"{sys.argv[2]}-{made}"
    store.create_branch(name, "main")
    try:
        store.create_branch("same", "main")
        store.delete_branch("same", force=True)
    except (NameTaken, RefMoved):
        pass
    store.add(name, sys.argv[3], message=name)
    store.merge("main", name, fast_forward="never")
    store.delete_branch(name)
    made += 1
"""


def test_of_concurrent_merges_none_is_lost(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    leaf = store.commit(None, lora_folder(tmp_path / "a")).commit
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), name, leaf])
        for name in ("left", "right")
    ]
    assert [racer.wait(300) for racer in racers] == [0, 0]
    (term,) = store.snapshot().composition
    assert term.coefficient == 1 + 2 * 15
    assert [branch.name for branch in store.branches()] == ["main"]
    assert fsck(store.repository).problems == []
