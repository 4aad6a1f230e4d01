"""Curves as tables: old answers and control set over λ, and the course of the learn phase."""

from __future__ import annotations

from adapterstore.learning.training import CHECK_EVERY
from tests.benchmarks.knowledge.results import Line, Results


def print_curves(results: Results) -> None:
    """Print each search for λ that a run of ours made, and each course that the ablation noted."""
    for line in results.find(part="rows", row="ours"):
        if line["curve"]:
            print(f"\nλ, {_name(line)}: {line['coefficient']} chosen\n")
            print("| λ | old answers still given | control set kept |\n|---|---|---|")
            for point in line["curve"]:
                print(
                    f"| {point['coefficient']} | {point['old_answers']:.3f} "
                    f"| {point['control']:.3f} |"
                )
    for line in results.find(part="ablation"):
        print(f"\nlearning, {_name(line)}\n")
        print("| step | new answers given | KL |\n|---|---|---|")
        for number, point in enumerate(line["course"], 1):
            print(f"| {number * CHECK_EVERY} | {point['given']:.3f} | {point['KL']:.4f} |")


def _name(line: Line) -> str:
    return f"{line['base']}, {line['mix']}, {line['row']}, seed {line['seed']}"
