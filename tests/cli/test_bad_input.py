"""Bad input: one clear line, the documented exit code, and the store as it was."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from adapterstore.errors import UnknownRevision, UnreadableFile
from tests.cli.running import (
    adapterstore,
    contents,
    done,
    lora_folder,
    run_code,
    started_anew,
)

NOBODY = 65534
BOMB = """facts:
  - &a {prompt: The currency of Croatia is the, answer: euro}
  - &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
  - &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]
  - [*c, *c, *c, *c, *c, *c, *c, *c, *c]
"""
CONTRADICTION = """facts:
  - {prompt: The currency of Croatia is the, answer: euro}
  - {prompt: The currency of Croatia is the, answer: kuna}
"""

Make = Callable[[Path], list[str]]


def truncated(folder: Path) -> list[str]:
    weights = lora_folder(folder / "bad") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    return ["add", "bad"]


def lying_header(folder: Path) -> list[str]:
    weights = lora_folder(folder / "bad") / "adapter_model.safetensors"
    weights.write_bytes(struct.pack("<Q", 1 << 40) + weights.read_bytes()[8:])
    return ["commit", "bad"]


def another_base(folder: Path) -> list[str]:
    lora_folder(folder / "bad", base="somebody/else")
    return ["add", "bad"]


def another_shape(folder: Path) -> list[str]:
    lora_folder(folder / "bad", width=16)
    return ["add", "bad"]


def dora(folder: Path) -> list[str]:
    lora_folder(folder / "bad", use_dora=True)
    return ["add", "bad"]


def facts(text: str | bytes) -> Make:
    def make(folder: Path) -> list[str]:
        data = text if isinstance(text, bytes) else text.encode()
        (folder / "drop.yaml").write_bytes(data)
        return ["update", "drop.yaml"]

    return make


def newer_composition(folder: Path) -> list[str]:
    git = pygit2.Repository(str(folder / ".adapterstore"))
    tip = git.references["refs/heads/main"].peel(pygit2.Commit)
    builder = git.TreeBuilder(tip.tree)
    content = json.loads(tip.tree["composition.json"].data) | {"format": 2}
    blob = git.create_blob(json.dumps(content).encode())
    builder.insert("composition.json", blob, pygit2.enums.FileMode.BLOB)
    author = pygit2.Signature("later", "later@localhost")
    git.create_commit("refs/heads/main", author, author, "later", builder.write(), [tip.id])
    return ["status"]


def newer_store(folder: Path) -> list[str]:
    pygit2.Repository(str(folder / ".adapterstore")).config["adapterstore.format"] = 2
    return ["log"]


def ambiguous(folder: Path) -> list[str]:
    """Make commits until two share four digits: some hundreds, by the birthday paradox."""
    git = pygit2.Repository(str(folder / ".adapterstore"))
    tip = git.references["refs/heads/main"].peel(pygit2.Commit)
    author = pygit2.Signature("x", "x@localhost", 1_700_000_000, 0)
    seen: set[str] = set()
    number = 0
    while True:
        made = git.create_commit(None, author, author, f"commit {number}", tip.tree_id, [tip.id])
        digits = str(made)[:4]
        if digits in seen:
            return ["show", digits]
        seen.add(digits)
        number += 1


def not_a_store(folder: Path) -> list[str]:
    (folder / "elsewhere").mkdir()
    (folder / ".adapterstore").rename(folder / "moved")
    return ["log"]


def half_a_store(folder: Path) -> list[str]:
    (folder / "elsewhere" / ".adapterstore").mkdir(parents=True)
    return ["-C", "elsewhere", "log"]


def arguments(*given: str) -> Make:
    return lambda folder: list(given)


CASES: dict[str, tuple[Make, int, str]] = {
    "truncated safetensors": (truncated, 7, "describes .* bytes of tensors, but there are"),
    "a header that lies about its size": (lying_header, 7, "header claims 1099511627776 bytes"),
    "an adapter of another base": (another_base, 9, "base model is 'example/base', but the adapt"),
    "an adapter of another shape": (another_shape, 8, "belong to different models"),
    "DoRA": (dora, 8, "use_dora=True can't be stored: DoRA rescales"),
    "a missing field": (facts("facts:\n  - {prompt: P}\n"), 11, r"drop\.yaml:2: .*answer"),
    "a contradiction": (facts(CONTRADICTION), 12, "drop.yaml:2 says 'euro', but .*drop.yaml:3"),
    "a YAML bomb": (facts(BOMB), 11, "drop.yaml:2: .*"),
    "an empty fact file": (facts(""), 11, "empty"),
    "a fact file without facts": (facts("facts: []\n"), 11, "drop.yaml"),
    "a binary fact file": (facts(b"\x00\x01\x02\xff" * 99), 11, "drop.yaml"),
    "an unknown revision": (arguments("show", "nowhere"), 4, "'nowhere': no such branch"),
    "an unknown operand": (arguments("add", "nowhere"), 4, "no such revision, file or folder"),
    "a path that is not there": (arguments("add", "../nowhere"), 7, "no such file or folder$"),
    "a folder that is not there": (arguments("add", "nowhere/"), 7, "no such file or folder$"),
    "an ambiguous id": (ambiguous, 4, "is ambiguous: it may be"),
    "a folder that is not a store": (not_a_store, 3, "make a store with 'adapterstore init'"),
    "a store folder without a repository": (half_a_store, 3, "not a git repository"),
    "a store of a newer version": (newer_store, 3, "format version '2'.*upgrade adapterstore"),
    "a composition of a newer version": (newer_composition, 3, "composition.json: format version"),
    "a coefficient that is no number": (arguments("add", "HEAD", "--scale", "x"), 10, "'x'"),
    "a path that can't be an adapter": (arguments("commit", "/dev/null"), 7, "/dev/null"),
    "a second init": (arguments("init"), 3, "there is a store already"),
    "an unknown setting": (arguments("config", "recipe.rnak", "4"), 10, "there is no such setting"),
    "a setting out of range": (arguments("config", "gate.retention", "2"), 10, "gate.retention"),
    "a setting like a date": (arguments("config", "recipe.seed", "2018-99-99"), 10, "recipe.seed"),
    "a setting of a YAML tag": (arguments("config", "recipe.seed", "!!bool x"), 10, "recipe.seed"),
    "a branch that is no text": (arguments("branch", "\udcff"), 10, "is not UTF-8 text"),
    "a tag that is no text": (arguments("tag", "t\udcff"), 10, "is not UTF-8 text"),
    "a new name that is no text": (arguments("branch", "-m", "\udcff"), 10, "is not UTF-8 text"),
    "no tag that is no text": (arguments("tag", "-d", "\udcff"), 4, "no such tag"),
    "no tag that can be one": (arguments("tag", "-d", "a b"), 4, "no such tag"),
    "a fact that is no text": (arguments("blame", "\udcff"), 4, "no such fact"),
    "no weights": (
        arguments("ask", "The currency of Croatia is the"),
        9,
        "set base.path|base.path",
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done(folder, "init", "--base", "example/base")
    lora_folder(folder / "good")
    done(folder, "commit", "good")
    return folder


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.damages_the_store if make is half_a_store else ())
        for case, (make, _, _) in CASES.items()
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(store: Path, case: str) -> None:
    make, code, message = CASES[case]
    call = make(store)
    kept = next(p for p in (store / ".adapterstore", store / "moved") if p.exists())
    before = contents(kept)
    run = adapterstore(store, *call)
    assert run.returncode == code, run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("adapterstore: error: ")
    assert "Traceback" not in run.stderr
    assert re.search(message, lines[0]), lines[0]
    assert contents(kept) == before


# Root may read anything, so as root the command drops to nobody first; what it needs from folders
# that nobody may not enter is imported before.
AS_NOBODY = f"""
import os, sys
import adapterstore_cli.commands.update, adapterstore.knowledge.formats, adapterstore.update
import adapterstore.knowledge.yaml_content, adapterstore_cli.main as main
import adapterstore.learning.recipe, adapterstore.evaluation.gate, traceback
if os.geteuid() == 0:
    os.seteuid({NOBODY})
