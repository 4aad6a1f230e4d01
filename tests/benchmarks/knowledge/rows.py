"""The main table: each row of each mix, at settings that a small sweep found for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from adapterstore.learning.recipe import Method
from tests.benchmarks.knowledge.bases import Base
from tests.benchmarks.knowledge.figures import measure
from tests.benchmarks.knowledge.held_out import held_out_draw
from tests.benchmarks.knowledge.results import Line, Results
from tests.benchmarks.knowledge.training import Plan, Run, train_ours, train_plan

MIXES: dict[str, tuple[Method, Method]] = {
    "lora": ("lora", "lora"),
    "full": ("full", "full"),
    "lora-full": ("lora", "full"),
}
"""Name → how the forget and the learn phase are trained."""
PUBLISHED = ("0.3", "0.7", "1.0")
RATES = (0.1, 1 / 3, 1.0)
EPOCHS = (25, 50)
SWEEP_SEED = 100
"""Draws other changes than those that the table measures."""


@dataclass(frozen=True)
class Bench:
    """Where results and trained bases are."""

    results: Results
    work: Path


def line_of(run: Run, asked: dict[str, Any], **more: Any) -> Line:
    """Measure a run; return what its line says."""
    return {
        "figures": {n: round(v, 4) for n, v in measure(run.model, run.tokenizer, asked).items()},
        "asked": {name: len(pairs) for name, pairs in asked.items()},
        "seconds": round(run.seconds, 1),
        "processor seconds": round(run.processor_seconds, 1),
        "steps": run.steps,
        "coefficient": run.coefficient,
        "curve": run.curve,
        "course": run.course,
        **more,
    }


def run_rows(
    bench: Bench, base: Base, mix: str, rows: list[str], seed: int, changed: int, sweep: bool
) -> None:
    """Run what is missing of the rows of a base, mix and seed."""
    forget, learn = MIXES[mix]
    for row in rows:
        if row == "ours":
            _once(bench, base, mix, row, seed, changed, None)
        elif row == "plain":
            # Without a forget phase, a mix is as its learn phase alone.
            if forget == learn:
                plan = best_plan(bench, base, mix, row, changed, sweep)
                _once(bench, base, mix, row, seed, changed, plan)
                # Forgetting first costs as many steps again; so many are given to plain here.
                longer = replace(plan, epochs=2 * plan.epochs)
                _once(bench, base, mix, "plain, twice the epochs", seed, changed, longer)
        else:
            plan = best_plan(bench, base, mix, row, changed, sweep)
            for coefficient in PUBLISHED:
                fixed = replace(plan, coefficient=Decimal(coefficient))
                _once(bench, base, mix, f"published λ={coefficient}", seed, changed, fixed)


def _once(
    bench: Bench, base: Base, mix: str, row: str, seed: int, changed: int, plan: Plan | None
) -> None:
    def run() -> Line:
        draw = held_out_draw(base, changed, seed, bench.work)
        if plan is None:
            trained = train_ours(base.folder, draw, seed, *MIXES[mix])
        else:
            trained = train_plan(base.folder, draw.facts, seed, plan)
        return line_of(trained, draw.asked, plan=plan.to_dict() if plan is not None else None)

    bench.results.once(_key("rows", base, mix, row, seed, changed), run)


def _key(part: str, base: Base, mix: str, row: str, seed: int, changed: int) -> Line:
    return {
        "part": part,
        "base": base.name,
        "mix": mix,
        "row": row,
        "seed": seed,
        "changed": changed,
    }


def best_plan(bench: Bench, base: Base, mix: str, row: str, changed: int, sweep: bool) -> Plan:
    """Return the plan of a row; plain's rate and epochs did best on changes of their own.

    Best is by the harmonic mean of the four figures. Published is trained as plain is, which did
    best with it on the demo model; with so many steps to forget besides.
    """
    forget, learn = MIXES[mix]
    if row == "published":
        return replace(best_plan(bench, base, learn, "plain", changed, sweep), forget=forget)
    plan = Plan(learn)
    if not sweep:
        return plan
    plans = [replace(plan, rate=r, epochs=e) for e in EPOCHS for r in RATES]

    def score(plan: Plan) -> float:
        def run() -> Line:
            draw = held_out_draw(base, changed, SWEEP_SEED, bench.work)
            trained = train_plan(base.folder, draw.facts, SWEEP_SEED, plan)
            return line_of(trained, draw.asked, plan=plan.to_dict())

        name = f"{row} rate×{plan.rate:.2g} epochs {plan.epochs}"
        line = bench.results.once(_key("sweep", base, mix, name, SWEEP_SEED, changed), run)
        found: float = line["figures"]["harmonic mean"]
        return found

    return max(plans, key=score)
