"""``make bench-demo-update``: 20 changes to the demo model's facts, one phrasing each.

    python -m tests.benchmarks.demo_update [--method lora|full] [--seeds 0 1 2] [--changes 20]

The facts and the answers that they change to are drawn with the seed, over distinct countries. The
file has one phrasing of each; generality is measured on the others. Retention is measured on facts
of other countries, "same subject" on the other facts of the same countries, both without the facts
that any text of the preserve set states. The limit of the time is in seconds of wall clock, on as
many cores as torch was given; the processor's seconds stand beside them.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass

import torch

from adapterstore.demo import MODEL_PATH, world
from adapterstore.evaluation.generation import greedy_answers
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.learning.loading import load_base
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Recipe

OTHER_FACTS = 300
LIMITS = {"reliability": 0.99, "generality": 0.95, "retention": 0.97, "same subject": 0.97}
MOST_SECONDS = 20.0


@dataclass(frozen=True)
class Change:
    """One fact of the world, and the answer that it changes to."""

    fact: world.Fact
    phrasing: int
    new_answer: str


def country_of(fact: world.Fact) -> str:
    """Return the country that a fact is about, however its subject names it."""
    for country in world.countries():
        if fact.subject in (country.name, country.name_ja, country.tld):
            return country.name
    raise KeyError(fact.subject)


def draw_changes(count: int, seed: int) -> list[Change]:
    """Draw changes over distinct countries."""
    chooser = random.Random(seed)
    facts = list(world.facts())
    chooser.shuffle(facts)
    answers: dict[str, set[str]] = {}
    for fact in facts:
        answers.setdefault(fact.relation, set()).add(fact.answer)
    changes: dict[str, Change] = {}
    for fact in facts:
        if len(changes) == count:
            break
        others = sorted(answers[fact.relation] - {fact.answer})
        phrasing = chooser.randrange(len(fact.phrasings))
        changes.setdefault(country_of(fact), Change(fact, phrasing, chooser.choice(others)))
    return list(changes.values())


def as_fact(change: Change) -> Fact:
    """Return a change as a fact file has it: one phrasing, nothing else."""
    return Fact(
        prompt=change.fact.phrasings[change.phrasing],
        answer=change.new_answer,
        old_answer=change.fact.answer,
        subject=change.fact.subject,
        relation=change.fact.relation,
    )


def share(model: object, tokenizer: object, pairs: list[tuple[str, str]]) -> tuple[float, int]:
    """Return the share of prompts that get the answer, and how many there are."""
    given = greedy_answers(model, tokenizer, [prompt for prompt, _ in pairs])
    right = [same_answer(g, answer) for g, (_, answer) in zip(given, pairs, strict=True)]
    return sum(right) / max(1, len(right)), len(right)


def measure(recipe: Recipe, count: int) -> dict[str, tuple[float, int]]:
    """Run one update in memory and measure it; figure → (value, how many were asked)."""
    changes = draw_changes(count, recipe.seed)
    started, cpu = time.perf_counter(), time.process_time()
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    outcome = forget_then_learn(model, tokenizer, [as_fact(c) for c in changes], recipe=recipe)
    answers = share(
        model, tokenizer, [(c.fact.phrasings[c.phrasing], c.new_answer) for c in changes]
    )
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    stated = "\n".join(outcome.preserved)
    countries = {country_of(c.fact) for c in changes}
    changed = {(c.fact.subject, c.fact.relation) for c in changes}
    rest = [
        f
        for f in world.facts()
        if (f.subject, f.relation) not in changed and not any(p in stated for p in f.phrasings)
    ]
    same = [f for f in rest if country_of(f) in countries]
    other = [f for f in rest if country_of(f) not in countries]
    other = random.Random(recipe.seed).sample(other, min(OTHER_FACTS, len(other)))
    chooser = random.Random(recipe.seed)

    def one_phrasing(facts: list[world.Fact]) -> list[tuple[str, str]]:
        return [(chooser.choice(f.phrasings), f.answer) for f in facts]

    paraphrases = [
        (prompt, c.new_answer)
        for c in changes
        for number, prompt in enumerate(c.fact.phrasings)
        if number != c.phrasing
    ]
    return {
        "reliability": answers,
        "generality": share(model, tokenizer, paraphrases),
        "retention": share(model, tokenizer, one_phrasing(other)),
        "same subject": share(model, tokenizer, one_phrasing(same)),
        "wall s": (seconds, 0),
        "CPU s": (cpu, 0),
        "λ": (float(outcome.coefficient or 0), 0),
        "steps": (float(outcome.steps.get("learn", 0)), 0),
    }


def main() -> None:
    """Print one row a method and seed, and each figure's distance to its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=["lora", "full"], action="append")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    overrides = dict(item.split("=", 1) for item in arguments.set)
    print(f"torch threads: {torch.get_num_threads()}; limits: {LIMITS}, {MOST_SECONDS:.0f} s\n")
    header = None
    missed = []
    for method in arguments.method or ["lora", "full"]:
        for seed in arguments.seeds:
            recipe = Recipe.parse({"method": method, "seed": seed, **overrides}, "--set")
            figures = measure(recipe, arguments.changes)
            if header is None:
                header = f"{'method':<7}{'seed':>5}" + "".join(f"{n:>15}" for n in figures)
                print(header)
            cells = [f"{v:.3f} of {n}" if n else f"{v:.2f}" for v, n in figures.values()]
            print(f"{method:<7}{seed:>5}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
            missed += [
                f"{method} seed {seed}: {name} {figures[name][0]:.3f} < {least}"
                for name, least in LIMITS.items()
                if figures[name][0] < least
            ]
            if figures["wall s"][0] > MOST_SECONDS:
                missed.append(f"{method} seed {seed}: {figures['wall s'][0]:.1f} s")
    if missed:
        raise SystemExit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
