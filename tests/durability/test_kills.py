"""SIGKILL at random moments: every published commit stays, and the same command ends the work.

Sixty kills in all, over commit, add, update and the running daemon; the moments are drawn with a
fixed seed from the time that the command takes unharmed.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.history.fsck import fsck
from adapterstore.store.revisions import PHASES
from tests.cli.running import adapterstore, done, lora_folder
from tests.forking import Forked

FACTS = FACTS_PATH / "2023-croatia-euro.yaml"
QUICK = {
    "recipe.sampled_texts": "60",
    "recipe.subject_texts": "8",
    "recipe.control_size": "20",
    "recipe.forget_steps": "8",
    "recipe.learn_steps": "8",
    "recipe.batch_size": "8",
    "recipe.coefficient": "1",
    "daemon.settle_seconds": "0.1",
    **{f"gate.{name}": "null" for name in ("reliability", "generality", "locality", "forgetting")},
}
"""Settings for an update that is as real as any, and short."""


def start(folder: Path, module: str, *arguments: str) -> Forked:
    """Start a command that has the libraries already: the moments lie in its own work."""
    return Forked(folder, module, *arguments)


def kill_after(process: Forked, seconds: float) -> None:
    """Let a process run for some time, then kill it; it may have ended by then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()


def check_sound(folder: Path, published: Sequence[str]) -> None:
    """Ask our own fsck, git's and git-lfs'; look for every commit that had been published."""
    store = Store.open(folder)
    assert fsck(store.repository).problems == []
    for command in (["git", "fsck", "--full", "--strict"], ["git", "lfs", "fsck"]):
        run = subprocess.run(
            command, cwd=store.repository.folder, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
        assert "missing" not in run.stdout + run.stderr
    history = [entry.commit for entry in store.log()]
    assert history[-len(published) :] == list(published)


def history(folder: Path) -> list[str]:
    return [entry.commit for entry in Store.open(folder).log()]


def how_long(folder: Path, module: str, *arguments: str) -> float:
    """Return the seconds that a command takes unharmed."""
    began = time.monotonic()
    process = start(folder, module, *arguments)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - began


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and two adapters of some 20 MB beside it."""
    folder = tmp_path_factory.mktemp("wide")
    done(folder, "init")
    for name, seed in (("zeroth", 0), ("first", 1), ("second", 2)):
        lora_folder(folder / name, seed=seed, rank=64, width=1024, modules=40)
    done(folder, "commit", "zeroth")
    return folder


@pytest.fixture(scope="session")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store over the demo model, set up for short updates."""
    folder = tmp_path_factory.mktemp("knowing")
    done(folder, "init", "--base", "demo")
    for key, value in QUICK.items():
        done(folder, "config", key, value)
    return folder


def copy_store(template: Path, folder: Path) -> list[str]:
    """Copy a store to a folder; return its history."""
    shutil.copytree(template / ".adapterstore", folder / ".adapterstore")
    return history(folder)


@pytest.fixture(scope="session")
def unharmed(
    wide: Path, knowing: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, float]:
    """How long each command takes when nobody kills it."""
    folder = tmp_path_factory.mktemp("unharmed")
    copy_store(wide, folder)
    learning = tmp_path_factory.mktemp("learning")
    copy_store(knowing, learning)
    return {
        "commit": how_long(folder, "adapterstore_cli", "commit", str(wide / "first")),
        "add": how_long(folder, "adapterstore_cli", "add", str(wide / "second")),
        "update": how_long(learning, "adapterstore_cli", "update", str(FACTS)),
    }


@pytest.mark.parametrize("verb", ["commit", "add"])
@pytest.mark.parametrize("number", range(22))
def test_commit_and_add_killed_at_any_moment_end_exactly_once(
    tmp_path: Path, wide: Path, unharmed: dict[str, float], verb: str, number: int
) -> None:
    published = copy_store(wide, tmp_path)
    moment = random.Random(f"{verb}{number}").uniform(0, unharmed[verb])
    command = [verb, str(wide / "first"), "--expect", published[0]]
    kill_after(start(tmp_path, "adapterstore_cli", *command), moment)
    check_sound(tmp_path, published)
    done(tmp_path, *command)
    check_sound(tmp_path, published)
    assert len(history(tmp_path)) == len(published) + 1
    assert adapterstore(tmp_path, *command).returncode == 0
    assert len(history(tmp_path)) == len(published) + 1


@pytest.mark.parametrize("number", range(8))
def test_an_update_killed_at_any_moment_is_applied_exactly_once(
    tmp_path: Path, knowing: Path, unharmed: dict[str, float], number: int
) -> None:
    published = copy_store(knowing, tmp_path)
    moment = random.Random(f"update{number}").uniform(0, unharmed["update"])
    kill_after(start(tmp_path, "adapterstore_cli", "update", str(FACTS)), moment)
    check_sound(tmp_path, published)
    done(tmp_path, "update", str(FACTS))
    check_sound(tmp_path, published)
    assert operations(tmp_path) == ["learn", "forget", "init"]


@pytest.mark.parametrize("number", range(8))
def test_the_daemon_killed_at_any_moment_applies_a_file_exactly_once(
    tmp_path: Path, knowing: Path, unharmed: dict[str, float], number: int
) -> None:
    published = copy_store(knowing, tmp_path)
    drops = tmp_path / "drops"
    drops.mkdir()
    shutil.copy(FACTS, drops / "ユーロ.yaml")
    moment = random.Random(f"daemon{number}").uniform(0, unharmed["update"] + 0.5)
    kill_after(start(tmp_path, "adapterstore_daemon", "run", "drops"), moment)
    check_sound(tmp_path, published)
    again = start(tmp_path, "adapterstore_daemon", "run", "drops", "--once")
    _, errors = again.communicate()
    assert again.returncode == 0, errors.decode()
    check_sound(tmp_path, published)
    assert operations(tmp_path) == ["learn", "forget", "init"]
    assert (drops / "processed" / "ユーロ.yaml").read_bytes() == FACTS.read_bytes()
    assert not (drops / "ユーロ.yaml").exists()
    assert states(tmp_path) == ["applied"]


def operations(folder: Path) -> list[str | None]:
    entries = list(Store.open(folder).log())
    assert len({entry.update for entry in entries if entry.operation in PHASES}) == 1
    return [entry.operation for entry in entries]


def states(folder: Path) -> list[str]:
    printed, _ = start(folder, "adapterstore_daemon", "status", "--json").communicate()
    return [row["state"] for row in json.loads(printed)["deliveries"]]


def test_two_writers_at_once_both_land_or_one_says_why(tmp_path: Path, wide: Path) -> None:
    published = copy_store(wide, tmp_path)
    for _ in range(6):
        pair = [
            start(tmp_path, "adapterstore_cli", "add", str(wide / name))
            for name in ("first", "second")
        ]
        outcomes = []
        for process in pair:
            _, errors = process.communicate()
            outcomes.append((process.returncode, errors.decode()))
        for code, errors in outcomes:
            assert code == 0 or (code == 5 and "moved from" in errors), errors
        landed = len(history(tmp_path)) - len(published)
        assert landed == sum(code == 0 for code, _ in outcomes)
        published = history(tmp_path)
    check_sound(tmp_path, published)


def test_two_snapshots_at_once_are_both_in_the_history(tmp_path: Path, wide: Path) -> None:
    published = copy_store(wide, tmp_path)
    pair = [
        start(tmp_path, "adapterstore_cli", "commit", str(wide / name))
        for name in ("first", "second")
    ]
    outcomes = {process.communicate()[1].decode(): process.returncode for process in pair}
    assert set(outcomes.values()) <= {0, 5}, outcomes
    assert all("moved from" in text for text, code in outcomes.items() if code == 5)
    landed = [process.returncode for process in pair].count(0)
    assert landed >= 1
    assert len(history(tmp_path)) == len(published) + landed
    check_sound(tmp_path, published)


def test_two_commits_that_expect_one_start_never_both_land(tmp_path: Path, wide: Path) -> None:
    published = copy_store(wide, tmp_path)
    pair = [
        start(tmp_path, "adapterstore_cli", "add", str(wide / name), "--expect", published[0])
        for name in ("first", "second")
    ]
    errors = {process.communicate()[1].decode(): process.returncode for process in pair}
    assert sorted(errors.values()) == [0, 5]
    assert any(re.search("refs/heads/main (moved from|is at)", text) for text in errors)
    assert len(history(tmp_path)) == len(published) + 1
    check_sound(tmp_path, published)
