"""Where a sentence ends, in text of any language that a model may write."""

from __future__ import annotations

import re

POINT = "."
WIDE_MARKS = "。！？｡"
"""No space follows these."""
SENTENCE_MARKS = f"{POINT}!?؟۔।።။։{WIDE_MARKS}"
"""Those of Arabic, Urdu, Hindi and its neighbours, Ethiopic, Burmese and Armenian among them."""

_TITLES = "dr mr mrs ms prof rev hon gen sen rep gov capt col lt sgt maj cmdr adm jr sr"
_PLACES = "st ste mt ft"
_BUSINESS = "inc ltd co corp bros dept est"
_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
_OTHERS = "approx ca vs etc nos vol fig ed eds e.g i.e a.k.a"
_ABBREVIATIONS = frozenset(" ".join((_TITLES, _PLACES, _BUSINESS, _MONTHS, _OTHERS)).split())
_LAST_WORD = re.compile(r"\S+$")


def first_sentence(text: str) -> str:
    """Return a text's first line up to the end of its first sentence, without the mark."""
    line = text.strip().partition("\n")[0]
    end = next((i for i in range(1, len(line)) if _ends(line, i)), len(line))
    return line[:end].strip()


def _ends(text: str, position: int) -> bool:
    mark, following = text[position], text[position + 1 : position + 2]
    if mark in WIDE_MARKS:
        return True
    # The point of ".hr" or "1.5" ends nothing.
    if mark not in SENTENCE_MARKS or (following and not following.isspace()):
        return False
    return mark != POINT or not _abbreviates(text[:position], text[position + 1 :].lstrip())


def _abbreviates(before: str, after: str) -> bool:
    """Tell whether the point after ``before`` belongs to a word: "St.", "J.", "D.C."."""
    if not after:
        return False
    found = _LAST_WORD.search(before)
    word = found.group().lstrip("(\"'“‘") if found else ""
    initial = len(word) == 1 and word.isalpha() and word.isupper()
    return initial or word.lower() in _ABBREVIATIONS or after[0].islower()
