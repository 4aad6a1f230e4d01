"""Ask a model, and compare with what it should say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adapterstore.evaluation.generation import Asked, answers_to, score_answers
from adapterstore.evaluation.metrics import Report, Score
from adapterstore.knowledge.facts import Fact, Probe, other_prompts, same_answer, still_gives

Pair = tuple[str, str]
Ask = Callable[[Asked], Mapping[str, str]]
"""From prompts to what a state says to them."""


def asked_for(pairs: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    """Return prompts in their order, each with the answers that are expected of it."""
    asked: dict[str, list[str]] = {}
    for prompt, answer in pairs:
        asked.setdefault(prompt, []).extend([answer] if answer is not None else [])
    return asked


def answers_before(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> dict[str, str]:
    """Return what the model says now to unrelated prompts: prompt → what it should say later.

    That is the probe's own answer where the model gives it, else all that the model says.
    """
    asked = asked_for((probe.prompt, probe.answer) for probe in probes)
    return expected_answers(probes, answers_to(model, tokenizer, asked))


def expected_answers(probes: Sequence[Probe], said: Mapping[str, str]) -> dict[str, str]:
    """Return what should be said later to prompts that must stay: prompt → answer.

    That is the probe's own answer where the state gives it, else all that the state says: a stated
    answer that the model does not give is no fact about the model, and is neither taught nor asked.
    """
    return {
        probe.prompt: probe.answer
        if probe.answer is not None and same_answer(said[probe.prompt], probe.answer)
        else said[probe.prompt]
        for probe in probes
    }


def evaluate(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    *,
    retention: Sequence[Probe] = (),
    forgotten: Mapping[str, Sequence[str]] | None = None,
    before: Mapping[str, str] | None = None,
    suite: Mapping[str, str] | None = None,
    protected: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    said: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> Report:
    """Measure a state against facts; exact match on greedy generation decides.

    Args:
        model: the state.
        tokenizer: its tokenizer.
        facts: what it should know; ``old_answer`` is what it should not say any more.
        retention: other facts that it should still know; those without an answer are left out.
        forgotten: prompts of facts that earlier updates forgot → what must not be given.
        before: unrelated prompts → what was said to them before the update.
        suite: prompts of the regression suite → what has to be said to them.
        protected: prompts of protected facts → what has to be said to them.
        base: prompts that no update is about → what the base model says to them.
        said: what the state before the update said, for the failures.
        ask: how prompts are asked (None: of the model, greedily).
    """
    known = {p.prompt: p.answer for p in retention if p.answer is not None}
    asked: dict[str, list[Pair]] = {
        "reliability": [(f.prompt, f.answer) for f in facts if f.answer is not None],
        "generality": [
            (prompt, f.answer)
            for f in facts
            if f.answer is not None
            for prompt in other_prompts(f.prompt, f.paraphrases)
        ],
        "retention": list(known.items()),
        "portability": [
            (p.prompt, p.answer) for f in facts for p in f.portability if p.answer is not None
        ],
        "locality": list((before or {}).items()),
        "suite": list((suite or {}).items()),
        "protected": list((protected or {}).items()),
        "locality_base": list((base or {}).items()),
    }
    forgotten = forgotten or {}
    gone = [(prompt, old) for prompt, olds in forgotten.items() for old in olds]
    old = [(f.prompt, f.old_answer, f.answer) for f in facts if f.old_answer is not None]
    displaced = [(prompt, answer) for prompt, answer, _ in old]
    wanted = asked_for(pair for pairs in (*asked.values(), displaced, gone) for pair in pairs)
    answers = ask(wanted) if ask is not None else answers_to(model, tokenizer, wanted)
    scores: dict[str, Score | None] = {
        name: Score.of(*_columns(pairs, answers), said) for name, pairs in asked.items()
    }
    new = [answer for *_, answer in old]
    scores["forgetting"] = Score.of_forgetting(*_columns(displaced, answers), new, said)
    scores["forgetting_earlier"] = _still_gone(forgotten, answers, said)
    token_accuracy = {}
    log_probabilities: list[float] = []
    for name in ("reliability", "generality", "retention", "portability"):
        taken = score_answers(model, tokenizer, asked[name]) if asked[name] else []
        if taken:
            token_accuracy[name] = sum(s.token_accuracy for s in taken) / len(taken)
        if name == "reliability":
            log_probabilities = [s.log_probability for s in taken]
    return Report(**scores, token_accuracy=token_accuracy, log_probabilities=log_probabilities)


def _still_gone(
    forgotten: Mapping[str, Sequence[str]],
    answers: Mapping[str, str],
    said: Mapping[str, str] | None,
) -> Score | None:
    """Return the share of prompts to which none of their old answers is given."""
    asked = [
        (prompt, next((old for old in olds if still_gives(answers[prompt], old, None)), olds[0]))
        for prompt, olds in forgotten.items()
    ]
    return Score.of_forgetting(*_columns(asked, answers), [None] * len(asked), said)


def _columns(
    pairs: Sequence[Pair], answers: Mapping[str, str]
) -> tuple[list[str], list[str], list[str]]:
    prompts = [prompt for prompt, _ in pairs]
    return prompts, [answers[prompt] for prompt in prompts], [answer for _, answer in pairs]
