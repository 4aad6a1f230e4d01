"""The examples in docs/format.md are what the code writes, byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.history.snapshot import GIT_ATTRIBUTES
from adapterstore.knowledge.facts import digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.knowledge.suite import SuitePrompt, suite_path
from adapterstore.store.messages import format_message, parse_trailers, split_trailers, subject_of
from adapterstore.store.objects import Pointer
from tests.docs.generate import DOCS

TEXT = (DOCS / "format.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: example.encode()
    for name, example in re.findall(r"^```(?:json|text) (\S+)\n(.*?)^```$", TEXT, re.S | re.M)
}
(ENTRY,) = (name for name in EXAMPLES if name.startswith("facts/"))
(STAYING,) = (name for name in EXAMPLES if name.startswith("suite/"))


def plainly(data: bytes) -> bytes:
    return (json.dumps(json.loads(data), indent=1, ensure_ascii=False) + "\n").encode()


def message(data: bytes) -> bytes:
    text = data.decode()
    body = split_trailers(text)[0].partition("\n")[2]
    return format_message(subject_of(text), body, parse_trailers(text)).encode()


WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "composition.json": lambda data: Composition.from_bytes(data, "example").to_bytes(),
    "base.json": lambda data: BaseModel.from_bytes(data, "example").to_bytes(),
    ENTRY: lambda data: LedgerEntry.from_bytes(data, "example").to_bytes(),
    STAYING: lambda data: SuitePrompt.from_bytes(data, "example").to_bytes(),
    "delta.json": plainly,
    "redacted.json": plainly,
    "pointer": lambda data: Pointer.from_bytes(data, "example").to_bytes(),
    "message": message,
}


def test_every_example_is_checked() -> None:
    assert EXAMPLES.keys() == WRITERS.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_an_example_is_what_the_code_writes(name: str) -> None:
    assert WRITERS[name](EXAMPLES[name]) == EXAMPLES[name]


def test_the_place_of_the_example_follows_from_its_key() -> None:
    entry = LedgerEntry.from_bytes(EXAMPLES[ENTRY], "example")
    assert ledger_path(digest_key(entry.key)) == ENTRY
    staying = SuitePrompt.from_bytes(EXAMPLES[STAYING], "example")
    assert suite_path(staying.digest) == STAYING


def test_the_attributes_are_those_of_the_text() -> None:
    assert f"`{GIT_ATTRIBUTES.decode().strip()}` and a newline" in TEXT
