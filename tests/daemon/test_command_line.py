"""What ``adapterstored`` says of an error that ends it: one line, and a traceback if asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from adapterstore_daemon.journal import Journal

from adapterstore import Store
from adapterstore.errors import NotAStore
from adapterstore.identifiers import UpdateId
from tests.cli.running import done, run_code

AS_IT_IS = "import adapterstore_daemon.main as main; main.main()"
WITH_A_BUG = "import adapterstore_daemon.main as main; main.Store = None; main.main()"


def said(folder: Path, code: str, *arguments: str) -> tuple[int, list[str]]:
    """Run the daemon's command line; return its exit code and what it wrote on stderr."""
    run = run_code(folder, code, *arguments)
    return run.returncode, run.stderr.splitlines()


@pytest.mark.parametrize("verb", [["status"], ["run", "drops", "--once"]], ids=["status", "run"])
def test_what_nobody_foresaw_is_one_line_too(tmp_path: Path, verb: list[str]) -> None:
    code, (line,) = said(tmp_path, WITH_A_BUG, *verb)
    assert code == 1
    assert line.startswith("adapterstored: error: unexpected AttributeError: ")
    assert "--debug before the verb" in line
    code, (first, *_, last) = said(tmp_path, WITH_A_BUG, "--debug", *verb)
    assert code == 1
    assert first.startswith("Traceback")
    assert line.startswith(last)


def test_debug_keeps_the_line_and_the_exit_code(tmp_path: Path) -> None:
    code, (line,) = said(tmp_path, AS_IT_IS, "status")
    assert code == NotAStore.exit_code
    assert line.startswith("adapterstored: error: ")
    code, (first, *_, last) = said(tmp_path, AS_IT_IS, "--debug", "status")
    assert code == NotAStore.exit_code
    assert first.startswith("Traceback")
    assert last == line


@pytest.mark.parametrize("command", ["status --json | true", "run . --once 2>&1 | true"])
def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path, command: str) -> None:
    done(tmp_path, "init", "--base", "org/base")
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m adapterstore_daemon {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_a_name_with_a_line_break_makes_no_line_of_its_own(tmp_path: Path) -> None:
    done(tmp_path, "init", "--base", "org/base")
    drops = tmp_path / "drops"
    drops.mkdir()
    (drops / "a\x1b[31m.yaml\nforged.yaml").write_text("facts: []\n")
    code, lines = said(tmp_path, AS_IT_IS, "run", "drops", "--once")
    assert code == 13
    assert any(r"rejected a\x1b[31m.yaml forged.yaml: " in line for line in lines)
    run = run_code(tmp_path, AS_IT_IS, "status")
    line, last = run.stdout.splitlines()
    assert r"  a\x1b[31m.yaml forged.yaml  " in line
    assert last.startswith("no daemon runs; the last one watched ")


def test_status_tells_what_nobody_works_on(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="org/base")
    (tmp_path / "drops").mkdir()
    journal = Journal(store.repository.folder / "daemon" / "journal.sqlite3")
    for folder, state in (("/left", "rejected"), ("/left", None), (tmp_path / "drops", None)):
        made = journal.claim(
            str(folder), "main", f"{state}", "", "a.yaml", store.resolve(), lambda: UpdateId("abcd")
        )
        if state is not None:
            journal.settle(made.id, "rejected", "bad")
    lock = {"process": 1, "folder": f"{tmp_path / 'drops'}", "branch": "main", "since": "now"}
    (store.repository.folder / "daemon" / "lock").write_text(json.dumps({**lock, "runs": True}))
    run = run_code(tmp_path, AS_IT_IS, "status")
    refused, left, cut_off, _ = run.stdout.splitlines()
    assert refused.endswith("bad (of /left, branch main)")
    assert left.endswith("(of /left, branch main, which no daemon watches)")
    assert [line.split("  ")[1] for line in (left, cut_off)] == ["cut off"] * 2
    journal.close()
