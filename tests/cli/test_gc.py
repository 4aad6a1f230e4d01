"""gc and prune as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from tests.cli.running import adapterstore, done, lora_folder, read_json


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one tensor file that nothing names."""
    done(tmp_path, "init")
    done(tmp_path, "commit", str(lora_folder(tmp_path / "a", seed=1)))
    objects = Store.open(tmp_path).repository.objects
    with objects.stage(lora_folder(tmp_path / "b", seed=2) / "adapter_model.safetensors") as staged:
        objects.publish(staged)
    return tmp_path


def test_a_dry_run_lists_size_and_reason_and_the_total(store: Path) -> None:
    text = done(store, "gc", "--grace", "0", "--dry-run")
    (row,) = (line for line in text.splitlines() if line.startswith("tensor file"))
    assert "no reachable delta holds it" in row
    assert "B" in row
    assert "would remove 1 tensor file (" in text
    assert "would pack" in text
    assert "removed 1 tensor file (" in done(store, "gc", "--grace", "0")


def test_what_goes_is_counted_in_words(store: Path) -> None:
    (store / ".adapterstore/logs/refs/heads/main").write_bytes(b"")
    counts = done(store, "gc", "--reflog", "0", "--dry-run").splitlines()[-2]
    assert counts.startswith("would remove 2 reflog entries (")
    log = store / ".adapterstore/logs/HEAD"
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[1])
    counts = done(store, "gc", "--reflog", "0", "--dry-run").splitlines()[-2]
    assert counts.startswith("would remove 1 reflog entry (")


def test_young_files_stay_by_default(store: Path) -> None:
    text = done(store, "gc")
    assert "removed nothing" in text
    assert "packed" in text
    assert done(store, "gc").startswith("removed nothing\nsize: ")


def test_json_has_each_removal(store: Path) -> None:
    shown = read_json(store, "prune", "--grace", "0", "--dry-run")
    (removal,) = shown["removals"]
    assert removal["kind"] == "tensor file"
    assert (shown["dry_run"], shown["size_after"], shown["packed"]) == (True, None, 0)
    shown = read_json(store, "prune", "--grace", "0")
    assert shown["removals"] == [removal]
    assert shown["size_before"] - shown["size_after"] == removal["size"]


@pytest.mark.parametrize("option", ["--grace", "--reflog", "--unreachable", "--rejected"])
def test_a_time_that_is_none_is_told_in_one_line(store: Path, option: str) -> None:
    run = adapterstore(store, "gc", option, "two weeks")
    assert run.returncode == 10
    assert f"{option}: 'two weeks' is no time; write it like 2w, 90d" in run.stderr
