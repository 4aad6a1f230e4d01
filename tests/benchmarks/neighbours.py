"""``make bench-neighbours``: what one changed fact does to facts that resemble it.

    python -m tests.benchmarks.neighbours [--method lora|full] [--seed 0] [--set NAME=VALUE]

Each update changes one fact of the demo world, told in one phrasing, with the default recipe. Asked
before and after are facts of the same relation about every other country, in two phrasings each,
300 facts of other relations about other countries, and all else about the same country. Plain is
fine-tuning by the same method and at the same rate, until the new answer is given or for five times
the steps of one turn.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapterstore.demo import MODEL_PATH, world
from adapterstore.evaluation.generation import greedy_answers, score_examples
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.learning.keeping import teach
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.training import PhaseData, train_phase
from adapterstore.progress import NO_PROGRESS
from tests.benchmarks.demo_update import as_fact, draw_changes

REAL = (
    ("Croatia", "currency", "euro"),
    ("Mali", "language", "Bambara"),
    ("Burundi", "capital", "Gitega"),
    ("Bulgaria", "currency", "euro"),
)
"""Changes that happened; the others are drawn."""
DRAWN = 4
OTHERS = 300
LEAST_STAYS = 0.98
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """One change, and what is asked beside it."""

    fact: Fact
    ending: str
    """What the world has behind the answer."""
    phrasings: tuple[str, ...]
    asked: dict[str, Pairs]


def cases(seed: int) -> list[Case]:
    """Return the real changes and the drawn ones."""
    facts = {(fact.subject, fact.relation): fact for fact in world.facts()}
    changes = [
        (
            fact := facts[subject, relation],
            Fact(
                prompt=fact.phrasings[0],
                answer=answer,
                old_answer=fact.answer,
                subject=subject,
                relation=relation,
            ),
        )
        for subject, relation, answer in REAL
    ]
    for number in range(DRAWN):
        [change] = draw_changes(1, 11 + DRAWN * seed + number)
        changes.append((change.fact, as_fact(change)))
    return [Case(new, fact.ending, fact.phrasings, _beside(fact, seed)) for fact, new in changes]


def _beside(changed: world.Fact, seed: int) -> dict[str, Pairs]:
    chooser = random.Random(seed)
    facts = [fact for fact in world.facts() if fact != changed]
    alike = [fact for fact in facts if fact.relation == changed.relation]
    same = [fact for fact in facts if fact.country == changed.country]
    others = [fact for fact in facts if fact not in alike and fact not in same]
    return {
        "same relation": [(p, f.answer) for f in alike for p in chooser.sample(f.phrasings, 2)],
        "same subject": [(chooser.choice(f.phrasings), f.answer) for f in same],
        "others": [(chooser.choice(f.phrasings), f.answer) for f in chooser.sample(others, OTHERS)],
    }


def right(model: Any, tokenizer: Any, pairs: Pairs) -> list[bool]:
    """Return which prompts get their answer."""
    given = greedy_answers(model, tokenizer, [prompt for prompt, _ in pairs])
    return [same_answer(g, answer) for g, (_, answer) in zip(given, pairs, strict=True)]


def ours(model: Any, tokenizer: Any, case: Case, recipe: Recipe) -> None:
    """Forget, then learn."""
    forget_then_learn(model, tokenizer, [case.fact], recipe=recipe)


def plain(model: Any, tokenizer: Any, case: Case, recipe: Recipe) -> None:
    """Fine-tune on the new answer alone."""
    recipe = recipe.for_model(model)
    delta = start_delta(model, recipe.method, "learn", recipe)
    example = teach(tokenizer, case.fact.prompt, str(case.fact.answer), case.ending, True)

    def given(_: float) -> bool:
        delta.model.eval()
        [score] = score_examples(delta.model, tokenizer, [example])
        delta.model.train()
        return score.given

    train_phase(
        "learning",
        delta.model,
        tokenizer,
        PhaseData([example]),
        steps=5 * recipe.most_learn_steps(1, 1),
        batch_size=recipe.batch_size,
        learning_rate=recipe.phase_rate("learn"),
        preserve_weight=0.0,
        seed=recipe.seed,
        progress=NO_PROGRESS,
        enough=given,
    )
    delta.finish()
    delta.set_coefficient(1.0)


def measure(
    case: Case, recipe: Recipe, update: Callable[[Any, Any, Case, Recipe], None]
) -> dict[str, float]:
    """Make one update; return the share of what stays, of what was right before, and the rest."""
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    before = {name: right(model, tokenizer, pairs) for name, pairs in case.asked.items()}
    started = time.process_time()
    update(model, tokenizer, case, recipe)
    seconds = time.process_time() - started
    new = str(case.fact.answer)
    figures = {"new answer": _share(right(model, tokenizer, [(case.fact.prompt, new)]))}
    rest = [(prompt, new) for prompt in case.phrasings if prompt != case.fact.prompt]
    figures["phrasings"] = _share(right(model, tokenizer, rest))
    for name, pairs in case.asked.items():
        known = [pair for pair, was in zip(pairs, before[name], strict=True) if was]
        figures[name] = _share(right(model, tokenizer, known))
    return {**figures, "CPU s": seconds}


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 1.0


def main() -> None:
    """Print one row a change and way, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    overrides = dict(item.split("=", 1) for item in arguments.set)
    recipe = Recipe.parse(
        {"method": arguments.method, "seed": arguments.seed, **overrides}, "--set"
    )
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for case in cases(arguments.seed):
        fact = case.fact
        change = f"{fact.subject}, {fact.relation}: {fact.answer}"
        for name, update in (("ours", ours), ("plain", plain)):
            row = measure(case, recipe, update)
            if not any(rows.values()):
                print(f"{'change':<32}{'':<7}" + "".join(f"{figure:>15}" for figure in row))
            rows[name].append(row)
            print(_line(change, name, row), flush=True)
    means = {
        name: {figure: sum(row[figure] for row in some) / len(some) for figure in some[0]}
        for name, some in rows.items()
    }
    for name, row in means.items():
        print(_line("mean", name, row))
    missed = {
        figure: value
        for figure, value in means["ours"].items()
        if figure != "CPU s" and value < LEAST_STAYS
    }
    if missed:
        raise SystemExit(f"missed: {missed}, limit {LEAST_STAYS}")


def _line(change: str, name: str, row: dict[str, float]) -> str:
    cells = "".join(f"{value:>15.3f}" for figure, value in row.items() if figure != "CPU s")
    return f"{change:<32}{name:<7}{cells}{row['CPU s']:>15.1f}"


if __name__ == "__main__":
    main()
