"""What the ledger says that concerns a set of facts; cost follows the facts, not the ledger."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.ledger.reading import draw_entries, read_entries
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, Probe, digest_key, other_prompts
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Known:
    """The entries that stand for the facts of an update."""

    current: Mapping[str, LedgerEntry]
    """By the facts' own keys."""
    elsewhere: Mapping[str, tuple[LedgerEntry, ...]]
    """For a fact's key: entries under other keys that its prompt asks for."""

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
    total: int
    """How many facts the ledger has that the update leaves alone."""

    def phrasings(self, limit: int, seed: int) -> list[Probe]:
        """Return the facts' other prompts, as many as with their own come to ``limit`` at most."""
        others = [
            Probe(prompt=prompt, answer=entry.answer)
            for entry in self.entries
            if entry.answer is not None
            for prompt in other_prompts(entry.prompt, entry.paraphrases)
        ]
        room = max(0, limit - len(self.entries))
        return others if len(others) <= room else random.Random(seed).sample(others, room)


def find_known(repository: Repository, commit: CommitId, facts: Sequence[Fact]) -> Known:
    """Return what a commit's ledger says of these facts, by their keys and by their prompts."""
    current = read_entries(repository, commit, dict.fromkeys(fact.key for fact in facts))

    def asked(index: LedgerIndex) -> dict[str, list[LedgerEntry]]:
        return index.entries_asked_by(commit, dict.fromkeys(fact.prompt for fact in facts))

    by_prompt = use_index(repository, commit, asked)
    elsewhere: dict[str, dict[str, LedgerEntry]] = {}
    for fact in facts:
        for entry in by_prompt[fact.prompt]:
            if entry.key != fact.key:
                elsewhere.setdefault(fact.key, {})[entry.key] = entry
    return Known(current, {key: tuple(found.values()) for key, found in elsewhere.items()})


def draw_retained(
    repository: Repository, commit: CommitId, known: Known, limit: int, seed: str
) -> Retained:
    """Draw up to ``limit`` facts of a ledger that are not among the known ones.

    Protected facts come first, but half of the limit is left for the others, as far as there are so
    many: a protected column of a large table would else keep everything else from being asked. The
    seed draws among the others and, if not all have room, among the protected.
    """
    changed = {digest_key(entry.key) for found in known.every.values() for entry in found}

    def read(index: LedgerIndex) -> tuple[int, list[LedgerEntry]]:
        return index.count(commit), index.protected(commit)

    count, protected = use_index(repository, commit, read)
    first = [e for e in protected if e.answer is not None and digest_key(e.key) not in changed]
    without = changed | {digest_key(entry.key) for entry in first}
    others_room = max(limit - len(first), limit // 2)
    others = draw_entries(repository, commit, others_room, seed, without)
    room = limit - len(others)
    if len(first) > room:
        first = random.Random(seed).sample(first, room)
    # In the ledger's own order: below the limit, the draw is the ledger, whatever the seed.
    entries = sorted([*first, *others], key=lambda entry: digest_key(entry.key))
    return Retained(entries, count - len(changed))
