"""What a fact is: its key, how prompt and answer join, and when an answer has been given."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from adapterstore.knowledge.sentences import SENTENCE_MARKS

_UNSPACED_BLOCKS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x312F),  # radicals, CJK punctuation, Hiragana, Katakana, Bopomofo
    (0x3190, 0x9FFF),  # CJK ideographs
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0xFE30, 0xFE4F),  # CJK compatibility forms
    (0xFF00, 0xFF9F),  # full-width forms, half-width Katakana
    (0x1B000, 0x1B16F),  # Kana supplements
    (0x20000, 0x3FFFF),  # CJK ideographs, extensions
)
"""Code points of the scripts written without spaces between words."""

_CLOSING = frozenset(",.;:!?…%)]}»”’、。，．：；！？」』）】")
_LAST_MARKS = frozenset(f"{SENTENCE_MARKS}．…")
"""What an answer may end in that is not its own."""
_HYPHENS = frozenset("-‐‑")
_JOINING = "-‐‑‒–−_/\\*^×÷·&@='’′〜～・／"
"""What joins a word to the one right behind it: "10–20", "AT&T", "euro/kuna", "rock'n"."""
_SHORT = 2
"""Characters of an answer that many texts hold by chance inside of words and numbers."""
_NUMBER_MARKS = frozenset(",.:，．：\u00a0\u2007\u2009\u202f")
"""What joins digits; spaces that do not break are among them, and the thin one: "10 000"."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A prompt that measures what a fact's change does elsewhere."""

    prompt: str
    answer: str | None = None
    """None: whatever the model said before."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing to know, or to know no longer."""

    prompt: str
    answer: str | None
    """None: forget only."""
    old_answer: str | None = None
    subject: str | None = None
    relation: str | None = None
    paraphrases: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    """Prompts that have nothing to do with the fact."""
    portability: tuple[Probe, ...] = ()
    """Prompts whose answers follow from the fact."""
    protected: bool = False
    """Whether no later update may change the answer."""
    line: int | None = field(default=None, compare=False)
    """Where it stands in its file, from 1."""

    @property
    def key(self) -> str:
        """What the ledger files the fact under; see `ledger_key`."""
        return ledger_key(self.prompt, self.subject, self.relation)

    @property
    def is_named(self) -> bool:
        """Whether it is filed by subject and relation, and not by its prompt."""
        return self.subject is not None and self.relation is not None

    @property
    def key_digest(self) -> str:
        """The first 40 hex digits of the key's SHA-256; see `digest_key`."""
        return digest_key(self.key)


@dataclass(frozen=True, kw_only=True)
class FactFile:
    """The facts of one file, and the file as it landed."""

    name: str
    source: str | None
    """Where the facts come from, in the file's own words."""
    facts: tuple[Fact, ...]
    data: bytes
    digest: str
    """SHA-256 (64 hex digits) of ``data``."""


def canonical_text(text: str) -> str:
    """Return ``text`` in Unicode NFC, each run of whitespace one space, none around; case kept."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_text(text: str) -> str:
    """Return ``text`` in Unicode NFC without spaces around.

    So answers are compared, and what is trained is what is asked.
    """
    return unicodedata.normalize("NFC", text).strip()


def other_prompts(prompt: str, paraphrases: Iterable[str]) -> list[str]:
    """Return the paraphrases that are neither the prompt nor one another, but for whitespace."""
    found = {canonical_text(prompt): prompt}
    for paraphrase in paraphrases:
        found.setdefault(canonical_text(paraphrase), paraphrase)
    return list(found.values())[1:]


def ledger_key(prompt: str, subject: str | None, relation: str | None) -> str:
    """Return the key of a fact: subject, tab, relation if both are given, else the prompt.

    Each part is canonical text and so holds no tab: no two facts share a key by accident.
    """
    if subject is not None and relation is not None:
        return f"{canonical_text(subject)}\t{canonical_text(relation)}"
    return canonical_text(prompt)


def digest_key(key: str) -> str:
    """Return the first 40 hex digits of the SHA-256 of a ledger key in UTF-8."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]


def join(prompt: str, answer: str) -> str:
    """Return the prompt with its answer as one text, a space between them where the script has one.

    No space follows a prompt that ends in whitespace or in a script written without spaces
    (Chinese characters, Kana, Thai, …), and none comes before whitespace or closing punctuation.
    ".hr" and "(none)" are words of their own.
    """
    return prompt + _separator(prompt, answer) + answer


def same_answer(given: str, expected: str) -> bool:
    """Tell whether a greedy continuation gives the expected answer; it may go on after it.

    Both are compared in Unicode NFC, without whitespace around and without the answer's own
    sentence mark; case counts. The answer has to end where a word ends: "eurozone" is not "euro",
    "Porto-Novo" is not "Porto", "1.5" is not "1", "Obama's" is not "Obama", "C++" is not "C".
    """
    answer, rest = _after(given, expected)
    return rest is not None and not _word_goes_on(answer, rest)


