"""Each rule of fact files, and a file that breaks just that one."""

import json

import pytest

from adapterstore.errors import FactFileError
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.layouts import MAXIMUM_TEXT_LENGTH
from adapterstore.knowledge.reading import MAXIMUM_FACTS

YAML_START = "source: s\nfacts:\n  - prompt: a\n    answer: b\n"


def refusal(name: str, text: str | bytes) -> str:
    """Return the one line that says why a file can't be used."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(FactFileError) as caught:
        parse_fact_file(data, name)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert caught.value.exit_code == 11
    return message


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("  - prompt: c\n", "x.yaml:5: facts[1].answer: missing"),
        ("  - answer: c\n", "x.yaml:5: facts[1].prompt: missing"),
        (
            "  - prompt: c\n    anwser: d\n",
            "x.yaml:6: facts[1].anwser: unknown field; did you mean answer?",
        ),
        (
            "  - prompt: c\n    answer:\n",
            "x.yaml:6: facts[1].answer: empty (to forget only, write null in YAML or JSON)",
        ),
        ("  - prompt: ' '\n    answer: d\n", "x.yaml:5: facts[1].prompt: empty"),
        (
            "  - prompt: c\n    answer: |\n      d\n      e\n",
            "x.yaml:6: facts[1].answer: a line break; an answer is one line",
        ),
        (
            "  - prompt: c\n    answer: d\n    old_answer: d.\n",
            "x.yaml:7: facts[1].old_answer: is the answer too: nothing changes",
        ),
        (
            "  - prompt: [c]\n    answer: d\n",
            "x.yaml:5: facts[1].prompt: a list, but a text is expected",
        ),
        (
            "  - prompt: ~\n    answer: d\n",
            "x.yaml:5: facts[1].prompt: null, but a text is expected",
        ),
        (
            "  - prompt: c\n    answer: d\n    paraphrases: e\n",
            "x.yaml:7: facts[1].paraphrases: a text, but a list is expected",
        ),
        (
            "  - prompt: c\n    answer: d\n    locality:\n      - e\n",
            "x.yaml:8: facts[1].locality[0]: a text, but a mapping is expected",
        ),
        (
            "  - prompt: c\n    answer: d\n    locality:\n      - prompt: e\n        fub: f\n",
            "x.yaml:9: facts[1].locality[0].fub: unknown field; known: prompt, answer",
        ),
        (
            "  - prompt: c\n    answer: d\n    old_answer: d\n",
            "x.yaml:7: facts[1].old_answer: is the answer too: nothing changes",
        ),
        (
            '  - prompt: c\n    answer: São Tomé\n    old_answer: " Sa\u0303o  Tome\u0301"\n',
            "x.yaml:7: facts[1].old_answer: is the answer too: nothing changes",
        ),
        (
            "  - prompt:\n      - c\n    answer: d\n",
            "x.yaml:5: facts[1].prompt: a list, but a text is expected",
        ),
        ("  - c\n", "x.yaml:5: facts[1]: a text, but a mapping is expected"),
        (
            '  - prompt: c\n    answer: "d\\a"\n',
            "x.yaml:6: facts[1].answer: control character U+0007",
        ),
        (
            f"  - prompt: c\n    answer: {'d' * (MAXIMUM_TEXT_LENGTH + 1)}\n",
            "x.yaml:6: facts[1].answer: 10,001 characters, but at most 10,000 are allowed",
        ),
        ("fact: []\n", "x.yaml:5: fact: unknown field; did you mean facts?"),
        ("source: t\n", "x.yaml:5: the key source stands here twice"),
        (
            "  - prompt: c\n    answer: d\n    answer: d\n",
            "x.yaml:7: the key answer stands here twice",
        ),
        (
            "  - prompt: &c c\n    answer: d\n",
            "x.yaml:5: the anchor &c is not allowed; write the value itself",
        ),
        (
            "  - prompt: c\n    answer: *d\n",
            "x.yaml:6: the alias *d is not allowed; write the value itself",
        ),
        (
            "  - prompt: c\n    answer: !!python/object/apply:os.system [x]\n",
            "x.yaml:6: the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed; "
            "write the value itself",
        ),
        (
            "  - prompt: c\n    answer: !local d\n",
            "x.yaml:6: the tag !local is not allowed; write the value itself",
        ),
        ("---\n- a\n", "x.yaml:5: a second YAML document; make it a second file"),
        ("  - ? [c]\n    : d\n", "x.yaml:5: a list or mapping as a key; a key is a text"),
        (
            "  - prompt: c: d\n",
            "x.yaml:5: not valid YAML: mapping values are not allowed in this context",
        ),
        (
            "  - prompt: c\n    answer: d\n    paraphrases: [e,\n      f\n\n",
            "x.yaml:7: not valid YAML: while parsing a flow sequence did not find expected "
            "',' or ']'",
        ),
        (
            "  - {prompt: c, answer: d\n  - {prompt: e, answer: f}\n",
            "x.yaml:5: not valid YAML: while parsing a flow mapping did not find expected "
            "',' or '}' on line 6",
        ),
        (
            "  - prompt: 'c\n    answer: d\n\n",
            "x.yaml:5: not valid YAML: while scanning a quoted scalar found unexpected end of "
            "stream",
        ),
        ("  - {[[[[[[[", "x.yaml:5: a list or mapping as a key; a key is a text"),
        ("  - [[[[[[[c]]]]]]]", "x.yaml:5: nested deeper than 8 levels"),
    ],
)
def test_yaml(added: str, message: str) -> None:
    parse_fact_file(YAML_START.encode(), "x.yaml")
    assert refusal("x.yaml", YAML_START + added) == message


def test_yaml_bomb_of_aliases() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    message = refusal("bomb.yaml", f"a0: &a0 lol\n{levels}facts: *a9\n")
    assert message == "bomb.yaml:1: the anchor &a0 is not allowed; write the value itself"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_yaml_bomb_of_depth(opening: str) -> None:
    assert "nested deeper than 8 levels" in refusal("x.yaml", opening * 200_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"prompt": "a", "answer": "b"},\n{"prompt": "a", "answer": 1.20}]',
            'x.json:2: [1].answer: a number; write it in quotes: "1.20"',
        ),
        (
            '[{"prompt": "a", "answer": false}]',
            'x.json:1: [0].answer: true or false; write it in quotes: "false"',
        ),
        (
            '{"facts": [\n\n{"prompt": "a", "answer": "b", "source": "c"}]}',
            "x.json:3: facts[0].source: unknown field; known: prompt, answer, old_answer, subject, "
            "relation, paraphrases, locality, portability, protected",
        ),
        ('[{"prompt": "a", "answer": NaN}]', "x.json:1: NaN is not JSON"),
        ('[\n{"prompt": "a", "answer": -Infinity}]', "x.json:2: -Infinity is not JSON"),
        (
            '[\n{"prompt": "a", "answer": "b", "answer": "c"}]',
            "x.json:2: the key answer stands twice in one record",
        ),
        (
            '[{"prompt": "a", "\\ud83d": "b"}]',
            r'x.json:1: [0]."\\ud83d": unknown field; known: prompt, answer, old_answer, subject, '
            "relation, paraphrases, locality, portability, protected",
        ),
        ('{"\\ud83d": 1}', r'x.json: "\\ud83d": unknown field; known: source, facts'),
        ('{"facts": [],\n"facts": []}', "x.json:2: the key facts stands here twice"),
        (
            '[{"prompt": "a", "answer": "\\ud83d"}]',
            "x.json:1: [0].answer: control character U+D83D",
        ),
        (
            '[{"prompt": "a", "answer": "b"},\n]',
            "x.json:2: not valid JSON: Expecting value",
        ),
        (
            '[{"prompt": "a", "answer": "b"}\n{"prompt": "a"}]',
            "x.json:2: not valid JSON: expected ','",
        ),
        (
            '[{"prompt": "a",\n"answer" "b"}]',
            "x.json:2: not valid JSON: Expecting ':' delimiter",
        ),
        (
            '[{"prompt": "a", "answer": "b"}]\n[]',
            "x.json:2: not valid JSON: there is more after the end of the value",
        ),
        ("{facts: []}", "x.json:1: not valid JSON: expected a key in double quotes"),
        ('{"facts"\n[]}', "x.json:2: not valid JSON: expected ':'"),
        ('{"facts": {"prompt": "a"}}', "x.json:1: facts: a mapping, but a list is expected"),
        ('{"source": 5, "facts": []}', 'x.json:1: source: a number; write it in quotes: "5"'),
        ('{"source": "s"}', "x.json: facts: missing"),
        ('"a"', "x.json: a text, but a list of facts is expected"),
        ("[]", "x.json: no facts"),
        ('{"facts": []}', "x.json:1: facts: no facts"),
        ('[{"prompt": "a", "a\\nb\\u202e": "c"}]', None),
    ],
)
def test_json(text: str, message: str | None) -> None:
    found = refusal("x.json", text)
    if message is None:
        # A field's name may be anything; the message stays printable.
        assert r'"a\nb\u202e": unknown field' in found
        assert found.isprintable()
    else:
        assert found == message


@pytest.mark.parametrize("start", ["", '[{"prompt": ', '{"facts": ', '{"facts": [{"prompt": '])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_bomb_of_depth(start: str, opening: str) -> None:
    assert "nested too deeply" in refusal("x.json", start + opening * 200_000)


def test_json_number_of_many_digits() -> None:
    assert "a number" in refusal("x.json", f'[{{"prompt": "a", "answer": {"9" * 100_000}}}]')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"}', "x.jsonl:3: answer: missing"),
        ('{"prompt": "a"', "x.jsonl:3: not valid JSON: Expecting ',' delimiter"),
        (
            '{"prompt": "a"} {}',
            "x.jsonl:3: not valid JSON: there is more after the end of the value",
        ),
        ("[]", "x.jsonl:3: a list, but a mapping is expected"),
        ('{"prompt": "a", "prompt": "b"}', "x.jsonl:3: the key prompt stands twice in one record"),
    ],
)
def test_json_lines(line: str, message: str) -> None:
    assert refusal("x.jsonl", f'{{"prompt": "a", "answer": "b"}}\n\n{line}\n') == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,answer,paraphrase\na,b,c\n",
            "x.csv:1: unknown column paraphrase; the columns are prompt, answer, old_answer, "
            "subject, relation, paraphrases; a table of your own needs a mapping beside it, "
            "NAME.map.yaml (docs/tables.md)",
        ),
        ("\nprompt\na\n", "x.csv:2: the header row has no column answer"),
        ("prompt,answer,prompt\na,b,c\n", "x.csv:1: the column prompt stands here twice"),
        ('prompt,answer\n"a\nb",c\nd\n', "x.csv:4: 1 cells, but the header has 2"),
        (
            "prompt,answer\na,\n",
            "x.csv:2: answer: empty (to forget only, write null in YAML or JSON)",
        ),
        ("prompt,answer\n,b\n", "x.csv:2: prompt: empty"),
        *(
            (
                f"prompt,answer\na,b\nc,{null}\n",
                "x.csv:3: answer: null, which CSV can't tell from the word; say it in YAML or JSON",
            )
            for null in ("null", "NULL", '"Null"', " null ")
        ),
        (
            "prompt,answer,old_answer\na,b,b\n",
            "x.csv:2: old_answer: is the answer too: nothing changes",
        ),
        ('prompt,answer\na,"b\n', "x.csv:2: not valid CSV: unexpected end of data"),
        ('prompt,answer\na,"b"c\n', "x.csv:2: not valid CSV: ',' expected after '\"'"),
        ("prompt,answer\n", "x.csv: no facts"),
    ],
)
def test_csv(text: str, message: str) -> None:
    assert refusal("x.csv", text) == message


def test_a_cell_larger_than_any_text_may_be() -> None:
    assert "x.csv:2: not valid CSV" in refusal("x.csv", f"prompt,answer\na,{'b' * 200_000}\n")


@pytest.mark.parametrize("name", ["x.yaml", "x.json", "x.jsonl", "x.csv"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ": empty"),
        (b"\xef\xbb\xbf \r\n\t", ": empty"),
        (b"a\n\x00", ": a binary file (it has NUL bytes); fact files are UTF-8 text"),
        ("[\n]".encode("utf-16"), ": a binary file (it has NUL bytes); fact files are UTF-8 text"),
        ("a\nb: é".encode("latin-1"), ":2: not UTF-8 text; save it as UTF-8"),
        (b"a\n\x1b[2J", ":2: control character U+001B"),
    ],
)
def test_bytes_that_are_no_text(name: str, data: bytes, message: str) -> None:
    assert refusal(name, data) == name + message


def test_a_yaml_file_of_comments_only() -> None:
    assert refusal("x.yaml", "# nothing yet\n") == "x.yaml: no facts"


def test_too_many_facts() -> None:
    line = json.dumps({"prompt": "a", "answer": "b"}) + "\n"
    message = refusal("x.jsonl", line * (MAXIMUM_FACTS + 1))
    assert message == "x.jsonl: 100,001 facts, but at most 100,000 are allowed"


@pytest.mark.parametrize("name", ["facts.txt", "facts", "facts.yaml.part", ".yaml", "drop.csv/x"])
def test_a_name_that_is_no_fact_files(name: str) -> None:
    expected = "not a fact file by its name; it has to end in .yaml, .yml, .json, .jsonl, .csv"
    assert refusal(name, YAML_START) == f"{name}: {expected}"
