"""``make bench-store``: commit against git with git-lfs; add, subtract and revert as processes.

    python -m tests.benchmarks.store [--runs N]

The folder committed is a LoRA adapter of Llama-7B's shapes: rank 16 on every linear layer, 448
tensors, 160 MB in float32. Both sides store the same bytes in the same run, alternately, with the
file in the page cache; git-lfs does not fsync its objects, adapterstore does. Ratios are medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS, HIDDEN, INTERMEDIATE, RANK = 32, 4096, 11008, 16
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
MOST_SECONDS, MOST_MEGABYTES, MOST_RATIO = 0.35, 150.0, 1.0


def write_adapter(folder: Path, seed: int) -> int:
    """Write the adapter; return its size in bytes."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for name, (rows, columns) in SHAPES.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = random.standard_normal((RANK, columns), np.float32)
            tensors[f"{key}.lora_B.weight"] = random.standard_normal((rows, RANK), np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "example/llama-7b",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": [name.rpartition(".")[2] for name in SHAPES],
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return (folder / "adapter_model.safetensors").stat().st_size


def timed(command: list[str], cwd: Path) -> tuple[float, float]:
    """Run a command; return its wall seconds and its peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def commit_with_git(adapter: Path, folder: Path) -> float:
    """Return the seconds of ``git add`` + ``git commit`` with git-lfs."""
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    subprocess.run(["git", "lfs", "install", "--local"], cwd=folder, check=True, stdout=-3)
    subprocess.run(["git", "lfs", "track", "*.safetensors"], cwd=folder, check=True, stdout=-3)
    subprocess.run(["git", "config", "user.name", "bench"], cwd=folder, check=True)
    subprocess.run(["git", "config", "user.email", "bench@localhost"], cwd=folder, check=True)
    shutil.copytree(adapter, folder / "adapter")
    os.sync()
    add, _ = timed(["git", "add", "."], folder)
    commit, _ = timed(["git", "commit", "-q", "-m", "adapter"], folder)
    return add + commit


def commit_with_adapterstore(
    program: list[str], adapter: Path, folder: Path
) -> tuple[float, float]:
    """Return seconds and peak MB of ``adapterstore commit``."""
    folder.mkdir()
    subprocess.run([*program, "init"], cwd=folder, check=True, stdout=-3)
    own = folder.parent / f"{folder.name}-source"
    shutil.copytree(adapter, own)
    os.sync()
    return timed([*program, "commit", str(own)], folder)


def tensor_bytes(folder: Path) -> int:
    """Return how many bytes of tensor files a store holds."""
    return sum(p.stat().st_size for p in (folder / ".adapterstore/lfs").rglob("*") if p.is_file())


def main() -> None:
    """Run the benchmark and print its table; exit 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    program = [str(Path(sys.executable).with_name("adapterstore"))]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="bench-store-") as scratch:
        root = Path(scratch)
        second = root / "second"
        # In processes of their own: a child's peak memory counts what its parent held at the fork.
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(1) as pool:
            size, _ = pool.starmap(write_adapter, [(root / "adapter", 0), (second, 1)])
        git, ours, memory = [], [], []
        for run in range(runs):
            git.append(commit_with_git(root / "adapter", root / f"git-{run}"))
            shutil.rmtree(root / f"git-{run}")
            seconds, peak = commit_with_adapterstore(program, root / "adapter", root / f"own-{run}")
            ours.append(seconds)
            memory.append(peak)
            if run < runs - 1:
                shutil.rmtree(root / f"own-{run}")
                shutil.rmtree(root / f"own-{run}-source")
        store = root / f"own-{runs - 1}"
        subprocess.run([*program, "add", str(second)], cwd=store, check=True, stdout=-3)
        before = tensor_bytes(store)
        verbs: dict[str, list[float]] = {"add": [], "subtract": [], "revert": []}
        for _ in range(runs):
            verbs["add"].append(timed([*program, "add", "HEAD", "--scale", "0.5"], store)[0])
            verbs["subtract"].append(timed([*program, "subtract", "HEAD~1..HEAD"], store)[0])
            verbs["revert"].append(timed([*program, "revert", "HEAD~1"], store)[0])
        written = tensor_bytes(store) - before

    ratio = statistics.median(ours) / statistics.median(git)
    print(f"adapter: {size / 1e6:.0f} MB, {2 * LAYERS * len(SHAPES)} tensors; {runs} runs each\n")
    print(f"{'what':<34}{'measured':>12}{'limit':>10}{'ratio':>8}")
    rows = [
        ("commit ÷ (git add + git commit)", statistics.median(ours), statistics.median(git), "s"),
        ("commit, peak memory", max(memory), MOST_MEGABYTES, "MB"),
        *[
            (f"{v}, whole process", statistics.median(s), MOST_SECONDS, "s")
            for v, s in verbs.items()
        ],
    ]
    failed = []
    for name, measured, limit, unit in rows:
        print(
            f"{name:<34}{measured:>9.3f} {unit:<2}{limit:>7.2f} {unit:<2}{measured / limit:>7.2f}"
        )
        if measured / limit > 1:
            failed.append(name)
    print(f"{'tensor bytes written by the verbs':<34}{written:>9d}   {0:>7d}")
    if failed or written or ratio > MOST_RATIO:
        raise SystemExit(f"over the limit: {', '.join(failed) or 'tensor bytes'}")


if __name__ == "__main__":
    main()
