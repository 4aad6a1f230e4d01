"""The regression suite: prompts that must stay, one small JSON file each, named by the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapterstore.knowledge.facts import FactFile, canonical_text, digest_key
from adapterstore.knowledge.json_entry import entry_to_bytes, read_entry


@dataclass(frozen=True, kw_only=True)
class SuitePrompt:
    """One prompt that every update must leave alone."""

    prompt: str
    answer: str | None
    """What has to be said; None: whatever the state says before an update."""
    source: str | None
    """Where the prompt comes from, in the file's own words."""

    @property
    def digest(self) -> str:
        """The first 40 hex digits of the SHA-256 of the canonical prompt."""
        return suite_digest(self.prompt)

    def to_bytes(self) -> bytes:
        """Return canonical JSON: sorted keys, one a line, UTF-8 unescaped, a newline at the end."""
        return entry_to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "suite prompt") -> SuitePrompt:
        """Return the prompt that `to_bytes` wrote; ``where`` names it in errors.

        Raises:
            CorruptStore: anything else.
        """
        return cls(**read_entry(cls, data, where, _fits))


def suite_digest(prompt: str) -> str:
    """Return what a prompt is filed under: 40 hex digits of its canonical text's SHA-256."""
    return digest_key(canonical_text(prompt))


def suite_path(digest: str) -> str:
    """Return where a prompt stands in a commit's tree, sharded by two digits."""
    return f"suite/{digest[:2]}/{digest}.json"


def suite_prompts(files: Sequence[FactFile]) -> list[SuitePrompt]:
    """Return the prompts of fact files with their answers: each fact's own, and its paraphrases.

    Locality prompts are meant to stay, too, and come along. A stated answer comes before none, and
    the first before others.
    """
    found: dict[str, SuitePrompt] = {}
    for file in files:
        for fact in file.facts:
            rows = [(prompt, fact.answer) for prompt in (fact.prompt, *fact.paraphrases)]
            rows += [(probe.prompt, probe.answer) for probe in fact.locality]
            for prompt, answer in rows:
                entry = SuitePrompt(prompt=prompt, answer=answer, source=file.source)
                known = found.get(entry.digest)
                if known is None or known.answer is None:
                    found[entry.digest] = entry
    return list(found.values())


def _fits(name: str, value: object) -> bool:
    return isinstance(value, str) or (value is None and name != "prompt")
