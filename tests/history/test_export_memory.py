"""Materializing takes memory for one tensor, however many there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapterstore import Store
from tests.cli.running import lora_folder

WIDTH = 1024
WEIGHT_BYTES = 4 * WIDTH**2
FEW, MANY = 8, 48
ROOM = 8 * WEIGHT_BYTES
"""What may be more with 40 weights more: a fifth of them, for what the allocator keeps."""
TRIES = 3

EXPORT = """
import sys
from pathlib import Path
from adapterstore import Store

Store.open(".").export("HEAD", f"out-{sys.argv[1]}", sys.argv[1])
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(peak.split()[1])
"""


def make_store(folder: Path, modules: int) -> Store:
    """Make a store over a base of some weights, with three adapters of rank 64 on each."""
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text('{"tie_word_embeddings": false}')
    names = [f"model.layers.{number}.self_attn.q_proj.weight" for number in range(modules)]
    save_file(
        {name: np.full((WIDTH, WIDTH), 0.5, np.float32) for name in names},
        base / "model.safetensors",
    )
    store = Store.init(folder, base=str(base))
    for seed in range(3):
        adapter = folder / f"adapter-{seed}"
        lora_folder(adapter, seed=seed, rank=64, width=WIDTH, modules=modules, base=None)
        store.add(None, adapter)
    return store


def peak_bytes(folder: Path, kind: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", EXPORT, kind], cwd=folder, capture_output=True, text=True, check=True
    )
    return 1024 * int(run.stdout)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    few, many = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("many")
    make_store(few, FEW)
    make_store(many, MANY)
    return few, many


@pytest.mark.parametrize("kind", ["lora", "delta", "model"])
def test_an_export_takes_memory_for_one_tensor(stores: tuple[Path, Path], kind: str) -> None:
    few, many = stores
    out = many / f"out-{kind}"
    grown = []
    # How much of its libraries a process has in memory varies by some 30 MB from run to run.
    while not grown or (grown[-1] >= ROOM and len(grown) < TRIES):
        grown.append(peak_bytes(many, kind) - peak_bytes(few, kind))
        assert sum(path.stat().st_size for path in out.iterdir()) > 2 * ROOM
        shutil.rmtree(out)
        shutil.rmtree(few / out.name)
    assert min(grown) < ROOM, grown
