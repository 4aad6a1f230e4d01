"""The story of ``adapterstore demo``, and what stock tools make of the store that it leaves."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.history.fsck import fsck
from adapterstore.update.asking import load_state
from tests.cli.running import adapterstore, done, started_anew

PROMPTS = ["The currency of Croatia is the", "カザフスタンの首都は", "The capital of France is"]
TOLERANCE = 1e-4
"""Of logits in float32 between the same state loaded by us and by peft."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    run = started_anew(folder, "demo", "物語")
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def story(folder: Path, told: str) -> Path:
    return folder / "物語"


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_it_tells_of_the_old_answer_the_new_one_and_the_old_one_again(told: str) -> None:
    assert re.findall(r"^  (kuna|euro|forint)\.$", told, re.M) == ["kuna", "euro", "forint", "kuna"]
    assert "byte for byte" in told


def test_the_state_is_the_one_from_before(story: Path) -> None:
    store = Store.open(story)
    assert [entry.operation for entry in store.log()] == ["revert", "learn", "forget", "init"]
    first, last = store.snapshot("HEAD~3"), store.snapshot()
    assert first.composition.to_bytes() == last.composition.to_bytes()
    assert fsck(store.repository).problems == []


def test_a_second_demo_takes_no_folder_of_somebodys(folder: Path, story: Path) -> None:
    run = adapterstore(folder, "demo", "物語")
    assert run.returncode == 8
    assert "the folder is there already" in run.stderr


def test_stock_tools_clone_check_and_load_it(story: Path, tmp_path: Path) -> None:
    git(story, "lfs", "install", "--skip-repo")
    assert "Git LFS fsck OK" in git(story / ".adapterstore", "lfs", "fsck")
    # The tip is the base again: what was learned lies in the commit before.
    git(story, "clone", "-q", ".adapterstore", str(tmp_path / "x"))
    clone = tmp_path / "x"
    assert "Git LFS fsck OK" in git(clone, "lfs", "fsck")
    git(clone, "checkout", "-q", "HEAD~1")
    terms = json.loads((clone / "composition.json").read_text())["terms"]
    (learned,) = (term["delta"] for term in terms if term["role"] == "learn")
    done(story, "export", "HEAD~1", str(tmp_path / "state"))

    ours, tokenizer = load_state(Store.open(story), "HEAD~1")
    theirs, term = (
        PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32), adapter
        ).eval()
        for adapter in (tmp_path / "state", clone / "deltas" / learned)
    )
    assert largest_difference(theirs, ours, tokenizer) <= TOLERANCE
    assert largest_difference(term, ours, tokenizer) > 0.1


def largest_difference(left: Any, right: Any, tokenizer: Any) -> float:
    """Return the largest difference of the two models' logits after some prompts."""
    inputs = [tokenizer(prompt, return_tensors="pt") for prompt in PROMPTS]
    with torch.inference_mode():
        return max(float((left(**i).logits - right(**i).logits).abs().max()) for i in inputs)


def test_what_it_says_to_try_next_works(told: str, story: Path) -> None:
    lines = told.partition("What to try next:")[2].splitlines()
    tried = 0
    for line in lines:
        command = line.partition("#")[0].partition("&&")[0].strip()
        if command.startswith("adapterstore "):
            done(story, *shlex.split(command)[1:])
            tried += 1
        elif command.startswith("ls "):
            assert list(Path(command.removeprefix("ls ")).glob("*.yaml"))
    assert tried == 3
    assert (story / "serve" / "adapter_model.safetensors").is_file()
