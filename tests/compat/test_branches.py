"""Stock git on a store with branches, merges and tags: it lists, draws, clones and checks them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.history.fsck import fsck
from tests.cli.running import lora_folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("branches")
    store = Store.init(folder)
    for number, name in enumerate("abc", 1):
        lora_folder(folder / name, seed=number)
    store.commit(None, folder / "a")
    store.create_branch("価格/2026")
    store.switch("価格/2026")
    store.add(None, folder / "b", coefficient="0.5")
    store.switch("main")
    store.add(None, folder / "c")
    store.create_tag("v1", "HEAD", "最初の版")
    store.merge(None, "価格/2026")
    store.create_branch("old")
    store.rename_branch("old", "kept")
    return store


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-c", "core.quotePath=false", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_git_draws_the_history(store: Store) -> None:
    graph = git(store.repository.folder, "log", "--graph", "--oneline", "--decorate=short")
    assert graph.startswith("*   ")
    assert "|\\" in graph
    for part in ("HEAD -> main", "tag: v1", "価格/2026", "kept", "Merge 価格/2026"):
        assert part in graph
    merged = git(store.repository.folder, "log", "-1", "--format=%(trailers:key=Merged,valueonly)")
    assert merged.strip() == store.resolve("価格/2026")


def test_git_lists_branches_and_tags(store: Store) -> None:
    folder = store.repository.folder
    assert git(folder, "branch").split() == ["kept", "*", "main", "価格/2026"]
    assert git(folder, "tag", "-n").split() == ["v1", "最初の版"]
    assert git(folder, "cat-file", "-t", "v1").strip() == "tag"
    assert git(folder, "merge-base", "main", "価格/2026").strip() == store.resolve("価格/2026")
    assert "checkout: moving from 価格/2026 to main" in git(folder, "reflog")


def test_git_reads_heads_and_reflogs_as_we_do(store: Store) -> None:
    folder = store.repository.folder
    for revision in ("HEAD", "main@{1}", "v1^{commit}", "kept"):
        assert git(folder, "rev-parse", revision).strip() == store.resolve(revision)
    assert git(folder, "reflog", "main", "--format=%H").split() == [
        entry.after for entry in store.reflog("main")
    ]


def test_a_clone_has_every_branch(store: Store, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(store.repository.folder), "clone")
    clone = tmp_path / "clone"
    for branch in ("価格/2026", "kept", "main"):
        git(clone, "switch", "-q", branch)
        content = json.loads((clone / "composition.json").read_text())
        assert [term["coefficient"] for term in content["terms"]] == [
            format(term.coefficient, "f") for term in store.snapshot(branch).composition
        ]
    assert git(clone, "tag").split() == ["v1"]


def test_packed_refs_are_moved_and_deleted_too(store: Store) -> None:
    folder = store.repository.folder
    store.create_branch("packed", "v1")
    git(folder, "pack-refs", "--all")
    store.reset("packed", "main")
    store.delete_branch("packed")
    assert "packed" not in git(folder, "branch")
    git(folder, "pack-refs", "--all")
    store.create_branch("packed")
    git(folder, "pack-refs", "--all")
    store.delete_branch("packed", force=True)
    assert "packed" not in git(folder, "branch")


def test_everything_is_sound(store: Store) -> None:
    assert git(store.repository.folder, "fsck", "--full", "--strict", "--no-dangling") == ""
    assert fsck(store.repository).problems == []
