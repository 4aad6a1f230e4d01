"""The regression suite: prompts that must stay, one small JSON file each, named by the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from adapterstore.errors import CorruptStore
from adapterstore.knowledge.facts import FactFile, canonical_text, digest_key


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
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True)
        return f"{text}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "suite prompt") -> SuitePrompt:
        """Return the prompt that `to_bytes` wrote; ``where`` names it in errors.

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
            if not isinstance(content[name], str) and (
                content[name] is not None or name == names[0]
            ):
                raise CorruptStore(where, f"{name} is not what it should be")
        return cls(**content)


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
