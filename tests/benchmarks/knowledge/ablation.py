"""Does forgetting first help? Forget × preserve × paraphrases × λ, at equal steps of learning."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

from tests.benchmarks.knowledge.bases import Base
from tests.benchmarks.knowledge.held_out import held_out_draw
from tests.benchmarks.knowledge.results import Line
from tests.benchmarks.knowledge.rows import MIXES, Bench, line_of
from tests.benchmarks.knowledge.training import Plan, train_plan

FORGETTING = ("no forgetting", "λ=0.3", "λ=0.7", "λ=1", "λ searched")
EPOCHS = 25


def run_ablation(bench: Bench, base: Base, mix: str, seed: int, changed: int) -> None:
    """Run what is missing of the ablation of a base, mix and seed."""
    forget, learn = MIXES[mix]
    for paraphrases, preserve, forgetting in product((False, True), (False, True), FORGETTING):
        fixed = forgetting.removeprefix("λ=") if "=" in forgetting else None
        plan = Plan(
            learn,
            forget if forgetting != FORGETTING[0] else None,
            Decimal(fixed) if fixed is not None else None,
            epochs=EPOCHS,
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
