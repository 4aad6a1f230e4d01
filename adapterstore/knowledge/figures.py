"""The names of an update's figures, in the order in which they are told."""

FIGURES = (
    "reliability",
    "generality",
    "locality",
    "retention",
    "suite",
    "protected",
    "forgetting",
    "forgetting_earlier",
    "portability",
    "locality_base",
)
"""Edited prompts, paraphrases, unrelated prompts, earlier facts, the regression suite, protected
facts, old answers, those of earlier updates, what follows from the facts, and what no update is
about: see `adapterstore.evaluation.metrics`."""
