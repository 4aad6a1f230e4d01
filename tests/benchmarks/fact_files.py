"""Fact files that benchmarks hand to an update."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.knowledge.formats import parse_fact_file

_NAMES = ("prompt", "answer", "old_answer", "subject", "relation")


def fact_file(facts: Sequence[Fact], name: str) -> FactFile:
    """Return facts as a file (JSON Lines) that a user would write: no paraphrases."""
    rows = [{n: getattr(fact, n) for n in _NAMES} for fact in facts]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return parse_fact_file(text.encode(), name)
