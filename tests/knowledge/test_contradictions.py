"""Two answers for one key are refused, wherever they stand; the same answer twice is not."""

import pytest

from adapterstore.errors import Contradiction
from adapterstore.knowledge.contradictions import check_contradictions
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file


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
