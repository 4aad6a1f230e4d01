"""What the ledger says that concerns a set of facts; cost follows the facts, not the ledger."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapterstore.history.ledger.forgotten import ForgottenFact, find_forgotten
from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.ledger.reading import draw_entries, read_entries, read_entries_by_digest
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, Probe, canonical_text, digest_key, other_prompts
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Known:
    """The entries that stand for the facts of an update."""

    current: Mapping[str, LedgerEntry]
    """By the facts' own keys."""
    elsewhere: Mapping[str, tuple[LedgerEntry, ...]]
    """For a fact's key: entries under other keys that are the same fact."""
    contrary: Mapping[str, tuple[LedgerEntry, ...]] = field(default_factory=dict)
    """For a fact's key: entries of other facts whose own prompt is one of its paraphrases."""
    asked: frozenset[str] = frozenset()
    """The facts' own prompts, as canonical text."""

    def of(self, key: str) -> tuple[LedgerEntry, ...]:
        """Return every entry that stands for the fact of a key."""
        own = (self.current[key],) if key in self.current else ()
        return (*own, *self.elsewhere.get(key, ()))

    @property
    def standing(self) -> dict[str, LedgerEntry]:
        """For a fact's key, the entry that says what is known now."""
        return {key: self.of(key)[0] for key in (*self.current, *self.elsewhere)}

    @property
    def every(self) -> dict[str, tuple[LedgerEntry, ...]]:
        """For a fact's key, every entry that stands for it."""
        return {key: self.of(key) for key in (*self.current, *self.elsewhere)}


@dataclass(frozen=True)
class Retained:
    """Facts that an update leaves alone, drawn from the ledger."""

    entries: Sequence[LedgerEntry]
    """Those that have an answer."""
    total: int
    """How many facts the ledger has that the update leaves alone."""
    forgotten: Sequence[ForgottenFact] = ()
    """Those that are to be known no longer."""
    asked: frozenset[str] = frozenset()
    """The own prompts of the facts that the update changes, as canonical text."""
    by_seed: bool = False
    """Whether the seed decided which: some had to be left out."""

    @property
    def drawn(self) -> int:
        """How many were drawn."""
        return len(self.entries) + len(self.forgotten)

    def phrasings(self, limit: int, seed: int) -> list[Probe]:
        """Return the facts' other prompts, as many as with their own come to ``limit`` at most.

        What is one's phrasing and another's own prompt is asked as the other's.
        """
        own = self.asked | {canonical_text(entry.prompt) for entry in self.entries}
        others = [
            Probe(prompt=prompt, answer=entry.answer)
            for entry in self.entries
            if entry.answer is not None
            for prompt in other_prompts(entry.prompt, entry.paraphrases)
            if canonical_text(prompt) not in own
        ]
        room = max(0, limit - self.drawn)
        return others if len(others) <= room else random.Random(seed).sample(others, room)


def find_known(repository: Repository, commit: CommitId, facts: Sequence[Fact]) -> Known:
    """Return what a commit's ledger says of these facts, by their keys and by their prompts.

    An entry is the same fact if it has the same prompt; or if it is the only one that knows the
    fact's prompt at all. Files often share other phrasings, so that two entries know one says
    nothing about either. An entry by its prompt alone is the same fact, too, as one of which it is
    a paraphrase; one with a subject and relation of its own is not.
    """
    current = read_entries(repository, commit, dict.fromkeys(fact.key for fact in facts))
    prompts = dict.fromkeys(prompt for f in facts for prompt in (f.prompt, *f.paraphrases))

    def asked(index: LedgerIndex) -> dict[str, list[LedgerEntry]]:
        return index.entries_asked_by(commit, prompts)

    by_prompt = use_index(repository, commit, asked)
    own = {prompt: [e for e in found if _is_own(prompt, e)] for prompt, found in by_prompt.items()}
    elsewhere: dict[str, dict[str, LedgerEntry]] = {}
    contrary: dict[str, dict[str, LedgerEntry]] = {}
    for fact in facts:
        knowing = by_prompt[fact.prompt]
        same = knowing if len(knowing) == 1 else own[fact.prompt]
        for entry in [entry for prompt in fact.paraphrases for entry in own[prompt]]:
            if not entry.is_named:
                same = [*same, entry]
            elif entry.key != fact.key:
                contrary.setdefault(fact.key, {})[entry.key] = entry
        others = {entry.key: entry for entry in same if entry.key != fact.key}
        if others:
            elsewhere[fact.key] = elsewhere.get(fact.key, {}) | others
    return Known(
        current,
        {key: tuple(found.values()) for key, found in elsewhere.items()},
        {key: tuple(found.values()) for key, found in contrary.items()},
        frozenset(canonical_text(fact.prompt) for fact in facts),
    )


def _is_own(prompt: str, entry: LedgerEntry) -> bool:
    return canonical_text(entry.prompt) == canonical_text(prompt)


def draw_retained(
    repository: Repository, commit: CommitId, known: Known, limit: int, seed: str
) -> Retained:
    """Draw up to ``limit`` facts of a ledger that are not among the known ones.

    Protected facts come first, but half of the limit is left for the others, as far as there are so
    many: a protected column of a large table would else keep everything else from being asked. Of
    what was forgotten, as far as it is known what, a quarter of the limit is drawn at most, or more
    where the rest leaves room. The seed draws among the others and, if not all have room, among the
    protected and the forgotten.
    """
    changed = {digest_key(entry.key) for found in known.every.values() for entry in found}

    def read(index: LedgerIndex) -> tuple[int, list[LedgerEntry], list[str]]:
        return index.count(commit), index.protected(commit), index.forgotten(commit)

    count, protected, forgotten_keys = use_index(repository, commit, read)
    empty = [key for key in forgotten_keys if key not in changed]
    with_answer = count - len(changed.union(empty))
    room = min(limit, max(limit // 4, limit - with_answer))
    # Of nothing but the commit's own ledger, or a replay would draw others.
    random.Random(seed).shuffle(empty)
    drawn_keys = sorted(empty[:room])
    gone = list(read_entries_by_digest(repository, commit, drawn_keys).values())
    forgotten = find_forgotten(repository, commit, gone)
    limit -= len(forgotten)
    first = [e for e in protected if e.answer is not None and digest_key(e.key) not in changed]
    without = changed | {digest_key(entry.key) for entry in first}
    others_room = max(limit - len(first), limit // 2)
    others = draw_entries(repository, commit, others_room, seed, without)
    room = limit - len(others)
    if len(first) > room:
        first = random.Random(seed).sample(first, room)
    # In the ledger's own order: below the limit, the draw is the ledger, whatever the seed.
    entries = sorted([*first, *others], key=lambda entry: digest_key(entry.key))
    return Retained(
        entries,
        count - len(changed),
        forgotten,
        known.asked,
        by_seed=0 < len(gone) < len(empty) or 0 < len(entries) < with_answer,
    )
