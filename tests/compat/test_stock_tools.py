"""A second opinion that we did not write: git, git-lfs and peft on a store made by real updates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapterstore import Store
from adapterstore.demo import FACTS_PATH, MODEL_PATH
from adapterstore.evaluation.generation import score_answers
from adapterstore.history.update_report import read_report
from adapterstore.update.asking import load_state
from tests.cli.running import done
from tests.stock_tools import stock_tools_agree

PROMPTS = ["The currency of Croatia is the", "カザフスタンの首都は", "The capital of France is"]
TOLERANCE = 1e-4
"""Of logits in float32 between the same state loaded by us and by peft."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a LoRA update, a full update on top, and a revert."""
    folder = tmp_path_factory.mktemp("store")
    done(folder, "init", "--base", "demo")
    short = {"sampled_texts": 100, "subject_texts": 15, "control_size": 30, "batch_size": 8}
    for key, number in short.items():
        done(folder, "config", f"recipe.{key}", str(number))
    for figure in ("generality", "locality", "forgetting"):
        # What stock tools make of an update does not depend on how good it is.
        done(folder, "config", f"gate.{figure}", "null")
    done(folder, "update", str(FACTS_PATH / "2023-croatia-euro.yaml"))
    done(folder, "update", str(FACTS_PATH / "2022-カザフスタンの首都.yaml"), "--method", "full")
    done(folder, "revert", "HEAD~2..HEAD")
    return folder


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def clone(folder: Path) -> Path:
    """A clone with git and git-lfs as a user makes one."""
    git(folder, "lfs", "install", "--skip-repo")
    git(folder, "clone", "-q", ".adapterstore", "clone")
    return folder / "clone"


def test_git_and_git_lfs_find_nothing_wrong(folder: Path) -> None:
    stock_tools_agree(folder / ".adapterstore")


def test_git_lfs_finds_every_object(folder: Path) -> None:
    assert "Git LFS fsck OK" in git(folder / ".adapterstore", "lfs", "fsck")
    assert "Git LFS fsck OK" in git(folder / ".adapterstore", "lfs", "fsck", "main~2..main")


def test_git_reads_the_history_and_its_trailers(folder: Path) -> None:
    subjects = git(folder / ".adapterstore", "log", "--format=%s").splitlines()
    assert subjects == [entry.subject for entry in Store.open(folder).log()]
    updates = git(folder / ".adapterstore", "log", "--format=%(trailers:key=Update,valueonly)")
    assert len({line for line in updates.splitlines() if line}) == 2


def test_a_clone_has_the_tensor_files_themselves(clone: Path) -> None:
    files = list(clone.glob("deltas/*/*.safetensors"))
    assert files
    assert all(not path.read_bytes().startswith(b"version https://git-lfs") for path in files)
    assert "Git LFS fsck OK" in git(clone, "lfs", "fsck")


def test_a_push_takes_the_tensor_files_along(folder: Path, tmp_path: Path) -> None:
    store, remote = folder / ".adapterstore", tmp_path / "remote.git"
    git(folder, "lfs", "install", "--skip-repo")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(remote))
    git(store, "remote", "add", "elsewhere", str(remote))
    git(store, "push", "elsewhere", "main")
    git(tmp_path, "clone", "-q", str(remote), "clone")
    files = sorted(tmp_path.glob("clone/deltas/*/*.safetensors"))
    assert files
    assert "Git LFS fsck OK" in git(tmp_path / "clone", "lfs", "fsck")
    # git-lfs takes the hook for one of its own.
    git(store, "lfs", "install", "--local")


