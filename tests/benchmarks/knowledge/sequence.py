"""Ten drops of twenty facts, one after the other: the product's updates, and plain beside them."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from adapterstore import Store
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.formats import read_fact_file
from adapterstore.learning.loading import load_base
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.asking import load_state
from tests.benchmarks.knowledge.bases import Base
from tests.benchmarks.knowledge.draws import Pair
from tests.benchmarks.knowledge.figures import share
from tests.benchmarks.knowledge.results import Line
from tests.benchmarks.knowledge.rows import MIXES, Bench, best_plan
from tests.benchmarks.knowledge.training import Plan, Run, train_on

DROPS = 10
DROP_SIZE = 20


def run_sequence(
    bench: Bench, base: Base, mix: str, rows: list[str], seed: int, drops: int, sweep: bool
) -> None:
    """Run what is missing of the sequence of a base, mix and seed."""
    changed = drops * DROP_SIZE
    draw = base.draw_many(changed, seed)
    files = [draw.facts[n : n + DROP_SIZE] for n in range(0, changed, DROP_SIZE)]
    # No preserve set is known before the ten updates: these are all the untouched facts drawn.
    untouched = draw.asked["retention"]
    for row in rows:
        key = {
            "part": "sequence",
            "base": base.name,
            "mix": mix,
            "row": row,
            "seed": seed,
            "changed": changed,
        }
        if row == "ours":
            folder = bench.work / f"sequence-{base.name}-{mix}-{seed}-{drops}"
            bench.results.once(key, partial(_ours, folder, base, mix, files, untouched, seed))
        elif row == "plain" and MIXES[mix][0] == MIXES[mix][1]:
            plan = best_plan(bench, base, mix, row, base.changed, sweep)
            bench.results.once(key, partial(_plain, base, plan, files, untouched, seed))


def _ours(
    folder: Path,
    base: Base,
    mix: str,
    files: list[list[Fact]],
    untouched: list[Pair],
    seed: int,
) -> Line:
    """Run the updates; what the store has already of an interrupted run is not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "demo" if base.name == "demo" else str(base.folder.resolve())
    kept = (folder / ".adapterstore").exists()
    store = Store.open(folder) if kept else Store.init(folder, base=name)
    forget, learn = MIXES[mix]
    recipe = Recipe(method=learn, forget_method=forget, learn_method=learn, seed=seed)
    drops = []
    for number, facts in enumerate(files):
        path = folder / f"drop-{number:02}.json"
        path.write_text(json.dumps([_record(fact) for fact in facts], ensure_ascii=False))
        started = time.perf_counter()
        result = run_update(store, [read_fact_file(path)], recipe=recipe, gate=Gate())
        assert result.report is not None
        scores = {n: round(s.value, 4) for n, s in result.report.scores().items()}
        seconds = round(time.perf_counter() - started, 1)
        drops.append(
            {
                "status": result.status,
                "reasons": result.reasons,
                "coefficient": result.coefficient,
                "seconds": seconds,
                **scores,
            }
        )
        print(f"  drop {number}: {result.status} {scores} {seconds} s", flush=True)
    model, tokenizer = load_state(store, "HEAD")
    return _line(model, tokenizer, files, untouched, drops)


def _plain(
    base: Base, plan: Plan, files: list[list[Fact]], untouched: list[Pair], seed: int
) -> Line:
    model, tokenizer = load_base(base.folder, "cpu")
    run = Run(model, tokenizer)
    drops = []
    for facts in files:
        started = time.perf_counter()
        train_on(run, facts, seed, plan, base.folder)
        drops.append(
            {
                "reliability": round(share(run.model, tokenizer, _pairs(facts)), 4),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    return {**_line(run.model, tokenizer, files, untouched, drops), "plan": plan.to_dict()}


def _line(
    model: Any,
    tokenizer: Any,
    files: list[list[Fact]],
    untouched: list[Pair],
    drops: list[dict[str, Any]],
) -> Line:
    after = [round(share(model, tokenizer, _pairs(facts)), 4) for facts in files]
    times = [drop["reliability"] for drop in drops]
    return {
        "figures": {
            "least reliability at its time": min(times),
            "all drops after the last": round(sum(after) / len(after), 4),
            "least drop after the last": min(after),
            "untouched facts after the last": round(share(model, tokenizer, untouched), 4),
        },
        "drops": drops,
        "after the last": after,
        "seconds": round(sum(drop["seconds"] for drop in drops), 1),
    }


def _pairs(facts: list[Fact]) -> list[Pair]:
    return [(fact.prompt, fact.answer or "") for fact in facts]


def _record(fact: Fact) -> dict[str, Any]:
    names = ("prompt", "answer", "old_answer", "subject", "relation")
    return {name: value for name in names if (value := getattr(fact, name)) is not None}
