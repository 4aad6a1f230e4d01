"""Contradictions: two answers for one fact, in files or between a file and a protected fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapterstore.errors import Contradiction
from adapterstore.knowledge.facts import Fact, FactFile, canonical_text
from adapterstore.knowledge.ledger import LedgerEntry, filed_key, show_key

_SHOWN_LENGTH = 100


def check_contradictions(files: Sequence[FactFile]) -> None:
    """Check that no two facts of one key, or of one prompt, differ in their answer.

    The same answer twice is fine. To forget a fact only (answer null) and to know it contradict
    each other too. A prompt has one answer whatever its facts are filed under: one of them may name
    subject and relation, and the other not.

    Raises:
        Contradiction: the first two that differ, with the file and line of both.
    """
    by_key: dict[str, tuple[Fact, str]] = {}
    by_prompt: dict[str, tuple[Fact, str]] = {}
    for file in files:
        for fact in file.facts:
            place = place_of(file, fact)
            prompt = canonical_text(fact.prompt)
            _check_first(by_key, fact.key, fact, place)
            _check_first(by_prompt, prompt, fact, place)


def check_against_ledger(
    files: Sequence[FactFile], known: Mapping[str, Sequence[LedgerEntry]]
) -> None:
    """Check facts against the entries that stand for them in a ledger.

    No fact may give a protected entry another answer, or take it away. Two facts whose prompts the
    ledger knows as one fact's must have one answer.

    Args:
        files: the facts, by themselves without contradictions.
        known: for a fact's key, the entries that stand for the same fact.

    Raises:
        Contradiction: the first that does, with its file and line, and the other place.
    """
    seen: dict[str, tuple[Fact, str]] = {}
    for file in files:
        for fact in file.facts:
            entries = known.get(fact.key, ())
            for entry in entries:
                if entry.protected and differ(fact.answer, entry.answer):
                    raise contradiction_with_entry(file, fact, entry)
            _check_first(seen, filed_key(fact, entries), fact, place_of(file, fact))


def _check_first(seen: dict[str, tuple[Fact, str]], name: str, fact: Fact, place: str) -> None:
    first, first_place = seen.setdefault(name, (fact, place))
    if differ(first.answer, fact.answer):
        raise Contradiction(
            _shown(show_key(name)), first_place, _shown(first.answer), place, _shown(fact.answer)
        )


def contradiction_with_entry(file: FactFile, fact: Fact, entry: LedgerEntry) -> Contradiction:
    """Return the error that names a fact of a file and the ledger's entry."""
    return Contradiction(
        _shown(show_key(entry.key)),
        place_of(file, fact),
        _shown(fact.answer),
        entry.place,
        _shown(entry.answer),
        "take it out of the file, or 'adapterstore facts unprotect' the fact first"
        if entry.protected
        else "put the one right that is wrong",
    )


def differ(first: str | None, second: str | None) -> bool:
    """Return whether two answers are different ones; None (forgotten) differs from any text."""
    return _comparable(first) != _comparable(second)


def place_of(file: FactFile, fact: Fact) -> str:
    """Return where a fact stands: ``file:line``."""
    return file.name if fact.line is None else f"{file.name}:{fact.line}"


def _comparable(answer: str | None) -> str | None:
    return None if answer is None else canonical_text(answer)


def _shown(text: str | None) -> str:
    if text is None:
        return "null"
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