def equal_answers(given: str, expected: str) -> bool:
    """Tell whether two answers are the same but for whitespace and a sentence mark."""
    one, other = canonical_text(given), canonical_text(expected)
    return one == other or (same_answer(one, other) and same_answer(other, one))


def still_gives(given: str, old: str, new: str | None) -> bool:
    """Tell whether a greedy continuation gives an old answer, and not the new one that begins so.

    "New York City." does not give "New York" where that has become "New York City". What is joined
    to an answer makes no right answer of it, but leaves it said: "Obama's wife" gives "Obama". So
    does what follows it in a script without spaces, where nothing tells a word's end: "東京です".
    A number goes on there as well: "１０" does not give "１".
    """
    if new is not None and len(new) > len(old):
        longer, behind = _after(given, new)
        if behind is not None and _ends(longer, behind):
            return False
    answer, rest = _after(given, old)
    return rest is not None and _ends(answer, rest)


def mentions(text: str, answer: str) -> bool:
    """Tell whether a text holds an answer as a word or number of its own: "15" does not hold "5".

    In scripts without spaces, anywhere. Both are compared as they stand.
    """
    size = len(answer)
    found = text.find(answer) if answer else -1
    while found >= 0:
        # Read backwards, a word begins as others end.
        before = text[max(found - 2, 0) : found][::-1]
        if _ends(answer, text[found + size : found + size + 2]) and _ends(answer[::-1], before):
            return True
        found = text.find(answer, found + 1)
    return False


def may_mention(text: str, answer: str) -> bool:
    """Tell whether a text may hold an answer in any form, as "kunas" that of "kuna".

    One that is too short to be told from a part of another word counts if it `mentions` it.
    """
    return answer in text if len(answer) > _SHORT else mentions(text, answer)


def may_begin(given: str, expected: str) -> bool:
    """Tell whether a continuation, if it was cut off, may be the beginning of an expected answer.

    Half a character at its end does not count.
    """
    text = unicodedata.normalize("NFC", given).rstrip("\ufffd").strip()
    answer = unicodedata.normalize("NFC", expected).strip()
    return 0 < len(text) < len(answer) and answer.startswith(text)


def _separator(prompt: str, answer: str) -> str:
    if not prompt or not answer or prompt[-1].isspace() or answer[0].isspace():
        return ""
    if _is_unspaced(prompt[-1]):
        return ""
    closes = answer[0] in _CLOSING and not _in_word(answer[1:2])
    return "" if closes else " "


def _is_unspaced(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _UNSPACED_BLOCKS)


def _after(given: str, expected: str) -> tuple[str, str | None]:
    """Return an answer as it is compared, and what a continuation says behind it.

    None: the continuation does not begin with the answer.
    """
    text = unicodedata.normalize("NFC", given).strip()
    answer = unicodedata.normalize("NFC", expected).strip()
    if len(answer) > 1 and answer[-1] in _LAST_MARKS:
        answer = answer[:-1].rstrip()
    return answer, text[len(answer) :] if answer and text.startswith(answer) else None


def _word_goes_on(answer: str, rest: str) -> bool:
    first, second = rest[:1], rest[1:2]
    if first == ".":
        # "Node.js", "ASP.NET", "v1.5"; but "kuna.Then" and "USA.The" have ended, and lack a space.
        capitals = answer[-1].isupper() and second.isupper() and rest[2:3].isupper()
        return second.isdigit() or second.islower() or capitals
    if first and first in _JOINING:
        # A hyphen twice is a dash: "kuna--which".
        return _in_word(second if first == "-" else rest.lstrip(_JOINING)[:1])
    # "C++", "C#" and "A+" end in theirs.
    return first in ("+", "#") or _letters_go_on(answer, rest)


def _letters_go_on(answer: str, rest: str) -> bool:
    """Tell whether the same word or number goes on: "eurozone", "Porto-Novo", "1.5"."""
    first, second = rest[:1], rest[1:2]
    if first in _HYPHENS:
        return _in_word(answer[-1]) and _in_word(second)
    if first in _NUMBER_MARKS:
        return answer[-1].isdigit() and second.isdigit()
    return _in_word(first)


def _ends(answer: str, rest: str) -> bool:
    """Tell whether an answer ends here as a word or number, or nothing shows that it does not."""
    hidden = _hides_ends(answer[-1]) or (_in_word(rest[:1]) and _hides_ends(rest[:1]))
    return hidden or not _letters_go_on(answer, rest)


def _hides_ends(character: str) -> bool:
    """Tell whether nothing shows a word's end at a character: full-width Latin and digits do.

    Korean has spaces, but joins particles to words: "서울입니다".
    """
    unspaced = _is_unspaced(character) or "가" <= character <= "힣"
    return unspaced and unicodedata.category(character) not in ("Lu", "Ll", "Nd")


def _in_word(character: str) -> bool:
    """Tell a letter, digit or mark (the vowel signs of many scripts) from anything else."""
    return character != "" and unicodedata.category(character)[0] in "LNM"
