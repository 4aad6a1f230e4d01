"""What a state shows: share of prompts that get the right answer, by figure."""

from __future__ import annotations

from typing import Any

from adapterstore.evaluation.generation import greedy_answers
from adapterstore.knowledge.facts import same_answer
from tests.benchmarks.knowledge.draws import Pair

FOUR = ("reliability", "generality", "locality", "retention")
UNSTATED = "unstated neighbours"
"""Locality over prompts that no text of the preserve set states."""
COLUMNS = (*FOUR, UNSTATED, "same-subject", "harmonic mean")


def measure(model: Any, tokenizer: Any, asked: dict[str, list[Pair]]) -> dict[str, float]:
    """Return each figure and, of the four that all bases have, the harmonic mean."""
    figures = {name: share(model, tokenizer, pairs) for name, pairs in asked.items() if pairs}
    if all(name in figures for name in FOUR):
        figures["harmonic mean"] = harmonic_mean([figures[name] for name in FOUR])
    return figures


def share(model: Any, tokenizer: Any, pairs: list[Pair]) -> float:
    """Return the share of prompts whose greedy continuation gives the answer."""
    given = greedy_answers(model, tokenizer, [prompt for prompt, _ in pairs])
    right = [same_answer(text, answer) for text, (_, answer) in zip(given, pairs, strict=True)]
    return sum(right) / len(right)


def harmonic_mean(values: list[float]) -> float:
    """Return n ÷ Σ 1/v; 0 where a value is 0."""
    return len(values) / sum(1 / value for value in values) if all(values) else 0.0
