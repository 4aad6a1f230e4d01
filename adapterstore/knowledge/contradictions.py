"""Contradictions: two answers for one fact, in one file or between files of one drop."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.errors import Contradiction
from adapterstore.knowledge.facts import Fact, FactFile, canonical_text

_SHOWN_LENGTH = 100


def check_contradictions(files: Sequence[FactFile]) -> None:
    """Check that no two facts of one key differ in their answer; the same answer twice is fine.

    To forget a fact only (answer null) and to know it contradict each other too.

    Raises:
        Contradiction: the first two that differ, with the file and line of both.
    """
    seen: dict[str, tuple[Fact, str]] = {}
    for file in files:
        for fact in file.facts:
            place = file.name if fact.line is None else f"{file.name}:{fact.line}"
            first, first_place = seen.setdefault(fact.key, (fact, place))
            if _comparable(first) != _comparable(fact):
                raise Contradiction(
                    _shown(fact.key.replace("\t", ", ")),
                    first_place,
                    _shown(first.answer),
                    place,
                    _shown(fact.answer),
                )


def _comparable(fact: Fact) -> str | None:
    return None if fact.answer is None else canonical_text(fact.answer)


def _shown(text: str | None) -> str:
    if text is None:
        return "null"
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
