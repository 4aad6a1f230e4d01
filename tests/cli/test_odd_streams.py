"""Output that nobody reads, streams that are closed, arguments that are no text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import adapterstore, done, lora_folder, read_json

PROGRAM = f"{sys.executable} -m adapterstore_cli"


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("adapterstore", PROGRAM)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams")
    done(path, "init", "--base", "demo")
    return path


@pytest.mark.parametrize(
    "command",
    ["adapterstore log | true", "adapterstore log --json | true", "adapterstore config | true"],
)
def test_a_reader_that_has_gone_is_no_failure(folder: Path, command: str) -> None:
    run = shell(folder, command)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    done(tmp_path, "init", "--base", "example/base")
    done(tmp_path, "add", str(lora_folder(tmp_path / "a")))
    done(tmp_path, "add", str(lora_folder(tmp_path / "b", seed=1)))
    return tmp_path


@pytest.mark.parametrize("streams", ["2>&1 | true", "2>/dev/full", "2>&1 >out.txt | true"])
def test_work_goes_on_where_nobody_reads_of_it(store: Path, streams: str) -> None:
    assert shell(store, f"adapterstore compact {streams}").returncode == 0
    assert read_json(store, "log")[0]["operation"] == "compact"


@pytest.mark.damages_the_store
def test_a_failure_is_one_also_where_the_reader_has_gone(store: Path) -> None:
    tensors = next((store / ".adapterstore/lfs/objects").glob("*/*/*"))
    tensors.chmod(0o644)
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
    assert shell(store, "adapterstore fsck | true").returncode == 6
    assert shell(store, "adapterstore export HEAD out 2>&1 | true").returncode == 6


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("adapterstore log >&-", 0),
        ("adapterstore status 2>&-", 0),
        ("adapterstore status >&- 2>&-", 0),
        ("adapterstore fsck 2>&-", 0),
        ("adapterstore log nowhere 2>&-", 4),
        ("adapterstore log <&-", 0),
        ("adapterstore log >/dev/full", 1),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(folder: Path, command: str, code: int) -> None:
    run = shell(folder, command)
    assert run.returncode == code
    assert "Traceback" not in run.stderr


def test_an_operand_is_stored_with_closed_streams(folder: Path, tmp_path: Path) -> None:
    done(tmp_path, "init", "--base", "example/base")
    lora_folder(tmp_path / "adapter")
    assert shell(tmp_path, "adapterstore add adapter >&- 2>&-").returncode == 0
    assert "Add adapter" in done(tmp_path, "log")


@pytest.mark.parametrize(
    ("prompt", "problem", "code"),
    [
        (os.fsdecode(b"\xff"), "prompt: is not UTF-8 text", 10),
        (" ", "prompt: is empty", 10),
        ("the " * 20000, "tokens leave no room for an answer", 11),
    ],
)
def test_a_prompt_that_no_model_reads_is_refused(
    folder: Path, prompt: str, problem: str, code: int
) -> None:
    run = adapterstore(folder, "ask", prompt)
    assert run.returncode == code
    assert problem in run.stderr
    assert run.stderr.count("\n") == 1


def test_settings_that_would_fill_the_memory_if_shown_are_told_in_a_line(tmp_path: Path) -> None:
    done(tmp_path, "init", "--base", "example/base")
    levels = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    settings = tmp_path / ".adapterstore" / "adapterstore.yaml"
    settings.write_text("recipe:\n  method: [" + ",\n    ".join(levels) + "]\n")
    run = adapterstore(tmp_path, "config")
    assert run.returncode == 10
    assert "recipe.method" in run.stderr
    assert len(run.stderr) < 1000
