"""Run the command line as a user does: its own process, real files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.forking import Forked


def adapterstore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``adapterstore`` in a folder and return what came of it.

    In a process of its own, forked from one that has read the libraries: see `tests.forking`.
    """
    process = Forked(folder, "adapterstore_cli", *arguments)
    try:
        output, errors = process.communicate(300)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(
        process.args, process.wait(), output.decode(), errors.decode()
    )


def run_code(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments as a command line has them, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def started_anew(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``adapterstore`` as a user's shell does: with nothing read beforehand."""
    return subprocess.run(
        [sys.executable, "-m", "adapterstore_cli", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def done(folder: Path, *arguments: str) -> str:
    """Run a command that has to succeed; return what it printed."""
    run = adapterstore(folder, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def read_json(folder: Path, *arguments: str) -> Any:
    """Run a command with ``--json``; return what it printed."""
    return json.loads(done(folder, *arguments, "--json"))


def lora_folder(
    folder: Path,
    *,
    seed: int = 0,
    rank: int = 2,
    base: str | None = "example/base",
    width: int = 8,
    modules: int = 2,
    **config: Any,
) -> Path:
    """Write a small PEFT LoRA folder."""
    random = np.random.default_rng(seed)
    tensors = {}
    for number in range(modules):
        key = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        tensors[f"{key}.lora_A.weight"] = random.standard_normal((rank, width), np.float32)
        tensors[f"{key}.lora_B.weight"] = random.standard_normal((width, rank), np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    content = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def contents(store: Path) -> dict[str, bytes]:
    """Return everything that a store keeps, but for its lock and its cache."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and path.name != "adapterstore.lock"
        and path.relative_to(store).parts[0] != "cache"
    }
