"""``make bench-compact``: 20 terms of rank 8 folded into one adapter, on real files.

    python -m tests.benchmarks.compact [--width N] [--layers N] [--terms N] [--rank N]

The sum is folded in fresh processes, through the store's own verb `export --rank` as the library
has it: one starts the same way and folds nothing, so that the difference of their peaks (VmHWM) is
what folding takes. Errors are told beside the true ones, of ΔW formed densely in float64.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from adapterstore import Store
from adapterstore.history.leaves import open_leaves

_FOLD = """
import json, sys
from pathlib import Path
import torch
from adapterstore import Store
from adapterstore.history.leaves import open_leaves
from adapterstore.algebra.compact import compact_lora

torch.set_num_threads(1)
store = Store.open(sys.argv[1])
torch.linalg.svd(torch.linalg.qr(torch.randn(64, 8, dtype=torch.float64)).R)
said = None
if sys.argv[3] != "nothing":
    rank = None if sys.argv[3] == "full" else int(sys.argv[3])
    said = store.export("HEAD", sys.argv[2], "lora", rank=rank or 10**6)
status = Path("/proc/self/status").read_text().splitlines()
(peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
print(json.dumps([int(peak) * 1024, said and said.rank, said and said.relative_error]))
"""


def make_store(folder: Path, width: int, layers: int, terms: int, rank: int) -> tuple[Store, int]:
    """Return a store whose state is a sum of adapters, and the bytes of their factors."""
    store = Store.init(folder)
    size = 0
    for number in range(terms):
        generator = torch.Generator().manual_seed(number)
        tensors = {}
        for layer in range(layers):
            key = f"base_model.model.model.layers.{layer}.mlp.down_proj"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, width, generator=generator)
            # As in trained adapters, the first directions hold most.
            b = torch.randn(width, rank, generator=generator) * 0.7 ** torch.arange(rank)
            tensors[f"{key}.lora_B.weight"] = b.contiguous()
        size += sum(t.numel() * t.element_size() for t in tensors.values())
        adapter = folder / f"a{number}"
        adapter.mkdir()
        save_file(tensors, adapter / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": "bench/base",
            "r": rank,
            "lora_alpha": rank,
            "target_modules": ["down_proj"],
        }
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        store.add(None, adapter, coefficient="1" if number % 3 else "-0.7")
    return store, size


def true_error(store: Store, exported: Path) -> float:
    """Return ‖ΔW − ΔW′‖ / ‖ΔW‖ with both formed densely in float64, weight by weight."""
    tensors = load_file(exported / "adapter_model.safetensors")
    lost = whole = 0.0
    with open_leaves(store.repository, store.snapshot().composition) as leaves:
        for name in sorted({name for _, leaf in leaves.lora for name in leaf.modules}):
            exact = torch.zeros(())
            for coefficient, leaf in leaves.lora:
                f = leaf.modules[name]
                product = f.load_b().double() @ f.load_a().double()
                exact = exact + float(coefficient) * f.scaling * product
            key = f"base_model.model.{name}"
            found = (
                tensors[f"{key}.lora_B.weight"].double() @ tensors[f"{key}.lora_A.weight"].double()
            )
            lost += float((found - exact).square().sum())
            whole += float(exact.square().sum())
    return float((lost / whole) ** 0.5)


def fold(folder: Path, target: Path, rank: str) -> tuple[int, int | None, float | None]:
    """Fold in a fresh process; return its peak in bytes, the rank, and the error that it states."""
    run = subprocess.run(
        [sys.executable, "-c", _FOLD, str(folder), str(target), rank],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, kept, error = json.loads(run.stdout)
    return peak, kept, error


def main() -> None:
    """Print the table; exit with 1 if a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024, help="of each weight (square)")
    parser.add_argument("--layers", type=int, default=24, help="weights that are adapted")
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--rank", type=int, default=8, help="of each term")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store, size = make_store(folder, options.width, options.layers, options.terms, options.rank)
        idle = fold(folder, folder / "none", "nothing")[0]
        print(
            f"{options.terms} terms of rank {options.rank}, {options.layers} weights of "
            f"{options.width} × {options.width}: factors of {size / 1e6:.0f} MB"
        )
        print("fold to   rank   error stated   true error   peak above idle, in factors")
        met = True
        for rank in ("full", "16"):
            peak, kept, stated = fold(folder, folder / rank, rank)
            assert stated is not None
            error, share = true_error(store, folder / rank), (peak - idle) / size
            print(f"{rank:<9} {kept:>4}   {stated:12.3e}   {error:10.3e}   {share:.2f} ×")
            small = stated <= 1e-6 if rank == "full" else abs(stated / error - 1) <= 0.01
            met = met and share <= 3 and error <= (1e-6 if rank == "full" else 1) and small
    if not met:
        sys.exit("a bound is not met: error ≤ 1e-6 at full rank, stated = true within 1 %, 3 ×")


if __name__ == "__main__":
    main()
