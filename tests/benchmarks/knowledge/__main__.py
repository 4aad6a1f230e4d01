"""Run what is missing of the benchmark, and print its tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.knowledge import __doc__ as about
from tests.benchmarks.knowledge.ablation import run_ablation
from tests.benchmarks.knowledge.bases import BASES
from tests.benchmarks.knowledge.curves import print_curves
from tests.benchmarks.knowledge.results import Results
from tests.benchmarks.knowledge.rows import MIXES, Bench, run_rows
from tests.benchmarks.knowledge.sequence import DROPS, run_sequence
from tests.benchmarks.knowledge.table import print_tables

ROWS = ("plain", "published", "ours")
QUICK_CHANGED = 20
QUICK_DROPS = 3


def main() -> None:
    """Run what the options ask for, base by base and seed by seed."""
    arguments = _parser().parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.out)
    if arguments.table:
        print_tables(results)
        print_curves(results)
        return
    disable_progress_bar()  # type: ignore[no-untyped-call]
    bench = Bench(results, arguments.work)
    quick = arguments.quick
    seeds = arguments.seeds or ([0] if quick else [0, 1, 2])
    mixes = arguments.mixes or (["lora"] if quick else list(MIXES))
    for name in arguments.bases or (["demo"] if quick else list(BASES)):
        base = BASES[name](arguments.work, arguments.data)
        changed = QUICK_CHANGED if quick else base.changed
        for seed in seeds:
            for mix in mixes:
                if arguments.ablation:
                    run_ablation(bench, base, mix, seed, changed)
                elif arguments.sequence:
                    drops = QUICK_DROPS if quick else DROPS
                    run_sequence(bench, base, mix, arguments.rows, seed, drops, not quick)
                else:
                    run_rows(bench, base, mix, arguments.rows, seed, changed, not quick)
    print_tables(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.knowledge",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="file of results, one a line")
    parser.add_argument("--work", type=Path, required=True, help="folder for stand-in bases")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="real records")
    parser.add_argument("--bases", nargs="+", choices=list(BASES))
    parser.add_argument("--mixes", nargs="+", choices=list(MIXES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--quick", action="store_true", help="one seed, few facts, no sweep")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--ablation", action="store_true", help="forget × preserve × λ")
    kinds.add_argument("--sequence", action="store_true", help="ten drops, one after the other")
    kinds.add_argument("--table", action="store_true", help="print the results that there are")
    return parser


if __name__ == "__main__":
    main()
