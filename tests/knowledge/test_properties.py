"""Laws of the formats: reading gives what was written, and bad bytes raise the one error."""

import csv
import dataclasses
import io
import json
import unicodedata
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.errors import FactFileError
from adapterstore.knowledge.facts import Fact, FactFile, Probe, equal_answers
from adapterstore.knowledge.formats import SUFFIXES, parse_fact_file

LAW = settings(derandomize=True, deadline=None, max_examples=150)

letters = st.characters(
    codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"
) | st.sampled_from("\t\n\r'\"#:-{}[],&*!|>%@`? ~\\")
texts = st.text(letters, min_size=1, max_size=20).filter(str.strip) | st.sampled_from(
    [
        "null",
        "~",
        "no",
        "1.20",
        "2026-01-01",
        "<<",
        "=",
        "---",
        "...",
        "- a",
        "a: b",
        "\ufeffa",
        "'",
    ]
)
probes = st.builds(Probe, prompt=texts, answer=st.none() | texts)


def is_a_fact(fact: Fact) -> bool:
    """Tell whether the answers are of one line, and differ."""
    if any("\n" in (answer or "").strip() for answer in (fact.answer, fact.old_answer)):
        return False
    if fact.answer is None or fact.old_answer is None:
        return True
    return not equal_answers(fact.answer, fact.old_answer)


def facts_of(text: st.SearchStrategy[str], **fields: Any) -> st.SearchStrategy[Fact]:
    return st.builds(
        Fact,
        prompt=text,
        old_answer=st.none() | text,
        subject=st.none() | text,
        relation=st.none() | text,
        paraphrases=st.lists(text, max_size=3).map(tuple),
        **fields,
    ).filter(is_a_fact)


fact_lists = st.lists(
    facts_of(
        texts,
        answer=st.none() | texts,
        locality=st.lists(probes, max_size=2).map(tuple),
        portability=st.lists(probes, max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


def native(fact: Fact) -> dict[str, Any]:
    """Return the fact as plain values, without the fields that say nothing."""
    record = json.loads(json.dumps(dataclasses.asdict(fact)))
    return {name: value for name, value in record.items() if value or name == "answer"}


def tidy(value: Any) -> Any:
    """Return a value as it is read: each text in NFC, without spaces around."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip()
    if isinstance(value, tuple):
        return tuple(map(tidy, value))
    if isinstance(value, Fact | Probe):
        return dataclasses.replace(
            value, **{f.name: tidy(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    return value


def parse(text: str, name: str) -> FactFile:
    return parse_fact_file(text.encode(), name)


@given(fact_lists, st.none() | texts, st.booleans())
@LAW
def test_yaml_gives_back_what_was_written(
    facts: list[Fact], source: str | None, allow_unicode: bool
) -> None:
    content = {"source": source, "facts": [native(fact) for fact in facts]}
    file = parse(yaml.safe_dump(content, allow_unicode=allow_unicode), "x.yaml")
    assert (file.source, file.facts) == (tidy(source), tidy(tuple(facts)))


@given(fact_lists, st.none() | texts, st.booleans(), st.none() | st.integers(0, 3))
@LAW
def test_json_gives_back_what_was_written(
    facts: list[Fact], source: str | None, ascii_only: bool, indent: int | None
) -> None:
    content = {"facts": [native(fact) for fact in facts], "source": source}
    file = parse(json.dumps(content, ensure_ascii=ascii_only, indent=indent), "x.json")
    assert (file.source, file.facts) == (tidy(source), tidy(tuple(facts)))


@given(fact_lists, st.booleans())
@LAW
def test_json_lines_give_back_what_was_written(facts: list[Fact], ascii_only: bool) -> None:
    lines = [json.dumps(native(fact), ensure_ascii=ascii_only) for fact in facts]
    file = parse("\n".join(lines), "x.jsonl")
    assert file.facts == tidy(tuple(facts))
    assert [fact.line for fact in file.facts] == list(range(1, len(facts) + 1))


no_bars = texts.filter(lambda text: "|" not in text)


# Nor can it say null.
words = no_bars.filter(lambda text: text.strip().lower() != "null")


@given(st.lists(facts_of(no_bars, answer=words), min_size=1, max_size=4))
@LAW
def test_csv_gives_back_what_was_written(facts: list[Fact]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(
        table, ["prompt", "answer", "old_answer", "subject", "relation", "paraphrases"]
    )
    writer.writeheader()
    for fact in facts:
        writer.writerow({**native(fact), "paraphrases": " | ".join(fact.paraphrases)})
    assert parse(table.getvalue(), "x.csv").facts == tidy(tuple(facts))


def outcome(data: bytes, name: str) -> FactFile | FactFileError:
    try:
        return parse_fact_file(data, name)
    except FactFileError as error:
        return error


def raises_only_the_documented_error(data: bytes, name: str) -> None:
    result = outcome(data, name)
    if isinstance(result, FactFile):
        assert result.facts
        assert result.data == data
    else:
        assert result.path == name
        assert len(str(result).splitlines()) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@LAW
def test_any_bytes_raise_only_the_documented_error(suffix: str, data: bytes) -> None:
    raises_only_the_documented_error(data, f"x{suffix}")


GOOD = {
    ".yaml": b"source: s\nfacts:\n- prompt: 'a'\n  answer: \"b\"\n  locality: [{prompt: c}]\n",
    ".json": b'{"source": "s", "facts": [{"prompt": "a", "answer": null, "locality": []}]}',
    ".jsonl": b'{"prompt": "a", "answer": "b"}\n{"src": "a", "alt": "\\u00e9", "pred": "c"}\n',
    ".csv": b'prompt,answer,paraphrases\n"a\nb",c,d | e\n',
}


@pytest.mark.parametrize("suffix", GOOD)
@given(data=st.data())
@LAW
def test_a_damaged_file_raises_only_the_documented_error(suffix: str, data: st.DataObject) -> None:
    damaged = bytearray(GOOD[suffix])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(1, 255))
    raises_only_the_documented_error(bytes(damaged), f"x{suffix}")


# Half characters too, which JSON can escape and UTF-8 can't hold.
any_text = st.text(st.characters(), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["prompt", "answer", "old_answer", "locality", "src", "alt", "target_new", "requested_rewrite"]
)
records = st.dictionaries(field_names | any_text, values | texts, max_size=5)


@given(st.lists(records, max_size=2) | records | values)
@LAW
def test_any_json_value_raises_only_the_documented_error(content: object) -> None:
    raises_only_the_documented_error(json.dumps(content).encode(), "x.json")
    raises_only_the_documented_error(json.dumps({"facts": content}).encode(), "x.json")
