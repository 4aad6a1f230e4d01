"""``verify`` and ``--sign`` as a user calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adapterstore import Store
from tests.cli.running import adapterstore, done, lora_folder, read_json
from tests.signing import configure, git, make_key
from tests.tampering import replacing, rewrite_history


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done(folder, "init", "--base", "example/base")
    lora_folder(folder / "a", seed=1)
    done(folder, "commit", "a")
    done(folder, "add", "HEAD", "--scale", "0.5")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_sound_history(folder: Path) -> None:
    assert done(folder, "verify").startswith("0 findings; verified 3 commits, 3 compositions, ")
    content = read_json(folder, "verify", "HEAD~1..HEAD")
    assert content["findings"] == []
    assert content["checked"]["commits"] == 1
    assert read_json(folder, "verify", "--all")["checked"]["commits"] == 3


def test_a_finding_names_commit_what_expected_and_found(folder: Path) -> None:
    forged = rewrite_history(Store.open(folder), "main", raw=replacing("Scale: 0.5", "Scale: 0.25"))
    run = adapterstore(folder, "verify")
    assert run.returncode == 18
    assert run.stderr.strip().splitlines()[-1] == (
        "adapterstore: error: HEAD: 1 finding; restore what was changed from a clone you trust"
    )
    where, expected, found, total = run.stdout.splitlines()
    assert where.startswith(f"{forged}: composition.json: coefficient of delta ")
    assert expected == "  expected  1.25"
    assert found == "  found     1.5"
    assert total.startswith("1 finding; verified 3 commits")
    json_run = adapterstore(folder, "verify", "--json")
    assert json_run.returncode == 18
    assert f'"where": "{forged}"' in json_run.stdout


def test_a_base_that_was_not_seen_has_the_shapes_that_its_adapters_show(
    folder: Path, tmp_path: Path
) -> None:
    lora_folder(tmp_path / "b", seed=2, modules=3)
    done(folder, "add", "b")
    assert read_json(folder, "verify")["findings"] == []
    store = Store.open(folder)
    base = json.loads(store.repository.read_required(store.resolve(), "base.json"))
    (new,) = (n for n in base["shapes"] if ".layers.2." in n)
    base["shapes"][new] = [8, 9]
    data = (json.dumps(base, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    forged = rewrite_history(store, "main", {"base.json": data})
    run = adapterstore(folder, "verify")
    assert run.returncode == 18
    assert run.stdout.splitlines()[:3] == [
        f"{forged}: base.json: shape of {new}",
        "  expected  [8, 8]",
        "  found     [8, 9]",
    ]


def test_signing_by_option_and_by_configuration(folder: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys", "ada")
    configure(folder / ".adapterstore", key)
    store = Store.open(folder)
    store.repository.git.config["commit.gpgSign"] = False
    done(folder, "add", "a")
    assert git(folder / ".adapterstore", "verify-commit", "HEAD").returncode != 0
    done(folder, "add", "a", "-S")
    assert git(folder / ".adapterstore", "verify-commit", "HEAD").returncode == 0
    store.repository.git.config["commit.gpgSign"] = True
    done(folder, "revert", "HEAD")
    assert git(folder / ".adapterstore", "verify-commit", "HEAD").returncode == 0
    done(folder, "subtract", "a", "--no-sign")
    assert git(folder / ".adapterstore", "verify-commit", "HEAD").returncode != 0
    assert read_json(folder, "verify", "HEAD~3..HEAD~1")["checked"]["good signatures"] == 2
    run = adapterstore(folder, "verify", "HEAD~3..HEAD", "--require-signatures")
    assert run.returncode == 18
    assert "found     none" in run.stdout
    # Nothing was changed, so nothing is to be restored.
    assert "HEAD~3..HEAD: 1 finding; have it signed by somebody on the list" in run.stderr


def test_the_list_of_keys_may_be_named(folder: Path, tmp_path: Path) -> None:
    key, other = (make_key(tmp_path / "keys", name) for name in ("ada", "bob"))
    configure(folder / ".adapterstore", key)
    done(folder, "add", "a")
    assert adapterstore(folder, "verify", "HEAD~1..HEAD", "--require-signatures").returncode == 0
    run = adapterstore(folder, "verify", "--allowed-signers", str(other.allowed_signers))
    assert run.returncode == 18
    assert "who is not allowed" in run.stdout


@pytest.mark.parametrize(
    "arguments", [("HEAD", "--all"), ("HEAD", "--replay", "update/x"), ("--allowed-signers", "no")]
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...]) -> None:
    assert adapterstore(folder, "verify", *arguments).returncode == 2


def test_a_locked_key_is_one_line_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    locked = make_key(tmp_path / "keys", "locked", passphrase="secret")
    configure(folder / ".adapterstore", locked)
    before = done(folder, "log")
    run = adapterstore(folder, "add", "a")
    assert run.returncode == 19
    assert run.stderr.strip().splitlines() == [
        f"adapterstore: error: can't sign with {locked.private}: the key needs its passphrase; "
        "unlock it once: ssh-add KEY; nothing was changed"
    ]
    assert done(folder, "log") == before
