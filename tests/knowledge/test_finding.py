"""Where in a fact file a fact stands."""

import pytest

from adapterstore.knowledge import finding
from adapterstore.knowledge.finding import find_fact_line

YAML = """\
source: 目録
facts:
  - prompt: カザフスタンの首都は
    answer: アスタナ
  - {prompt: other, answer: x}

  - {prompt: q, answer: y, subject: Türkiye, relation: capital}
  - {prompt: other, answer: x}
"""
COUNTERFACT = """\
{"requested_rewrite": {"prompt": "The mother tongue of {} is", "target_new": {"str": "English"},
 "target_true": {"str": "French"}, "subject": "Danielle Darrieux", "relation_id": "P103"}}
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [("カザフスタンの首都は", 3), ("other", 8), ("Türkiye\tcapital", 7), ("q", None), ("x", None)],
)
def test_the_last_line_that_says_it(key: str, line: int | None) -> None:
    assert find_fact_line(YAML.encode(), "事実.yaml", [key]) == line


def test_in_every_format() -> None:
    csv = "prompt,answer\np,x\nカザフスタンの首都は,アスタナ\n"
    json_lines = '{"prompt": "p", "answer": "x"}\n\n{"prompt": "q", "answer": "y"}\n'
    assert find_fact_line(csv.encode(), "a.csv", ["カザフスタンの首都は"]) == 3
    assert find_fact_line(json_lines.encode(), "a.JSONL", ["q"]) == 3
    record = COUNTERFACT.replace("\n ", " ")
    data = f"[\n{record}]\n".encode()
    assert find_fact_line(data, "a.json", ["Danielle Darrieux\tP103"]) == 2


def test_what_is_no_fact_file_or_too_large_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_fact_line(b"a: [", "broken.yaml", ["a"]) is None
    assert find_fact_line(b"text", "broken.yaml", ["text"]) is None
    assert find_fact_line(b"- {prompt: p, answer: x}", "a.txt", ["p"]) is None
    assert find_fact_line(b"- {prompt: [p], answer: x}", "a.yaml", ["p"]) is None
    monkeypatch.setattr(finding, "MOST_BYTES", 10)
    assert find_fact_line(YAML.encode(), "a.yaml", ["other"]) is None
