"""What a seed changes in a base, and what is asked afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapterstore.demo import world
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.layouts import layout_of

Pair = tuple[str, str]
RETENTION = 300
NEIGHBOURS = 3


@dataclass(frozen=True)
class Draw:
    """Facts as training gets them: a prompt, both answers; neither paraphrases nor neighbours."""

    facts: list[Fact]
    asked: dict[str, list[Pair]]
    """Figure → prompts with the answers that are right after the update."""


def draw_demo(count: int, seed: int) -> Draw:
    """Draw changes of distinct countries of the demo world.

    Locality: for each change, facts of the same relation about other countries, those that have the
    old answer first (CounterFact's neighbours). Retention: any other facts of other countries.
    """
    changes = world.changes(count, seed)
    chooser = random.Random(seed)
    changed = {change.fact.country for change in changes}
    others = [fact for fact in world.facts() if fact.country not in changed]
    neighbours: dict[world.Fact, None] = {}
    for change in changes:
        alike = [fact for fact in others if fact.relation == change.fact.relation]
        alike = chooser.sample(alike, len(alike))
        alike.sort(key=lambda fact: fact.answer != change.fact.answer)
        neighbours.update(dict.fromkeys(alike[:NEIGHBOURS]))
    rest = [fact for fact in others if fact not in neighbours]
    own = {change.fact for change in changes}
    same = [fact for fact in world.facts() if fact.country in changed and fact not in own]

    def one_phrasing(facts: Sequence[world.Fact]) -> list[Pair]:
        return [(chooser.choice(fact.phrasings), fact.answer) for fact in facts]

    return Draw(
        [
            Fact(
                prompt=change.prompt,
                answer=change.answer,
                old_answer=change.fact.answer,
                subject=change.fact.subject,
                relation=change.fact.relation,
            )
            for change in changes
        ],
        {
            "reliability": [(change.prompt, change.answer) for change in changes],
            "generality": [(p, change.answer) for change in changes for p in change.held_out],
            "locality": one_phrasing(list(neighbours)),
            "retention": one_phrasing(chooser.sample(rest, min(len(rest), RETENTION))),
            "same-subject": one_phrasing(chooser.sample(same, min(len(same), RETENTION))),
        },
    )


def draw_demo_facts(count: int, seed: int) -> Draw:
    """Draw changes of any facts of the demo world, more than there are countries.

    Only retention is asked, on facts that are not changed.
    """
    chooser = random.Random(seed)
    drawn = chooser.sample(world.facts(), min(len(world.facts()), count + RETENTION))
    answers: dict[str, dict[str, None]] = {}
    for fact in world.facts():
        answers.setdefault(fact.relation, {})[fact.answer] = None
    facts = [
        Fact(
            prompt=chooser.choice(fact.phrasings),
            answer=chooser.choice([a for a in answers[fact.relation] if a != fact.answer]),
            old_answer=fact.answer,
            subject=fact.subject,
            relation=fact.relation,
        )
        for fact in drawn[:count]
    ]
    rest = [(chooser.choice(fact.phrasings), fact.answer) for fact in drawn[count:]]
    return Draw(facts, {"retention": rest})


def read_records(path: Path, count: int) -> list[Fact]:
    """Return the first records of a data set as facts, whose old answers a base is to know."""
    records = json.loads(path.read_text(encoding="utf-8"))[:count]
    return [layout_of(record).model_validate(record).to_fact(None) for record in records]


def known_pairs(facts: Sequence[Fact]) -> list[Pair]:
    """Return what a stand-in is trained on: prompts, paraphrases, neighbours, with old answers."""
    pairs: dict[Pair, None] = {}
    for fact in facts:
        about = [(prompt, fact.old_answer) for prompt in (fact.prompt, *fact.paraphrases)]
        about += [(probe.prompt, probe.answer) for probe in fact.locality]
        pairs.update(dict.fromkeys((p.strip(), a.strip()) for p, a in about if a is not None))
    return list(pairs)


def draw_records(facts: Sequence[Fact], count: int, seed: int) -> Draw:
    """Draw records to change; the neighbours asked are their own, retention is of the others."""
    chooser = random.Random(seed)
    changed: dict[str, Fact] = {}
    for fact in chooser.sample(list(facts), len(facts)):
        if len(changed) < count and fact.old_answer != fact.answer:
            changed.setdefault(fact.subject or fact.prompt, fact)
    about = {prompt for fact in changed.values() for prompt in (fact.prompt, *fact.paraphrases)}

    def unrelated(prompt: str) -> bool:
        named = any(subject in prompt for subject in changed)
        return prompt not in about and not named

    rest = [(fact.prompt.strip(), fact.old_answer or "") for fact in facts]
    rest = [pair for pair in dict.fromkeys(rest) if unrelated(pair[0])]
    neighbours = [
        (probe.prompt.strip(), probe.answer or "")
        for fact in changed.values()
        for probe in fact.locality
        if unrelated(probe.prompt)
    ]
    bare = [
        replace(fact, prompt=fact.prompt.strip(), paraphrases=(), locality=(), portability=())
        for fact in changed.values()
    ]
    return Draw(
        bare,
        {
            "reliability": [(fact.prompt, fact.answer or "") for fact in bare],
            "generality": [
                (prompt.strip(), fact.answer or "")
                for fact in changed.values()
                for prompt in fact.paraphrases
            ],
            "locality": list(dict.fromkeys(neighbours)),
            "retention": chooser.sample(rest, min(len(rest), RETENTION)),
        },
    )


Drawer = Callable[[int, int], Draw]
"""(how many changes, seed) → what is changed and asked."""
