"""Ask a model, and compare with what it should say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterstore.evaluation.generation import greedy_answers, score_answers
from adapterstore.evaluation.metrics import Report, Score
from adapterstore.knowledge.facts import Fact, Probe, same_answer

Pair = tuple[str, str]


def answers_before(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> dict[str, str]:
    """Return what the model says now to unrelated prompts: prompt → what it should say later.

    That is the probe's own answer where the model gives it, else all that the model says.
    """
    known = {probe.prompt: probe.answer for probe in probes}
    said = greedy_answers(model, tokenizer, list(known))
    return {
        prompt: answer if answer is not None and same_answer(text, answer) else text
        for (prompt, answer), text in zip(known.items(), said, strict=True)
    }


def evaluate(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    *,
    retention: Sequence[Probe] = (),
    before: Mapping[str, str] | None = None,
) -> Report:
    """Measure a state against facts; exact match on greedy generation decides.

    Args:
        model: the state.
        tokenizer: its tokenizer.
        facts: what it should know; ``old_answer`` is what it should not say any more.
        retention: other facts that it should still know; those without an answer are left out.
        before: unrelated prompts → what was said to them before the update.
    """
    known = {p.prompt: p.answer for p in retention if p.answer is not None}
    asked: dict[str, list[Pair]] = {
        "reliability": [(f.prompt, f.answer) for f in facts if f.answer is not None],
        "generality": [
            (prompt, f.answer) for f in facts if f.answer is not None for prompt in f.paraphrases
        ],
        "retention": list(known.items()),
        "portability": [
            (p.prompt, p.answer) for f in facts for p in f.portability if p.answer is not None
        ],
        "locality": list((before or {}).items()),
    }
    forgotten = [(f.prompt, f.old_answer) for f in facts if f.old_answer is not None]
    prompts = dict.fromkeys(prompt for pairs in (*asked.values(), forgotten) for prompt, _ in pairs)
    answers = dict(zip(prompts, greedy_answers(model, tokenizer, list(prompts)), strict=True))
    scores: dict[str, Score | None] = {
        name: Score.of(*_columns(pairs, answers)) for name, pairs in asked.items()
    }
    scores["forgetting"] = Score.of_forgetting(*_columns(forgotten, answers))
    token_accuracy = {}
    log_probabilities: list[float] = []
    for name in ("reliability", "generality", "retention", "portability"):
        taken = score_answers(model, tokenizer, asked[name]) if asked[name] else []
        if taken:
            token_accuracy[name] = sum(s.token_accuracy for s in taken) / len(taken)
        if name == "reliability":
            log_probabilities = [s.log_probability for s in taken]
    return Report(**scores, token_accuracy=token_accuracy, log_probabilities=log_probabilities)


def _columns(
    pairs: Sequence[Pair], answers: Mapping[str, str]
) -> tuple[list[str], list[str], list[str]]:
    prompts = [prompt for prompt, _ in pairs]
    return prompts, [answers[prompt] for prompt in prompts], [answer for _, answer in pairs]
