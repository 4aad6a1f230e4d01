"""``make bench-after-effects``: does what was forgotten come back, and does forgetting first help?

    python -m tests.benchmarks.after_effects [--method lora|full] [--changes 40] [--seeds 0 1 2]

The demo model learns counterfactual changes of distinct countries, told one prompt of each: with a
forget phase before the learn phase, and without one. In a third store the same facts are forgotten
only. Each state is asked again as ``adapterstore eval --after`` does it: with its weights quantised
to 8 and to 4 bits, and fine-tuned for a few steps on text that the base writes and that names none
of the facts. Shares of all phrasings of the changed facts, of which training was told one in nine
or so: mean ± sample standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapterstore import Store
from adapterstore.demo import world
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.facts import Fact
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.after_effects import (
    QUANTIZED,
    RELEARN,
    Intervention,
    measure_after_effects,
)
from tests.benchmarks.fact_files import fact_file
from tests.benchmarks.knowledge.table import mean_and_spread

UPDATES = ("forget, then learn", "learn only", "forget only")
ITSELF = "the state itself"
EFFECTS = (ITSELF, *QUANTIZED, RELEARN)
FIGURES = {"new answers": "reliability", "old answers": "forgetting"}

Shares = dict[tuple[str, str], float]
"""(effect, figure) → share of prompts."""


def after_update(update: str, changes: Sequence[world.Change], recipe: Recipe) -> Shares:
    """Make one update in a store of its own; return what the state says, and what it says later."""
    told, asked = [], []
    for change in changes:
        answer = None if update == "forget only" else change.answer
        fact = Fact(
            prompt=change.prompt,
            answer=answer,
            old_answer=change.fact.answer,
            subject=change.fact.subject,
            relation=change.fact.relation,
        )
        told.append(fact)
        # Each phrasing is a question of its own; by subject and relation they would be one fact.
        asked += [
            replace(fact, prompt=prompt, subject=None, relation=None)
            for prompt in (change.prompt, *change.held_out)
        ]
    with tempfile.TemporaryDirectory(prefix="bench-after-effects-") as folder:
        store = Store.init(Path(folder), base="demo")
        gate = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
        forget = recipe.model_copy(update={"forget": update != "learn only"})
        result = run_update(store, [fact_file(told, "told.jsonl")], recipe=forget, gate=gate)
        assert result.status == "applied", result.reasons
        interventions = [Intervention(name) for name in EFFECTS[1:]]
        effects = measure_after_effects(
            store, "HEAD", interventions, [fact_file(asked, "asked.jsonl")]
        ).effects
    shares = Shares()
    for effect in effects:
        for shift in effect.shifts:
            shares[ITSELF, shift.figure] = shift.before / shift.asked
            shares[effect.name, shift.figure] = shift.after / shift.asked
    return shares


def main() -> None:
    """Print a row for each update and effect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for seed in arguments.seeds:
        changes = world.changes(arguments.changes, seed)
        for update in UPDATES:
            recipe = Recipe(method=arguments.method, seed=seed)
            for (effect, figure), share in after_update(update, changes, recipe).items():
                # What is right of forgetting is that the old answer is not given.
                value = 1 - share if figure == "forgetting" else share
                found[update, effect, figure].append(value)
            print(f"seed {seed}: {update}", flush=True)
    print(f"\n| update | asked of | {' | '.join(FIGURES)} |")
    print("|---|---|" + "---|" * len(FIGURES))
    for update in UPDATES:
        for effect in EFFECTS:
            cells = [mean_and_spread(found[update, effect, figure]) for figure in FIGURES.values()]
            print(f"| {update} | {effect} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
