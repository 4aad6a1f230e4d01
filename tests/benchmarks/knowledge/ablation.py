"""Does forgetting first help? Forget × λ × what holds the rest, at equal steps of learning.

Forgetting costs as many steps again; a row without it is given as many in all.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import product

from tests.benchmarks.knowledge.bases import Base
from tests.benchmarks.knowledge.held_out import held_out_draw
from tests.benchmarks.knowledge.results import Line
from tests.benchmarks.knowledge.rows import MIXES, Bench, line_of
from tests.benchmarks.knowledge.training import Plan, train_plan

NONE = "no forgetting"
LONGER = "no forgetting, as many steps in all"
FORGETTING = (NONE, LONGER, "λ=0.3", "λ=0.7", "λ=1", "λ searched")
HELD = ((False, False), (True, False), (True, True))
"""(preserve, paraphrases): neither, the product's preserve set, and with its paraphrases."""
EPOCHS = 25


def run_ablation(bench: Bench, base: Base, mix: str, seed: int, changed: int) -> None:
    """Run what is missing of the ablation of a base, mix and seed."""
    forget, learn = MIXES[mix]
    for (preserve, paraphrases), forgetting in product(HELD, FORGETTING):
        fixed = forgetting.removeprefix("λ=") if "=" in forgetting else None
        plan = Plan(
            learn,
            forget if forgetting not in (NONE, LONGER) else None,
            Decimal(fixed) if fixed is not None else None,
            epochs=2 * EPOCHS if forgetting == LONGER else EPOCHS,
            preserve=preserve,
            paraphrases=paraphrases,
        )
        row = ", ".join(
            [
                forgetting,
                "preserve" if preserve else "no preserve",
                "paraphrases" if paraphrases else "no paraphrases",
            ]
        )

        def run(plan: Plan = plan) -> Line:
            draw = held_out_draw(base, changed, seed, bench.work)
            trained = train_plan(base.folder, draw.facts, seed, plan, watch=True)
            return line_of(trained, draw.asked, plan=plan.to_dict())

        key = {
            "part": "ablation",
            "base": base.name,
            "mix": mix,
            "row": row,
            "seed": seed,
            "changed": changed,
        }
        bench.results.once(key, run)
