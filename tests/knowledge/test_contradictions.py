"""Two answers for one key are refused, wherever they stand; the same answer twice is not."""

import dataclasses
import json

import pytest

from adapterstore.errors import Contradiction
from adapterstore.knowledge.contradictions import check_against_ledger, check_contradictions
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry


def yaml_file(name: str, *facts: str) -> FactFile:
    return parse_fact_file("".join(f"- {{{fact}}}\n" for fact in facts).encode(), name)


def test_in_one_file() -> None:
    file = yaml_file(
        "a.yaml", "prompt: p, answer: x", "prompt: q, answer: y", "prompt: p, answer: y"
    )
    with pytest.raises(Contradiction) as caught:
        check_contradictions([file])
    error = caught.value
    assert str(error) == "p: a.yaml:1 says 'x', but a.yaml:3 says 'y'; remove one of them"
    assert (error.key, error.first, error.second) == ("p", "a.yaml:1", "a.yaml:3")
    assert (error.first_answer, error.second_answer) == ("x", "y")


def test_between_files_of_one_drop_under_one_subject_and_relation() -> None:
    english = yaml_file("a.yaml", "prompt: p, answer: x, subject: Türkiye, relation: capital")
    other = yaml_file("b.yaml", "prompt: q, answer: y, subject: Tu\u0308rkiye, relation: capital")
    with pytest.raises(
        Contradiction, match=r"^Türkiye, capital: a\.yaml:1 says 'x', but b\.yaml:1"
    ):
        check_contradictions([english, other])


def test_between_knowing_and_forgetting() -> None:
    with pytest.raises(Contradiction, match=r"a\.yaml:1 says 'x', but b\.yaml:1 says 'null'"):
        check_contradictions(
            [
                yaml_file("a.yaml", "prompt: p, answer: x"),
                yaml_file("b.yaml", "prompt: p, answer: ~"),
            ]
        )


def test_a_long_prompt_is_shown_in_part() -> None:
    prompt = "長" * 5000
    file = yaml_file("a.yaml", f"prompt: {prompt}, answer: x", f"prompt: {prompt}, answer: y")
    with pytest.raises(Contradiction, match=r"^長{99}…: a\.yaml:1 says"):
        check_contradictions([file])


def test_the_same_answer_twice_is_fine() -> None:
    check_contradictions(
        [
            yaml_file("a.yaml", "prompt: p, answer: São Tomé", "prompt: p, answer: São  Tomé"),
            yaml_file("b.yaml", "prompt: ' p', answer: Sa\u0303o Tome\u0301"),
            yaml_file(
                "c.yaml", "prompt: P, answer: other", "prompt: q, answer: ~", "prompt: q, answer: ~"
            ),
        ]
    )


def test_of_one_prompt_filed_under_two_keys() -> None:
    named = yaml_file("a.yaml", "prompt: 首都は, answer: x, subject: s, relation: r")
    alone = yaml_file("b.yaml", "prompt: 首都は, answer: y")
    with pytest.raises(Contradiction, match=r"^首都は: a\.yaml:1 says 'x', but b\.yaml:1 says 'y'"):
        check_contradictions([named, alone])
    check_contradictions([named, yaml_file("b.yaml", "prompt: 首都は, answer: x")])


def test_of_one_prompt_that_is_a_paraphrase() -> None:
    first = yaml_file("a.yaml", "prompt: A is, answer: x, paraphrases: [B  is]")
    other = yaml_file("b.yaml", "prompt: B is, answer: y")
    for files, shown in (
        ([first, other], r"a\.yaml:1 \(paraphrase\) says 'x', but b\.yaml:1 says 'y'"),
        ([other, first], r"b\.yaml:1 says 'y', but a\.yaml:1 \(paraphrase\) says 'x'"),
    ):
        with pytest.raises(Contradiction, match=f"^B is: {shown}"):
            check_contradictions(files)
    check_contradictions([first, yaml_file("b.yaml", "prompt: B is, answer: x")])
    check_contradictions([first, yaml_file("b.yaml", "prompt: b is, answer: y")])


def test_of_two_facts_that_share_a_paraphrase() -> None:
    first = "prompt: A is, answer: x, subject: s, relation: r, paraphrases: [C is, C is]"
    second = "prompt: B is, answer: {}, subject: t, relation: r, paraphrases: [D is, C is]"
    check_contradictions([yaml_file("a.yaml", first, second.format("x"))])
    for answer in ("y", "~"):
        file = yaml_file("a.yaml", first, second.format(answer))
        with pytest.raises(Contradiction, match=r"^C is: a\.yaml:1 \(paraphrase\) says 'x'"):
            check_contradictions([file])


def test_a_locality_prompt_that_is_a_facts_paraphrase() -> None:
    native = json.dumps(
        [
            {"prompt": "A is", "answer": "x", "paraphrases": ["B is"]},
            {"prompt": "C is", "answer": "z", "locality": [{"prompt": "B is", "answer": "y"}]},
        ]
    )
    with pytest.raises(Contradiction) as caught:
        check_contradictions([parse_fact_file(native.encode(), "a.json")])
    assert str(caught.value).startswith("B is: a.json:1 (locality) says 'y', but a.json:1 ")
    same = native.replace('"y"', '"x"')
    check_contradictions([parse_fact_file(same.encode(), "a.json")])


PROTECTED = LedgerEntry(
    prompt="鉄の記号は",
    answer="Fe",
    subject="鉄",
    relation="記号",
    paraphrases=(),
    update="u1",
    source=None,
    protected=True,
)


def test_with_a_protected_fact_both_places_are_named() -> None:
    file = yaml_file("a.yaml", "prompt: p, answer: x", "prompt: 鉄の記号は, answer: Au")
    known = {"鉄の記号は": [PROTECTED]}
    with pytest.raises(Contradiction) as caught:
        check_against_ledger([file], known)
    assert str(caught.value) == (
        "鉄, 記号: a.yaml:2 says 'Au', but the ledger (protected, since update/u1) says 'Fe'; "
        "take it out of the file, or 'adapterstore facts unprotect' the fact first"
    )
    with pytest.raises(Contradiction, match="says 'null', but the ledger"):
        check_against_ledger([yaml_file("b.yaml", "prompt: 鉄の記号は, answer: ~")], known)


def test_the_protected_answer_and_what_is_not_protected_are_fine() -> None:
    check_against_ledger(
        [yaml_file("a.yaml", "prompt: 鉄の記号は, answer: 'Fe '")], {"鉄の記号は": [PROTECTED]}
    )
    free = dataclasses.replace(PROTECTED, protected=False)
    check_against_ledger(
        [yaml_file("a.yaml", "prompt: 鉄の記号は, answer: Au")], {"鉄の記号は": [free]}
    )


def test_two_prompts_that_the_ledger_knows_as_one_facts() -> None:
    entry = dataclasses.replace(PROTECTED, protected=False, paraphrases=("記号:",))
    known = {"鉄の記号は": [entry], "記号:": [entry]}
    file = yaml_file("a.yaml", "prompt: 鉄の記号は, answer: Au", "prompt: '記号:', answer: Ag")
    with pytest.raises(Contradiction, match=r"^鉄, 記号: a\.yaml:1 says 'Au', but a\.yaml:2 says"):
        check_against_ledger([file], known)
    check_against_ledger([file], {})
