"""``make bench-tables``: the next version of a catalogue that the base knows by heart.

    python -m tests.benchmarks.tables --work FOLDER [--rows 1000] [--changed 30] [--removed 3]
        [--added 2] [--seeds 0 1 2]

A stand-in base is trained once on every cell of the first version, in every phrasing of the
mapping, and kept in the folder. A seed draws the next version: changed cells, rows that have
gone, new ones. ``adapterstore table import`` records the first version, ``adapterstore update``
takes the second; then every cell of the catalogue is asked, in every phrasing. Beside it, plain
fine-tuning on the changed and new cells, at the one of three learning rates that did best on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from adapterstore import Store
from adapterstore.evaluation.generation import greedy_answers
from adapterstore.history.ledger.known import draw_retained, find_known
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.knowledge.tables.mapping import parse_mapping
from adapterstore.knowledge.tables.reading import MappedTable, map_table
from adapterstore.learning.loading import load_base
from adapterstore.learning.recipe import Recipe
from adapterstore.update.asking import load_state
from adapterstore.update.table_plan import plan_table
from tests.benchmarks.counterfact import train_base
from tests.benchmarks.knowledge.draws import Pair
from tests.benchmarks.knowledge.figures import harmonic_mean, share
from tests.benchmarks.knowledge.results import Line
from tests.benchmarks.knowledge.table import mean_and_spread
from tests.benchmarks.knowledge.training import Plan, train_plan
from tests.tables.catalogue import UNPROTECTED, Rows, Versions, make_rows, next_version, to_csv

TABLE, MAPPING_NAME = "catalogue.csv", "catalogue.map.yaml"
EPOCHS = 30
RATES = (0.1, 1 / 3, 1.0)
LIMITS = {
    "changed": "≥ 0.98",
    "new rows": "≥ 0.98",
    "other phrasings": "",
    "gone, still said": "≤ 0.10",
    "same rows": "≥ 0.95",
    "other cells": "≥ 0.95",
    "not drawn": "≥ 0.95",
}
"""Figure → its limit. Those that are to stay, and those that are to go, are of what the base said
before; "not drawn" is of the other cells that the update did not draw of the ledger, to keep their
answers by name: they hang on texts that the model wrote itself."""
STAY = ("same rows", "other cells")
CHOSEN_BY = ("changed", "new rows", *STAY)


@dataclass(frozen=True)
class Next:
    """A next version: what is to be learned, and what is asked afterwards."""

    versions: Versions
    facts: list[Fact]
    """Changed and new cells, as plain fine-tuning gets them."""
    asked: dict[str, list[Pair]]


def mapped(rows: Rows) -> MappedTable:
    """Return a catalogue's cells as facts."""
    return map_table(to_csv(rows), TABLE, parse_mapping(UNPROTECTED, MAPPING_NAME))


def phrasings(fact: Fact) -> list[Pair]:
    """Return every prompt of a cell with its answer."""
    return [(prompt, fact.answer or "") for prompt in (fact.prompt, *fact.paraphrases)]


def stand_in(work: Path, rows: int) -> tuple[Path, Rows]:
    """Return a base that knows a catalogue, and the catalogue; it is trained if it is not kept."""
    before = make_rows(rows, seed=0)
    folder = work / f"catalogue-{rows}"
    if not folder.exists():
        # Every cell as often as the others: with one phrasing, twice.
        pairs = [
            pair
            for cell in mapped(before).cells
            for pair in phrasings(cell.fact) * (1 if cell.fact.paraphrases else 2)
        ]
        print(f"training a stand-in on {len(pairs)} prompts", flush=True)
        unfinished = work / f"{folder.name}.unfinished"
        known, seconds = train_base(pairs, unfinished, seed=0, epochs=EPOCHS)
        unfinished.rename(folder)
        print(f"{known:.1%} known, {seconds:.0f} s", flush=True)
    return folder.resolve(), before


def draw(base: Path, versions: Versions) -> Next:
    """Sort what is asked by what the update to a next version means to it."""
    earlier = {(cell.row, cell.column.column): cell.fact for cell in mapped(versions.before).cells}
    asked: dict[str, list[Pair]] = {name: [] for name in LIMITS if name != "not drawn"}
    rows = {key for key, _ in versions.changed}
    facts = []
    for cell in mapped(versions.after).cells:
        place, pairs = (cell.row, cell.column.column), phrasings(cell.fact)
        if place in versions.changed or cell.row in versions.added:
            old = earlier[place].answer if place in earlier else None
            facts.append(replace(cell.fact, old_answer=old, paraphrases=()))
            asked["changed" if place in versions.changed else "new rows"] += pairs[:1]
            asked["other phrasings"] += pairs[1:]
        else:
            asked["same rows" if cell.row in rows else "other cells"] += pairs
    for (row, _), fact in earlier.items():
        if row in versions.removed:
            asked["gone, still said"] += phrasings(fact)
    model, tokenizer = load_base(base, "cpu")
    for name in (*STAY, "gone, still said"):
        given = greedy_answers(model, tokenizer, [prompt for prompt, _ in asked[name]])
        both = zip(asked[name], given, strict=True)
        asked[name] = [pair for pair, text in both if same_answer(text, pair[1])]
    return Next(versions, facts, asked)


