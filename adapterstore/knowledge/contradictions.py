"""Contradictions: two answers for one fact, in files or between a file and a protected fact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from adapterstore.errors import Contradiction
from adapterstore.knowledge.facts import Fact, FactFile, canonical_text
from adapterstore.knowledge.ledger import LedgerEntry, filed_key, show_key
from adapterstore.knowledge.suite import SuitePrompt, suite_digest

_SHOWN_LENGTH = 100


def check_contradictions(files: Sequence[FactFile]) -> None:
    """Check that no two facts of one key, or of one prompt, differ in their answer.

    The same answer twice is fine. To forget a fact only (answer null) and to know it contradict
    each other too. A prompt has one answer whatever its facts are filed under: one of them may name
    subject and relation, and the other not; to one of them it may be a paraphrase. A locality
    prompt that states an answer must not get another one by a fact of the same drop.

    Raises:
        Contradiction: the first two that differ, with the file and line of both.
    """
    by_key: dict[str, tuple[Fact, str]] = {}
    by_prompt: dict[str, tuple[Fact, str]] = {}
    for file in files:
        for fact in file.facts:
            place = place_of(file, fact)
            _check_first(by_key, fact.key, fact, place)
            _check_first(by_prompt, canonical_text(fact.prompt), fact, place)
            for paraphrase in map(canonical_text, fact.paraphrases):
                _check_first(by_prompt, paraphrase, fact, f"{place} (paraphrase)")
    for file in files:
        for fact in file.facts:
            for probe in fact.locality:
                changed = by_prompt.get(canonical_text(probe.prompt))
                if changed is None or probe.answer is None:
                    continue
                if differ(probe.answer, changed[0].answer):
                    raise Contradiction(
                        shown(probe.prompt),
                        f"{place_of(file, fact)} (locality)",
                        shown(probe.answer),
                        changed[1],
                        shown(changed[0].answer),
                        "a prompt can't both stay and change; remove one of them",
                    )


def check_against_suite(
    files: Sequence[FactFile], find: Callable[[list[str]], Mapping[str, SuitePrompt]]
) -> None:
    """Check that no file says another answer than the regression suite to a prompt of it.

    Args:
        files: the facts; their prompts, paraphrases and locality prompts are looked up.
        find: gives those of some prompts that the suite has, by digest.

    Raises:
        Contradiction: the first that does, with its file and line.
    """
    said = [row for file in files for row in _said(file)]
    known = find(list(dict.fromkeys(prompt for prompt, _, _ in said)))
    for prompt, answer, place in said if known else ():
        entry = known.get(suite_digest(prompt))
        if entry is not None and entry.answer is not None and differ(answer, entry.answer):
            raise Contradiction(
                shown(prompt),
                place,
                shown(answer),
                "the regression suite",
                shown(entry.answer),
                "take it out of the file, or 'adapterstore suite remove' the prompt first",
            )


def _said(file: FactFile) -> Iterator[tuple[str, str | None, str]]:
    """Yield prompt, answer and place of all that a file states."""
    for fact in file.facts:
        place = place_of(file, fact)
        for prompt in (fact.prompt, *fact.paraphrases):
            yield prompt, fact.answer, place
        for probe in fact.locality:
            if probe.answer is not None:
                yield probe.prompt, probe.answer, f"{place} (locality)"


def check_against_ledger(
    files: Sequence[FactFile],
    known: Mapping[str, Sequence[LedgerEntry]],
    contrary: Mapping[str, Sequence[LedgerEntry]] | None = None,
) -> None:
    """Check facts against the entries that stand for them in a ledger.

    No fact may give a protected entry another answer, or take it away. Nor may a paraphrase of it
    ask for another answer than the entry of another fact whose own prompt it is, unless the files
    say that fact anew: a prompt can't have both. Two facts whose prompts the ledger knows as one
    fact's must have one answer.

    Args:
        files: the facts, by themselves without contradictions.
        known: for a fact's key, the entries that stand for the same fact.
        contrary: for a fact's key, entries of other facts that its paraphrases ask for.

    Raises:
        Contradiction: the first that does, with its file and line, and the other place.
    """
    seen: dict[str, tuple[Fact, str]] = {}
    anew = {entry.key for entries in known.values() for entry in entries}
    for file in files:
        for fact in file.facts:
            entries = known.get(fact.key, ())
            for entry in entries:
                if entry.protected and differ(fact.answer, entry.answer):
                    raise contradiction_with_entry(file, fact, entry)
            for entry in (contrary or {}).get(fact.key, ()):
                if (entry.protected or entry.key not in anew) and differ(fact.answer, entry.answer):
                    raise contradiction_with_entry(file, fact, entry, " (paraphrase)")
            _check_first(seen, filed_key(fact, entries), fact, place_of(file, fact))


def _check_first(seen: dict[str, tuple[Fact, str]], name: str, fact: Fact, place: str) -> None:
    first, first_place = seen.setdefault(name, (fact, place))
    if differ(first.answer, fact.answer):
        raise Contradiction(
            shown(show_key(name)), first_place, shown(first.answer), place, shown(fact.answer)
        )


def contradiction_with_entry(
    file: FactFile, fact: Fact, entry: LedgerEntry, part: str = ""
) -> Contradiction:
    """Return the error that names a fact of a file, or a part of it, and the ledger's entry."""
    return Contradiction(
        shown(show_key(entry.key)),
        f"{place_of(file, fact)}{part}",
        shown(fact.answer),
        entry.place,
        shown(entry.answer),
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


def shown(text: str | None) -> str:
    """Return an answer, or a key, as messages have it: at most 100 characters."""
    if text is None:
        return "null"
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
