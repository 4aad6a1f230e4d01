"""Which prompts are asked: what the base knows; for retention, what no text of ours states.

A preserve set that states the very prompt on which retention is measured would measure memory of
the training data. Locality is over all neighbours that the base knows, for no method is told which
they are; those that no preserved text states have a figure of their own. All rows of a base and
seed are asked the same prompts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from adapterstore.evaluation.generation import score_answers
from adapterstore.learning.loading import load_base
from adapterstore.learning.prepared import prepare
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import read_text
from tests.benchmarks.knowledge.bases import Base
from tests.benchmarks.knowledge.draws import Draw
from tests.benchmarks.knowledge.figures import UNSTATED

KEPT = ("locality", "retention", "same-subject")
"""Figures of what an update must leave alone."""
UNTOLD = (UNSTATED, "retention", "same-subject")
"""Those of them that are asked only what no text of the preserve set states."""


def held_out_draw(base: Base, changed: int, seed: int, work: Path) -> Draw:
    """Return a base's draw of a seed with the prompts that count; they are kept in ``work``."""
    draw = base.draw(changed, seed)
    path = work / f"questions-{base.name}-{changed}-{seed}.json"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(_filter(base, draw, seed), ensure_ascii=False))
        unfinished.rename(path)
    asked = json.loads(path.read_text())
    return replace(draw, asked={name: [tuple(p) for p in pairs] for name, pairs in asked.items()})


def _filter(base: Base, draw: Draw, seed: int) -> dict[str, list[tuple[str, str]]]:
    model, tokenizer = load_base(base.folder, "cpu")
    recipe = Recipe(seed=seed).for_model(model)
    material = prepare(model, tokenizer, draw.facts, [], recipe).material
    stated = "\n".join(read_text(tokenizer, tokens) for tokens in material.held)
    asked = dict(draw.asked)
    for name in KEPT:
        pairs = asked.get(name, [])
        known = score_answers(model, tokenizer, pairs) if pairs else []
        asked[name] = [pair for pair, score in zip(pairs, known, strict=True) if score.given]
    asked[UNSTATED] = asked["locality"]
    for name in UNTOLD:
        asked[name] = [pair for pair in asked.get(name, []) if pair[0] not in stated]
        if not asked[name]:
            del asked[name]
    return asked


def check_held_out(draw: Draw, preserved: list[str]) -> None:
    """Raise `AssertionError` if a text that training preserved states a prompt that is asked."""
    stated = "\n".join(preserved)
    found = [p for name in UNTOLD for p, _ in draw.asked.get(name, []) if p in stated]
    assert not found, f"preserved and asked: {found[:3]}"