def ours(base: Path, folder: Path, following: Next, seed: int) -> Line:
    """Record the first version and update to the second, by the command line."""
    (folder / MAPPING_NAME).write_bytes(UNPROTECTED)
    table = folder / TABLE
    table.write_bytes(to_csv(following.versions.before))
    command(folder, "init", "--base", str(base))
    command(folder, "table", "import", TABLE)
    table.write_bytes(to_csv(following.versions.after))
    store = Store.open(folder)
    start = store.resolve()
    began = time.perf_counter()
    result = json.loads(command(folder, "update", TABLE, "--seed", str(seed), "--json"))
    seconds = time.perf_counter() - began
    kept = kept_by_name(store, start, following, result["update"], seed)
    asked = {
        **following.asked,
        "not drawn": [pair for pair in following.asked["other cells"] if pair[0] not in kept],
    }
    model, tokenizer = load_state(store, f"update/{result['update']}")
    return {
        "row": "ours",
        "figures": {name: share(model, tokenizer, pairs) for name, pairs in asked.items() if pairs},
        "asked": {name: len(pairs) for name, pairs in asked.items()},
        "seconds": seconds,
        **{name: result[name] for name in ("status", "reasons", "coefficient", "notes")},
        "cells": result["table"]["cells"],
    }


def kept_by_name(
    store: Store, start: CommitId, following: Next, update: UpdateId, seed: int
) -> set[str]:
    """Return the prompts that an update drew of the ledger, whose answers training kept."""
    repository, limit = store.repository, Recipe().retained_facts
    plan = plan_table(repository, start, mapped(following.versions.after))
    known = find_known(repository, start, plan.fact_file().facts)
    drawn = draw_retained(repository, start, known, limit, f"{seed} {update}")
    return {entry.prompt for entry in drawn.entries} | {
        probe.prompt for probe in drawn.phrasings(limit, seed)
    }


def plain(base: Path, following: Next, seed: int) -> Line:
    """Fine-tune on the changed and new cells, at the rate that did best on what is asked."""
    lines: list[Line] = []
    for rate in RATES:
        run = train_plan(base, following.facts, seed, Plan("lora", rate=rate))
        figures = {
            name: share(run.model, run.tokenizer, pairs)
            for name, pairs in following.asked.items()
            if pairs
        }
        lines.append(
            {
                "row": "plain",
                "figures": figures,
                "seconds": run.seconds,
                "status": f"rate × {rate:.2g}",
            }
        )
    return max(lines, key=lambda line: harmonic_mean([line["figures"][n] for n in CHOSEN_BY]))


def command(folder: Path, *arguments: str) -> str:
    """Run a command; return what it prints. A refused update is a result, too."""
    program = [sys.executable, "-m", "adapterstore_cli", *arguments]
    done = subprocess.run(program, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 13):
        raise SystemExit(f"adapterstore {' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def print_table(lines: list[Line]) -> None:
    """Print mean ± spread over the seeds, each figure beside its limit."""
    rows = list(dict.fromkeys(line["row"] for line in lines))
    print("\n| figure | limit | " + " | ".join(rows) + " |")
    print("|---" * (len(rows) + 2) + "|")
    for name, limit in LIMITS.items():
        cells = [
            mean_and_spread([line["figures"][name] for line in lines if line["row"] == row])
            if all(name in line["figures"] for line in lines if line["row"] == row)
            else ""
            for row in rows
        ]
        print(f"| {name} | {limit} | " + " | ".join(cells) + " |")
    seconds = [
        mean_and_spread([line["seconds"] for line in lines if line["row"] == row], 0)
        for row in rows
    ]
    print("| seconds | | " + " | ".join(seconds) + " |")


def main() -> None:
    """Run each seed and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=30)
    parser.add_argument("--removed", type=int, default=3)
    parser.add_argument("--added", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    arguments.work.mkdir(parents=True, exist_ok=True)
    base, before = stand_in(arguments.work, arguments.rows)
    lines: list[Line] = []
    for seed in arguments.seeds:
        versions = next_version(before, arguments.changed, arguments.removed, arguments.added, seed)
        following = draw(base, versions)
        with tempfile.TemporaryDirectory(prefix="bench-tables-") as scratch:
            lines.append(ours(base, Path(scratch), following, seed))
        print(json.dumps({"seed": seed, **lines[-1]}, ensure_ascii=False), flush=True)
        if following.facts:
            lines.append(plain(base, following, seed))
            print(json.dumps({"seed": seed, **lines[-1]}, ensure_ascii=False), flush=True)
    print_table(lines)


if __name__ == "__main__":
    main()
