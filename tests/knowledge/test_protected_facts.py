"""A fact file may say that a fact is protected from then on."""

from __future__ import annotations

import pytest

from adapterstore.errors import FactFileError
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes

JSON = b'[{"prompt": "a", "answer": "b", "protected": true}, {"prompt": "c", "answer": "d"}]'
YAML = b"- {prompt: a, answer: b, protected: true}\n- {prompt: c, answer: d, protected: false}\n"


@pytest.mark.parametrize(("data", "name"), [(JSON, "f.json"), (YAML, "f.yaml")])
def test_what_is_protected_is_so_in_the_ledger(data: bytes, name: str) -> None:
    facts = parse_fact_file(data, name).facts
    assert [fact.protected for fact in facts] == [True, False]
    written = ledger_changes({}, facts, "u1", [None] * len(facts)).values()
    entries = [LedgerEntry.from_bytes(content) for content in written if content is not None]
    assert {entry.prompt: entry.protected for entry in entries} == {"a": True, "c": False}
    # A later fact that does not say so takes the protection from nobody.
    plain = parse_fact_file(b"- {prompt: a, answer: b}", "f.yaml").facts
    (again,) = ledger_changes({"a": entries[0]}, plain, "u2", [None] * len(plain)).values()
    assert again is not None
    assert LedgerEntry.from_bytes(again).protected


def test_anything_else_is_refused() -> None:
    with pytest.raises(FactFileError, match=r"f\.yaml:2: facts") as caught:
        parse_fact_file(b"facts:\n- {prompt: a, answer: b, protected: perhaps}\n", "f.yaml")
    assert caught.value.problem == "a text, but true or false is expected"