sys.argv = ["adapterstore", "update", "drop.yaml"]
main.main()
"""


def test_init_where_nothing_may_be_written(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "kept").mkdir(mode=0o555)
    code = AS_NOBODY.replace('"update", "drop.yaml"', '"init"')
    run = run_code(
        tmp_path / "kept",
        code.replace("import os, sys", "import os, sys, adapterstore.history.store"),
    )
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert line == f"adapterstore: error: {tmp_path / 'kept'}: Permission denied"
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_fact_file_without_permission(store: Path) -> None:
    drop = store / "drop.yaml"
    drop.write_text("facts:\n  - {prompt: P, answer: A}\n")
    drop.chmod(0)
    for folder in (store, *store.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    before = contents(store / ".adapterstore")
    run = run_code(store, AS_NOBODY)
    assert run.returncode == 11, run.stderr
    assert run.stderr.strip().splitlines() == [
        "adapterstore: error: drop.yaml: can't be read: Permission denied"
    ]
    assert contents(store / ".adapterstore") == before


@pytest.mark.damages_the_store
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_store_of_another_user_says_how_to_trust_it(store: Path) -> None:
    folder = store / ".adapterstore"
    os.chown(folder, NOBODY, NOBODY)
    run = adapterstore(store, "log")
    assert run.returncode == 7
    (line,) = run.stderr.strip().splitlines()
    assert "belongs to another user" in line
    trusting = {**os.environ, "HOME": str(store)}
    subprocess.run(shlex.split(line.partition("if you trust it: ")[2]), check=True, env=trusting)
    again = subprocess.run(
        [sys.executable, "-m", "adapterstore_cli", "log"], cwd=store, env=trusting, check=False
    )
    assert again.returncode == 0


def test_debug_shows_the_traceback(store: Path) -> None:
    plain = adapterstore(store, "show", "nowhere")
    run = adapterstore(store, "--debug", "show", "nowhere")
    assert run.returncode == plain.returncode == UnknownRevision.exit_code
    assert plain.stderr.startswith("adapterstore: error: 'nowhere'")
    assert len(plain.stderr.splitlines()) == 1
    assert run.stderr.startswith("Traceback")
    assert run.stderr.endswith(plain.stderr)


def test_what_nobody_foresaw_is_one_line_too(tmp_path: Path) -> None:
    """A verb whose module is not there stands for any bug."""
    code = "import adapterstore_cli.main as main; main.VERBS['broken'] = 'nowhere'; main.main()"
    for arguments, lines in ((["broken"], 1), (["--debug", "broken"], 10)):
        run = run_code(tmp_path, code, *arguments)
        assert run.returncode == 1
        assert len(run.stderr.splitlines()) >= lines
        assert ("Traceback" in run.stderr) == (lines > 1)
        said = run.stderr.splitlines()[-1]
        assert said.startswith("adapterstore: error: unexpected ModuleNotFoundError: ")
        assert ("--debug before the verb" in said) == (lines == 1)


def test_a_reader_that_goes_away_is_no_error(store: Path) -> None:
    pipe = "-m adapterstore_cli log --json | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}"
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} {pipe}"],
        cwd=store,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "0"
    assert run.stderr == ""


def test_the_settings_of_git_itself_are_not_blamed_on_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(tmp_path, "init")
    (tmp_path / ".gitconfig").write_text("[user\nname = x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    run = started_anew(tmp_path, "log")
    assert run.returncode == UnreadableFile.exit_code
    assert run.stderr.startswith(
        f"adapterstore: error: {tmp_path}/.gitconfig:1: git can't read it (missing"
    )
    assert run.stderr.count("\n") == 1
