"""One fact said many times is one fact."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from adapterstore.knowledge.facts import Fact, canonical_text


@dataclass(frozen=True)
class Reduced:
    """Facts without repeats."""

    facts: list[Fact]
    """Each prompt of each key once, in the order in which they came."""
    total: int
    """How many facts were said."""

    @property
    def note(self) -> str | None:
        """What is to be said of it (None: nothing was repeated)."""
        repeats = self.total - len(self.facts)
        if not repeats:
            return None
        return (
            f"{self.total:,} facts were given, {len(self.facts):,} of them different: each counts "
            "once, however often it is repeated"
        )


def without_repeats(facts: Sequence[Fact]) -> Reduced:
    """Return facts, without contradictions, each once; of repeats, all prompts are kept.

    A fact is repeated by one of the same key and prompt, and so of the same answer, or by one of
    its prompt that does not say subject and relation. How often a file says a thing gives it no
    more weight in training, and no more steps.
    """
    found: dict[tuple[str, str], list[Fact]] = {}
    for fact in with_names(facts):
        found.setdefault((fact.key, canonical_text(fact.prompt)), []).append(fact)
    return Reduced([_join(repeats) for repeats in found.values()], len(facts))


def with_names(facts: Sequence[Fact]) -> list[Fact]:
    """Return facts; who lacks subject or relation has those of the first of its prompt with both.

    One prompt is one fact: else the two would be filed under two keys.
    """
    named: dict[str, Fact] = {}
    for fact in facts:
        if fact.is_named:
            named.setdefault(canonical_text(fact.prompt), fact)
    return [_take_names(fact, named.get(canonical_text(fact.prompt))) for fact in facts]


def _take_names(fact: Fact, same: Fact | None) -> Fact:
    if same is None or fact.is_named:
        return fact
    return dataclasses.replace(fact, subject=same.subject, relation=same.relation)


def _join(facts: Sequence[Fact]) -> Fact:
    first = facts[0]
    if len(facts) == 1:
        return first
    return dataclasses.replace(
        first,
        old_answer=next((f.old_answer for f in facts if f.old_answer is not None), None),
        paraphrases=tuple(dict.fromkeys(p for fact in facts for p in fact.paraphrases)),
        locality=tuple(dict.fromkeys(p for fact in facts for p in fact.locality)),
        portability=tuple(dict.fromkeys(p for fact in facts for p in fact.portability)),
    )
