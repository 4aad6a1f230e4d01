"""``--json``: stdout is one JSON document, or the option is refused and nothing is done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapterstore import Store
from tests.cli.running import adapterstore, contents, done, lora_folder
from tests.update.publishing import publish


@pytest.mark.parametrize(
    "command",
    [
        ("branch", "other"),
        ("branch", "-m", "main", "other"),
        ("branch", "-d", "spare"),
        ("tag", "other"),
        ("tag", "-d", "spare"),
        ("config", "gate.retention", "0.5"),
        ("config", "gate.retention", "--unset"),
    ],
)
def test_what_lists_and_changes_has_json_for_the_list(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done(tmp_path, "init", "--base", "example/base")
    done(tmp_path, "branch", "spare")
    done(tmp_path, "tag", "spare")
    before = contents(tmp_path / ".adapterstore")
    run = adapterstore(tmp_path, *command, "--json")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--json is for" in run.stderr
    assert contents(tmp_path / ".adapterstore") == before
    done(tmp_path, *command)
    assert isinstance(json.loads(done(tmp_path, command[0], "--json")), list | dict)


def test_what_asks_first_asks_on_stderr(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="example/base")
    update = publish(
        store, lora_folder(tmp_path / "a"), "a.yaml", "- {prompt: Secret is, answer: kept}\n"
    )

    def answered(word: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "adapterstore_cli", "forget-data", f"update/{update}", *options],
            cwd=tmp_path,
            input=word,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )

    before = contents(tmp_path / ".adapterstore")
    assert answered("n\n").stderr == "nothing was changed\n"
    refused = answered("n\n", "--json")
    assert json.loads(refused.stdout)["dry_run"] is True
    assert refused.stderr.endswith("nothing was changed\n")
    assert contents(tmp_path / ".adapterstore") == before
    run = answered("y\n", "--json")
    assert json.loads(run.stdout)["dry_run"] is False
    assert "would be rewritten" in run.stderr
    assert "This can't be undone. Go on?" in run.stderr
