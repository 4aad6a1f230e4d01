"""Tables in Markdown, from the lines of the output file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.benchmarks.knowledge.figures import COLUMNS
from tests.benchmarks.knowledge.results import Line, Results

SEQUENCE = (
    "least reliability at its time",
    "all drops after the last",
    "least drop after the last",
    "untouched facts after the last",
)


def print_tables(results: Results) -> None:
    """Print a table of each part and base that has lines."""
    for part in ("rows", "sweep", "ablation", "sequence"):
        columns = SEQUENCE if part == "sequence" else COLUMNS
        bases = dict.fromkeys((line["base"], line["changed"]) for line in results.find(part=part))
        for base, changed in bases:
            lines = results.find(part=part, base=base, changed=changed)
            print(f"\n{part}: {base}, {changed} facts changed\n")
            _print_table(lines, columns)


def _print_table(lines: Sequence[Line], columns: Sequence[str]) -> None:
    shown = [name for name in columns if any(name in line["figures"] for line in lines)]
    print("| mix | row | seeds | " + " | ".join(shown) + " | seconds | of CPU |")
    print("|---" * (len(shown) + 5) + "|")
    for mix, row in dict.fromkeys((line["mix"], line["row"]) for line in lines):
        same = [line for line in lines if (line["mix"], line["row"]) == (mix, row)]
        seeds = " ".join(str(line["seed"]) for line in sorted(same, key=lambda x: x["seed"]))
        cells = [
            mean_and_spread([x["figures"][name] for x in same if name in x["figures"]])
            for name in shown
        ]
        seconds = mean_and_spread([line["seconds"] for line in same], 0)
        used = mean_and_spread(
            [x["processor seconds"] for x in same if "processor seconds" in x], 0
        )
        print(f"| {mix} | {row} | {seeds} | " + " | ".join(cells) + f" | {seconds} | {used} |")


def mean_and_spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± sample standard deviation; the value alone if there is one."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
