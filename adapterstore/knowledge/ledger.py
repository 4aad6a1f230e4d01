"""The ledger: what a state is meant to know, one small JSON file a fact, named by its key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from adapterstore.errors import CorruptStore
from adapterstore.knowledge.facts import Fact, canonical_text, digest_key, ledger_key


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
    source: str | None

    @property
    def key(self) -> str:
        """What the entry is filed under; a fact of the same key supersedes it."""
        return ledger_key(self.prompt, self.subject, self.relation)

    def to_bytes(self) -> bytes:
        """Return canonical JSON: sorted keys, one a line, UTF-8 unescaped, a newline at the end."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True)
        return f"{text}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "ledger entry") -> LedgerEntry:
        """Return the entry that `to_bytes` wrote; ``where`` names it in errors.

        Raises:
            CorruptStore: anything else.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptStore(where, f"not JSON ({error})") from error
        names = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or sorted(content) != sorted(names):
            raise CorruptStore(where, f"does not have exactly the fields {', '.join(names)}")
        for name in names:
            if not _fits(name, content[name]):
                raise CorruptStore(where, f"{name} is not what it should be")
        return cls(**{**content, "paraphrases": tuple(content["paraphrases"])})


def ledger_path(key_digest: str) -> str:
    """Return where the entry of a key stands in a commit's tree, sharded by two digits."""
    return f"facts/{key_digest[:2]}/{key_digest}.json"


def ledger_changes(
    current: Mapping[str, LedgerEntry], facts: Sequence[Fact], update: str, source: str | None
) -> dict[str, bytes]:
    """Return path → new content for each fact that an update taught or took away.

    The prompts by which an entry was known stay with it as paraphrases: the answer is the key's,
    however it is asked for.

    Args:
        current: the ledger before the update, by key.
        facts: the update's facts, without contradictions.
        update: the update's id.
        source: where its facts come from.
    """
    entries: dict[str, LedgerEntry] = {}
    for fact in facts:
        before = entries.get(fact.key, current.get(fact.key))
        known = () if before is None else (before.prompt, *before.paraphrases)
        prompts = dict.fromkeys((*fact.paraphrases, *known))
        entries[fact.key] = LedgerEntry(
            prompt=fact.prompt,
            answer=fact.answer,
            subject=fact.subject,
            relation=fact.relation,
            paraphrases=tuple(prompt for prompt in prompts if prompt != fact.prompt),
            update=update,
            source=source,
        )
    return {ledger_path(digest_key(key)): entry.to_bytes() for key, entry in entries.items()}


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
    if name == "paraphrases":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if value is None:
        return name not in ("prompt", "update")
    return isinstance(value, str)
