"""Forget an earlier update by taking out what it learned, and measure that this is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.coefficient import ONE, format_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.history.ledger.known import Known
from adapterstore.history.ledger.superseded import Superseded
from adapterstore.history.snapshot import Snapshot
from adapterstore.knowledge.facts import Fact, Probe, same_answer, still_gives
from adapterstore.update.step import Step

if TYPE_CHECKING:
    from adapterstore.learning.recipe import Recipe

Attached = Callable[[Composition], AbstractContextManager[Any]]
"""Gives the model in a state for as long as the block runs."""


class SubtractionFails(Exception):
    """What is left of a subtraction can't stand; the text says why. Never leaves an update."""


def subtract(start: Snapshot, superseded: Sequence[Superseded]) -> list[Step]:
    """Return one forget step for each superseded update: S′ = S − N, exactly."""
    steps: list[Step] = []
    state = start
    for one in superseded:
        state = replace(state, composition=state.composition - one.change)
        trailers = {
            "Operand": f"update/{one.update}",
            "Scale": format_coefficient(-ONE),
            "Change-From": one.before,
            "Change-To": one.after,
        }
        manner = f"by subtracting update/{one.update}"
        steps.append(Step("forget", trailers, state, manner, len(one.keys)))
    return steps


def check_subtraction(
    attached: Attached,
    tokenizer: Any,
    before: Composition,
    after: Composition,
    facts: Sequence[Fact],
    known: Known,
    superseded: Sequence[Superseded],
    others: Sequence[Probe],
    recipe: Recipe,
) -> None:
    """Raise `SubtractionFails` if what is left of a subtraction can't stand.

    The same bounds as for λ: of the old answers, at most ``forget_target`` may still be given; of
    what else was known, ``control_floor`` must be. And a fact that is only to be forgotten must not
    fall back to an answer that was to be forgotten earlier.

    Args:
        attached: puts the base into a state.
        tokenizer: its tokenizer.
        before: the state S.
        after: the state S′.
        facts: those of the update; the ones of superseded updates are asked.
        known: what the ledger says of them.
        superseded: the earlier updates.
        others: earlier facts and unrelated prompts, with their answers where they are known.
        recipe: holds the bounds.
    """
    from adapterstore.evaluation.generation import answers_to
    from adapterstore.evaluation.measure import answers_before, asked_for

    keys = {key for one in superseded for key in one.keys}
    facts = [fact for fact in facts if fact.key in keys]
    old = _old_answers(facts, known)
    with attached(before) as model:
        said = answers_before(model, tokenizer, others)
    stated = {probe.prompt: probe.answer for probe in others}
    kept = {p: text for p, text in said.items() if stated[p] is None or stated[p] == text}
    asked = asked_for([*((f.prompt, f.answer) for f in facts), *old, *kept.items()])
    with attached(after) as model:
        now = answers_to(model, tokenizer, asked)
    new = {fact.prompt: fact.answer for fact in facts}
    still = sum(still_gives(now[prompt], answer, new[prompt]) for prompt, answer in old)
    if still > recipe.forget_target * len(old):
        raise SubtractionFails(f"{still} of {len(old)} old answers were still given")
    earlier = {p: answers for one in superseded for p, answers in one.earlier.items()}
    for fact in facts:
        for answer in earlier.get(fact.prompt, ()) if fact.answer is None else ():
            if still_gives(now[fact.prompt], answer, None):
                raise SubtractionFails(
                    f"{fact.prompt!r} was answered {answer!r} again, as before it"
                )
    lost = sum(not same_answer(now[prompt], text) for prompt, text in kept.items())
    if kept and 1 - lost / len(kept) < recipe.control_floor:
        raise SubtractionFails(f"{lost} of {len(kept)} other answers changed")


def _old_answers(facts: Sequence[Fact], known: Known) -> list[tuple[str, str]]:
    """Return each prompt with an old answer of it, the facts' own and the ledger's."""
    said = [(fact.prompt, fact.old_answer) for fact in facts]
    said += [(fact.prompt, entry.answer) for fact in facts for entry in known.of(fact.key)]
    return list(dict.fromkeys((p, answer) for p, answer in said if answer is not None))
