"""Find and blank out texts wherever they are quoted: in messages, in JSON, as they stand."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

BLANK = "[redacted]"
_QUOTED_LENGTH = 40
"""A longer text may be quoted up to here, and cut with an ellipsis."""
_WORD = ("[A-Za-z0-9]", "[A-Za-z0-9]")
_NAME = ("[A-Za-z0-9._-]", r"[A-Za-z0-9_-]|\.[A-Za-z0-9]")
"""A full stop after a file's name may be that of the sentence."""


class Quotes:
    """The texts that have to go.

    A prompt is blanked wherever it stands; answers ("yes", "Paris") only beside a prompt, for by
    themselves they say nothing. A file's name may be that of many files: it is for what is known to
    be about this one.
    """

    def __init__(self, prompts: Iterable[str], answers: Iterable[str], names: Iterable[str] = ()):
        self._prompts = _pattern(prompts)
        self._answers = _pattern(answers, _WORD)
        self._names = _pattern(names, _NAME)

    def blank(self, text: str) -> str:
        """Return a text without the prompts and, where there was one, without the answers."""
        if self._prompts is None or not self._prompts.search(text):
            return text
        return self.blank_all(text)

    def blank_all(self, text: str) -> str:
        """Return a text without prompts, answers and names: for what is known to be about them."""
        for pattern in (self._names, self._prompts, self._answers):
            if pattern is not None:
                text = pattern.sub(BLANK, text)
        return text

    def blank_json(self, content: Any) -> Any:
        """Return JSON values without the texts; of a row about a prompt, every text goes."""
        if isinstance(content, str):
            return self.blank(content)
        if isinstance(content, list):
            return [self.blank_json(item) for item in content]
        if not isinstance(content, dict):
            return content
        prompt = content.get("prompt")
        if isinstance(prompt, str) and self.blank(prompt) != prompt:
            return {k: BLANK if isinstance(v, str) else v for k, v in content.items()}
        return {self.blank(key): self.blank_json(value) for key, value in content.items()}

    def blank_all_json(self, content: Any) -> Any:
        """Return JSON values without the texts: for what is known to be about them.

        Every row with a prompt loses all its texts, whichever prompt it is.
        """
        if isinstance(content, str):
            return self.blank_all(content)
        if isinstance(content, list):
            return [self.blank_all_json(item) for item in content]
        if not isinstance(content, dict):
            return content
        if "prompt" in content:
            return {k: BLANK if isinstance(v, str) else v for k, v in content.items()}
        return {self.blank(key): self.blank_all_json(value) for key, value in content.items()}


def _pattern(texts: Iterable[str], around: tuple[str, str] | None = None) -> re.Pattern[str] | None:
    """Return an expression for texts as they may be written, the longest first (None: no text).

    Args:
        texts: the texts.
        around: what must not stand before and after, or a text is part of a longer one (None: it
            counts all the same, and so does one that was cut).
    """
    written = {form for text in texts for form in _forms(text)}
    parts = [
        re.escape(form) if around is None else _bounded(form, around)
        for form in sorted(written, key=lambda form: (-len(form), form))
    ]
    if around is None:
        cut = {form[:_QUOTED_LENGTH] for form in written if len(form) > _QUOTED_LENGTH}
        parts += [rf"{re.escape(start)}[^\n'\"…]*…?" for start in sorted(cut)]
    return re.compile("|".join(parts)) if parts else None


def _forms(text: str) -> set[str]:
    """Return how a text may stand: as it is, composed, on one line, and escaped in JSON."""
    plain = {text.strip(), unicodedata.normalize("NFC", text).strip()}
    plain |= {" ".join(form.split()) for form in plain}
    escaped = {
        json.dumps(form, ensure_ascii=ascii)[1:-1] for form in plain for ascii in (False, True)
    }
    return {form for form in plain | escaped if form}


def _bounded(text: str, around: tuple[str, str]) -> str:
    """Return an expression for a text that is no part of a longer one."""
    before = f"(?<!{around[0]})" if re.match(around[0], text) else ""
    after = f"(?!{around[1]})" if re.search(f"{around[0]}$", text) else ""
    return f"{before}{re.escape(text)}{after}"
