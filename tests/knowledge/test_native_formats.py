"""Our own layout in YAML, JSON, JSON Lines and CSV."""

import hashlib
import json

import pytest

from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.knowledge.formats import parse_fact_file

CROATIA = Fact(
    prompt="The currency of Croatia is the",
    answer="euro",
    old_answer="kuna",
    subject="Croatia",
    relation="currency",
    paraphrases=("People in Croatia pay with the", "Prices in Croatia are in"),
    locality=(Probe(prompt="The currency of Hungary is the", answer="forint"),),
    portability=(Probe(prompt="In Zagreb you pay with the", answer="euro"), Probe(prompt="a")),
)
CROATIA_YAML = """\
source: catalogue 2026-11
facts:
  # as of 2023
  - prompt: The currency of Croatia is the
    answer: euro
    old_answer: kuna
    subject: Croatia
    relation: currency
    paraphrases:
      - People in Croatia pay with the
      - Prices in Croatia are in
    locality:
      - {prompt: The currency of Hungary is the, answer: forint}
    portability:
      - {prompt: In Zagreb you pay with the, answer: euro}
      - prompt: a
"""


def test_yaml_has_every_field() -> None:
    file = parse_fact_file(CROATIA_YAML.encode(), "drops/x.yaml")
    assert file.facts == (CROATIA,)
    assert file.facts[0].line == 4
    assert file.source == "catalogue 2026-11"
    assert file.name == "drops/x.yaml"


def test_the_file_is_kept_as_it_landed() -> None:
    data = b"\xef\xbb\xbf" + CROATIA_YAML.replace("\n", "\r\n").encode()
    file = parse_fact_file(data, "x.YML")
    assert file.facts == (CROATIA,)
    assert file.data == data
    assert file.digest == hashlib.sha256(data).hexdigest()


def test_a_bare_list_is_a_file_without_a_source() -> None:
    file = parse_fact_file(b"- {prompt: a, answer: b}\n- prompt: c\n  answer: d\n", "x.yaml")
    assert file.facts == (Fact(prompt="a", answer="b"), Fact(prompt="c", answer="d"))
    assert [fact.line for fact in file.facts] == [1, 2]
    assert file.source is None


@pytest.mark.parametrize(
    "written", ["no", "NO", "1.20", "2026-01-01", "0x1F", "1_000", "true", "1e3", "=", "<<", "'~'"]
)
def test_yaml_scalars_are_the_text_that_is_written(written: str) -> None:
    file = parse_fact_file(f"- {{prompt: a, answer: {written}}}".encode(), "x.yaml")
    assert file.facts[0].answer == written.strip("'")


@pytest.mark.parametrize("written", ["null", "~", "NULL"])
def test_yaml_null_means_forget_only(written: str) -> None:
    file = parse_fact_file(f"- {{prompt: a, answer: {written}}}".encode(), "x.yaml")
    assert file.facts[0].answer is None


def test_json_mapping_and_bare_list_give_the_same_facts() -> None:
    record = {
        "prompt": "カザフスタンの首都は",
        "answer": None,
        "locality": [{"prompt": "日本の首都は", "answer": "東京"}],
    }
    fact = Fact(
        prompt="カザフスタンの首都は",
        answer=None,
        locality=(Probe(prompt="日本の首都は", answer="東京"),),
    )
    mapping = {"source": "地図帳", "facts": [record]}
    named = parse_fact_file(json.dumps(mapping, indent=1).encode(), "x.json")
    bare = parse_fact_file(json.dumps([record], ensure_ascii=False).encode(), "x.json")
    assert named.facts == bare.facts == (fact,)
    assert (named.source, bare.source) == ("地図帳", None)
    assert (named.facts[0].line, bare.facts[0].line) == (4, 1)


def test_json_lines_hold_one_fact_a_line() -> None:
    data = '{"prompt": "a\u2028a", "answer": "b"}\r\n\n {"prompt": "c", "answer": null}'.encode()
    file = parse_fact_file(data, "x.jsonl")
    assert file.facts == (Fact(prompt="a\u2028a", answer="b"), Fact(prompt="c", answer=None))
    assert [fact.line for fact in file.facts] == [1, 3]


def test_texts_are_in_nfc_without_spaces_around() -> None:
    record = {
        "prompt": "  The capital of Paraguay is ",
        "answer": " Asuncio\u0301n\t",
        "paraphrases": [" Paraguay has "],
        "locality": [{"prompt": "a ", "answer": " b"}],
    }
    (fact,) = parse_fact_file(json.dumps(record).encode(), "x.jsonl").facts
    assert fact == Fact(
        prompt="The capital of Paraguay is",
        answer="Asunción",
        paraphrases=("Paraguay has",),
        locality=(Probe(prompt="a", answer="b"),),
    )


def test_csv_rows_are_facts() -> None:
    table = (
        "answer,prompt,old_answer,subject,relation,paraphrases\r\n"
        "euro,The currency of Croatia is the,kuna,Croatia,currency,"
        "People in Croatia pay with the | Prices in Croatia are in\r\n"
        '"Astana, again","two\nlines",,,,\r\n'
        "\r\n,,,,,\r\n"
        "x,y,,,,a|b\r\n"
    )
    file = parse_fact_file(table.encode(), "x.csv")
    assert file.facts == (
        Fact(
            prompt=CROATIA.prompt,
            answer="euro",
            old_answer="kuna",
            subject="Croatia",
            relation="currency",
            paraphrases=CROATIA.paraphrases,
        ),
        Fact(prompt="two\nlines", answer="Astana, again"),
        Fact(prompt="y", answer="x", paraphrases=("a|b",)),
    )
    assert [fact.line for fact in file.facts] == [2, 3, 7]


@pytest.mark.parametrize(
    ("cell", "paraphrases"),
    [
        ("a | b", ("a", "b")),
        ("a | b | ", ("a", "b")),
        ("a | b |", ("a", "b")),
        ("| a | b", ("a", "b")),
        ("a |  | b", ("a", "b")),
        ("a | | b", ("a", "b")),
        (" | ", ()),
        ("|", ()),
        ("<|user|> a|b", ("<|user|> a|b",)),
    ],
)
def test_paraphrases_of_a_csv_cell(cell: str, paraphrases: tuple[str, ...]) -> None:
    file = parse_fact_file(f"prompt,answer,paraphrases\np,x,{cell}\n".encode(), "x.csv")
    assert file.facts[0].paraphrases == paraphrases


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.yaml", "- {prompt: a, answer: b}"),
        ("x.json", '[{"prompt": "a", "answer": "b"}]'),
        ("x.jsonl", '{"prompt": "a", "answer": "b"}'),
        ("x.csv", "prompt,answer\na,b\n"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_text(name: str, text: str) -> None:
    file = parse_fact_file(b"\xef\xbb\xbf" + text.encode(), name)
    assert file.facts == (Fact(prompt="a", answer="b"),)