def test_without_git_lfs_a_push_is_refused(tmp_path: Path) -> None:
    done(tmp_path, "init")
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    only_git = tmp_path / "bin"
    only_git.mkdir()
    for tool in ("git", "sh"):
        (only_git / tool).symlink_to(str(shutil.which(tool)))
    # Else git would look where it is installed, and find git-lfs there.
    run = subprocess.run(
        ["git", "push", str(tmp_path / "remote.git"), "main"],
        cwd=tmp_path / ".adapterstore",
        env={**os.environ, "PATH": str(only_git), "GIT_EXEC_PATH": _without_lfs(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode != 0
    assert "lfs" in run.stderr
    assert not git(tmp_path / "remote.git", "for-each-ref")


def _without_lfs(folder: Path) -> str:
    """Return a folder of git's own commands, but for git-lfs."""
    own, copy = Path(git(folder, "--exec-path").strip()), folder / "exec"
    copy.mkdir()
    for command in own.iterdir():
        if command.name != "git-lfs":
            (copy / command.name).symlink_to(command)
    return str(copy)


def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32).eval()


def logits(model: Any) -> list[torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    with torch.inference_mode():
        return [model(**tokenizer(p, return_tensors="pt")).logits for p in PROMPTS]


def largest_difference(left: Any, right: Any) -> float:
    pairs = zip(logits(left), logits(right), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_peft_loads_a_terms_folder_out_of_a_clone(clone: Path) -> None:
    (learned,) = [
        path
        for path in clone.glob("deltas/*")
        if (path / "adapter_config.json").exists()
        and path.name in {t["delta"] for t in terms(clone) if t["role"] == "learn"}
    ]
    model = PeftModel.from_pretrained(base(), learned)
    assert largest_difference(model, base()) > 0.1


def terms(clone: Path) -> list[dict[str, str]]:
    content = json.loads((clone / "composition.json").read_text())
    found: list[dict[str, str]] = content["terms"]
    return found


def test_peft_and_the_store_give_one_state(folder: Path, tmp_path: Path) -> None:
    store = Store.open(folder)
    assert store.export("HEAD~3", tmp_path / "out").kind == "lora"
    ours = store.load("HEAD~3", base())
    theirs = PeftModel.from_pretrained(base(), tmp_path / "out").eval()
    assert largest_difference(ours, theirs) <= TOLERANCE


def test_a_merged_model_is_the_state_rounded_once(folder: Path, tmp_path: Path) -> None:
    store = Store.open(folder)
    store.export("HEAD~1", tmp_path / "model", "model")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    loaded, tokenizer = load_state(store, "HEAD~1")
    pairs = [("The currency of Croatia is the", "euro"), ("カザフスタンの首都は", "アスタナ")]
    for model in (merged, loaded):
        scores = score_answers(model, tokenizer, pairs)
        assert scores[0].given
    # Base and sum are added before the one rounding to bf16, or after it: 8 bits apart at most.
    assert largest_difference(merged, loaded) < 1.0


def log_probabilities(folder: Path, revision: str) -> list[float]:
    store = Store.open(folder)
    content = read_report(store.repository, store.resolve(revision))
    found: list[float] = content["report"]["log_probabilities"]
    return found


@pytest.fixture
def exported(folder: Path, tmp_path: Path) -> Any:
    Store.open(folder).export("HEAD~3", tmp_path / "evaluated")
    return PeftModel.from_pretrained(base(), tmp_path / "evaluated").eval()


def test_an_export_is_what_the_updates_own_evaluation_saw(folder: Path, exported: Any) -> None:
    """The report keeps the new answers' log-probabilities: peft's model has to give the same."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    tokenizer.pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id
    seen = log_probabilities(folder, "HEAD~3")
    given = score_answers(exported, tokenizer, [("The currency of Croatia is the", "euro")])
    assert [score.log_probability for score in given] == pytest.approx(seen, abs=TOLERANCE)


def test_revert_gave_the_composition_back_byte_for_byte(folder: Path) -> None:
    repository = Store.open(folder).repository
    store = Store.open(folder)
    blobs = {
        repository.read(store.resolve(revision), "composition.json")
        for revision in ("HEAD", "HEAD~3")
    }
    assert len(blobs) == 1
