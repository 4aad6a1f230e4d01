"""The ledger: what a state is meant to know, one small JSON file a fact, named by its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapterstore.knowledge.facts import Fact, canonical_text, digest_key, ledger_key
from adapterstore.knowledge.json_entry import entry_to_bytes, read_entry


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One fact that a state is meant to know, and the update that said so."""

    prompt: str
    answer: str | None
    """None: the fact is forgotten, and nothing stands in its place."""
    subject: str | None
    relation: str | None
    paraphrases: tuple[str, ...]
    update: str
    """The update that said so; empty: none did, the fact was protected as it is."""
    source: str | None
    protected: bool = False
    """Whether an update may not change the answer."""

    @property
    def key(self) -> str:
        """What the entry is filed under; a fact of the same key supersedes it."""
        return ledger_key(self.prompt, self.subject, self.relation)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that the fact is known by, its own first."""
        return (self.prompt, *self.paraphrases)

    @property
    def place(self) -> str:
        """Where the entry stands, as a contradiction names it."""
        said = [f"since update/{self.update}"] if self.update else []
        marks = ["protected", *said] if self.protected else said
        return f"the ledger ({', '.join(marks)})" if marks else "the ledger"

    @property
    def is_named(self) -> bool:
        """Whether the entry is filed by subject and relation, and not by its prompt."""
        return self.subject is not None and self.relation is not None

    def holds(self, text: str) -> bool:
        """Return whether any of the entry's texts holds ``text``, whatever the case."""
        wanted = canonical_text(text).casefold()
        fields = (*self.prompts, self.answer, self.subject, self.relation, self.source)
        return any(wanted in canonical_text(field or "").casefold() for field in fields)

    def to_bytes(self) -> bytes:
        """Return canonical JSON: sorted keys, one a line, UTF-8 unescaped, a newline at the end."""
        return entry_to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "ledger entry") -> LedgerEntry:
        """Return the entry that `to_bytes` wrote; ``where`` names it in errors.

        Raises:
            CorruptStore: anything else.
        """
        content = read_entry(cls, data, where, _fits)
        return cls(**{**content, "paraphrases": tuple(content["paraphrases"])})


def ledger_path(key_digest: str) -> str:
    """Return where the entry of a key stands in a commit's tree, sharded by two digits."""
    return f"facts/{key_digest[:2]}/{key_digest}.json"


def key_candidates(text: str) -> Iterator[str]:
    """Yield the ledger keys that a text may name: a prompt, or "subject, relation".

    A subject may hold a comma itself, so every comma is tried as the one between the two.
    """
    whole = canonical_text(text)
    yield whole
    for position, character in enumerate(whole):
        if character in ",、，":
            subject, relation = whole[:position].strip(), whole[position + 1 :].strip()
            if subject and relation:
                yield ledger_key("", subject, relation)


def show_key(key: str) -> str:
    """Return a ledger key as people write it: the prompt, or "subject, relation"."""
    return key.replace("\t", ", ")


def ledger_changes(
    current: Mapping[str, LedgerEntry],
    facts: Sequence[Fact],
    update: str,
    sources: Sequence[str | None],
    elsewhere: Mapping[str, Sequence[LedgerEntry]] | None = None,
) -> dict[str, bytes | None]:
    """Return path → new content for each fact that an update taught or took away.

    The prompts by which an entry was known stay with it as paraphrases: the answer is the key's,
    however it is asked for. An entry of the same fact under another key goes (None), and its
    prompts, and its subject and relation where the fact has none, stay.

    Args:
        current: the entries that the facts' own keys had before the update, by key.
        facts: the update's facts, without contradictions.
        update: the update's id.
        sources: where each of the facts comes from.
        elsewhere: for a fact's key, the entries under other keys that are the same fact.
    """
    others = {fact.key: tuple((elsewhere or {}).get(fact.key, ())) for fact in facts}
    names = [_names(fact, others[fact.key]) for fact in facts]
    keys = [filed_key(fact, others[fact.key]) for fact in facts]
    filed = list(zip(facts, keys, strict=True))
    asked = {canonical_text(p): key for f, key in filed for p in f.paraphrases}
    asked |= {canonical_text(f.prompt): key for f, key in filed}
    said_by: dict[str, list[str | None]] = {}
    for key, source in zip(keys, sources, strict=True):
        said_by.setdefault(key, []).append(source)
    entries: dict[str, LedgerEntry] = {}
    gone: set[str] = set()
    for fact, (subject, relation), key in zip(facts, names, keys, strict=True):
        own = [e for e in (entries.get(key), current.get(fact.key)) if e is not None]
        before = [*own, *others[fact.key]]
        # Each entry's prompts go to one fact, or a prompt would ask for two.
        heirlooms = [e for e in before if e.key == key or e.key not in {*keys, *gone}]
        handed = dict.fromkeys(prompt for entry in heirlooms for prompt in entry.prompts)
        prompts = dict.fromkeys(
            (*fact.paraphrases, *(p for p in handed if asked.get(canonical_text(p), key) == key))
        )
        entries[key] = LedgerEntry(
            prompt=fact.prompt,
            answer=fact.answer,
            subject=subject,
            relation=relation,
            paraphrases=tuple(prompt for prompt in prompts if prompt != fact.prompt),
            update=update,
            source=joined(said_by[key]),
            protected=fact.protected or any(entry.protected for entry in before),
        )
        gone.update(entry.key for entry in before)
    written = {ledger_path(digest_key(key)): entry.to_bytes() for key, entry in entries.items()}
    return {**{ledger_path(digest_key(key)): None for key in gone - set(entries)}, **written}


def joined(sources: Iterable[str | None]) -> str | None:
    """Return several sources as one text, each once (None: there is none)."""
    return "; ".join(dict.fromkeys(source for source in sources if source)) or None


def filed_key(fact: Fact, others: Sequence[LedgerEntry]) -> str:
    """Return the key that a fact is filed under: an entry of its prompt may know its subject."""
    return ledger_key(fact.prompt, *_names(fact, others))


def old_answer(current: Mapping[str, LedgerEntry], fact: Fact) -> str | None:
    """Return what to forget: the fact's own old answer, else the ledger's if it is another one.

    None: neither says; the model's own answer is what there is to forget.
    """
    if fact.old_answer is not None:
        return fact.old_answer
    entry = current.get(fact.key)
    if entry is None or entry.answer is None:
        return None
    if fact.answer is not None and canonical_text(entry.answer) == canonical_text(fact.answer):
        return None
    return entry.answer


def _fits(name: str, value: object) -> bool:
    if name == "protected":
        return isinstance(value, bool)
    if name == "paraphrases":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if value is None:
        return name not in ("prompt", "update")
    return isinstance(value, str)


def _names(fact: Fact, others: Sequence[LedgerEntry]) -> tuple[str | None, str | None]:
    """Return subject and relation of a fact: its own, else those of an entry of its prompt."""
    if not fact.is_named:
        for entry in others:
            if entry.is_named:
                return entry.subject, entry.relation
    return fact.subject, fact.relation
