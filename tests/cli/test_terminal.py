"""On a terminal: a bar while there is work, then lines of their own."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import done, lora_folder

_MOVES = re.compile(r"\x1b\[(?:\?25[lh]|[0-9;]*m)")
"""Colours, and hiding and showing the cursor."""


def screen(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run a command on a terminal; return its exit code and the lines that stay on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "adapterstore_cli", *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "400"},
    )
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:
        # How Linux says that the other side has gone.
        pass
    os.close(ours)
    return process.wait(60), left_on(_MOVES.sub("", text.decode()))


def left_on(text: str) -> list[str]:
    """Return what a terminal shows after a text with returns, erased lines and moves upwards."""
    rows, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            rows[row] = ""
        else:
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in rows if line.strip()]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    done(tmp_path, "init")
    lora_folder(tmp_path / "a")
    lora_folder(tmp_path / "other", seed=1, base="somebody/else")
    return tmp_path


def test_the_bar_leaves_what_was_done_and_nothing_else(store: Path) -> None:
    code, lines = screen(store, "commit", "a")
    assert code == 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("[main ")


@pytest.mark.damages_the_store
def test_an_error_stands_on_a_line_of_its_own(store: Path) -> None:
    done(store, "commit", "a")
    weights = store / "a" / "adapter_model.safetensors"
    tensors = next((store / ".adapterstore/lfs/objects").glob("*/*/*"))
    tensors.chmod(0o644)
    tensors.write_bytes(weights.read_bytes()[:-1] + b"\1")
    for arguments, wanted in ((("add", "other"), 9), (("export", "HEAD", "out"), 6)):
        code, lines = screen(store, *arguments)
        assert code == wanted, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("adapterstore: error: ")
