"""Two people share a store through a remote, as docs/sharing.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import adapterstore, done, lora_folder
from tests.compat.test_stock_tools import git
from tests.stock_tools import stock_tools_agree

FETCH = "remote.origin.fetch=+refs/heads/*:refs/remotes/origin/*"


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    """Anna has published a store; Ben has made one of it."""
    git(tmp_path, "lfs", "install", "--skip-repo")
    # As git makes it without another init.defaultBranch.
    git(tmp_path, "init", "-q", "--bare", "-b", "master", "hub.git")
    anna, ben = tmp_path / "anna", tmp_path / "ben"
    for folder in (anna, ben):
        folder.mkdir()
    done(anna, "init", "--base", "org/base")
    done(anna, "commit", str(lora_folder(tmp_path / "first", base="org/base")))
    git(anna / ".adapterstore", "remote", "add", "origin", str(tmp_path / "hub.git"))
    git(anna / ".adapterstore", "push", "origin", "main")
    hub = str(tmp_path / "hub.git")
    git(ben, "clone", "-q", "--bare", "-b", "main", "-c", FETCH, hub, ".adapterstore")
    git(ben / ".adapterstore", "lfs", "fetch", "--all")
    return anna, ben


def add(folder: Path, seed: int) -> None:
    adapter = lora_folder(folder / f"adapter-{seed}", seed=seed, base="org/base")
    done(folder, "add", str(adapter))


def test_what_two_people_add_comes_together_with_its_tensor_files(
    people: tuple[Path, Path],
) -> None:
    anna, ben = people
    done(ben, "fsck")
    add(ben, 1)
    git(ben / ".adapterstore", "push", "origin", "main")
    add(anna, 2)
    git(anna / ".adapterstore", "fetch", "origin")
    assert "not here yet: 1 tensor file of this state" in done(anna, "merge", "origin/main")
    missing = adapterstore(anna, "export", "HEAD", "served")
    assert missing.returncode == 6
    assert "git -C .adapterstore lfs fetch --all" in missing.stderr
    git(anna / ".adapterstore", "lfs", "fetch", "--all")
    git(anna / ".adapterstore", "push", "origin", "main")
    git(ben / ".adapterstore", "fetch", "origin")
    done(ben, "merge", "origin/main")
    git(ben / ".adapterstore", "lfs", "fetch", "--all")
    for folder in people:
        done(folder, "fsck")
        stock_tools_agree(folder / ".adapterstore")
    served = [folder / "served" for folder in people]
    for folder in served:
        done(folder.parent, "export", "HEAD", str(folder))
    first, second = [(folder / "adapter_model.safetensors").read_bytes() for folder in served]
    assert first == second
