"""Find where in a fact file a fact stands."""

from __future__ import annotations

from collections.abc import Iterable

from adapterstore.errors import FactFileError
from adapterstore.knowledge.facts import ledger_key
from adapterstore.knowledge.formats import SUFFIXES, parse_content, parse_fact_file
from adapterstore.knowledge.located import line_of

MOST_BYTES = 4 * 1024**2
"""A larger file is not searched: finding one line in it would take seconds."""


def find_fact_line(data: bytes, name: str, keys: Iterable[str]) -> int | None:
    """Return the line of the last fact in a file that has one of these ledger keys.

    None: it is not there, the file is no fact file, or it is larger than `MOST_BYTES`.
    """
    wanted = set(keys)
    if not name.lower().endswith(SUFFIXES) or len(data) > MOST_BYTES:
        return None
    try:
        content = parse_content(data, name)
        records = content.get("facts") if isinstance(content, dict) else content
        if not isinstance(records, list):
            return None
        if not all(isinstance(record, dict) and "prompt" in record for record in records):
            # CounterFact and zsRE put prompt and subject together in ways of their own.
            lines = [f.line for f in parse_fact_file(data, name).facts if f.key in wanted]
            return lines[-1] if lines else None
    except FactFileError:
        return None
    at = () if records is content else ("facts",)
    found = [n for n, record in enumerate(records) if _key(record) in wanted]
    return line_of(content, (*at, found[-1])) if found else None


def _key(record: dict[str, object]) -> str | None:
    prompt, subject, relation = (record.get(name) for name in ("prompt", "subject", "relation"))
    if not isinstance(prompt, str):
        return None
    return ledger_key(
        prompt,
        subject if isinstance(subject, str) else None,
        relation if isinstance(relation, str) else None,
    )
