"""CounterFact and zsRE records as the model-editing field has them, real ones among them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from adapterstore.errors import Contradiction, FactFileError
from adapterstore.knowledge.contradictions import check_contradictions
from adapterstore.knowledge.facts import Fact, FactFile, Probe
from adapterstore.knowledge.formats import parse_fact_file, read_fact_file

DATA = Path(__file__).parents[3] / "shared" / "data"

NESTED: dict[str, Any] = {
    "case_id": 0,
    "pararel_idx": 2796,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["Shayna does this.\nDanielle Darrieux spoke", "She spoke"],
    "neighborhood_prompts": ["Michel Rocard is a native speaker of", "Montesquieu spoke"],
    "attribute_prompts": ["J.R.R. Tolkien is a native speaker of"],
    "generation_prompts": ["Danielle Darrieux was born in"],
}
ZSRE: dict[str, Any] = {
    "subject": "Captain America",
    "src": "What comic has Captain America?",
    "pred": "Marvel",
    "rephrase": "Which comic is Captain America in?",
    "alt": " Captain Universe",
    "answers": ["Marvel"],
    "loc": "nq question: who voiced gaston",
    "loc_ans": "Richard White",
    "cond": "Marvel >> Captain Universe || What comic has Captain America?",
}


def parse(record: object) -> Fact:
    file = parse_fact_file(json.dumps([record]).encode(), "x.json")
    assert len(file.facts) == 1
    return file.facts[0]


def read_data(name: str) -> FactFile:
    path = DATA / name
    assert path.is_file(), f"{path} has to be there: the real records are read, not copied"
    return read_fact_file(path)


def test_nested_counterfact() -> None:
    assert parse(NESTED) == Fact(
        prompt="The mother tongue of Danielle Darrieux is",
        answer="English",
        old_answer="French",
        subject="Danielle Darrieux",
        relation="P103",
        paraphrases=("Shayna does this.\nDanielle Darrieux spoke", "She spoke"),
        locality=(
            Probe(prompt="Michel Rocard is a native speaker of", answer="French"),
            Probe(prompt="Montesquieu spoke", answer="French"),
        ),
    )


def test_zsre_question_is_kept_and_its_targets_space_is_not() -> None:
    assert parse(ZSRE) == Fact(
        prompt="What comic has Captain America?",
        answer="Captain Universe",
        old_answer="Marvel",
        subject="Captain America",
        paraphrases=("Which comic is Captain America in?",),
        locality=(Probe(prompt="who voiced gaston", answer="Richard White"),),
    )


def test_records_come_as_json_lines_and_under_a_source_too() -> None:
    lines = parse_fact_file(f"{json.dumps(NESTED)}\n{json.dumps(ZSRE)}\n".encode(), "x.jsonl")
    mapping = {"source": "s", "facts": [NESTED, ZSRE]}
    named = parse_fact_file(json.dumps(mapping).encode(), "x.json")
    assert lines.facts == named.facts == (parse(NESTED), parse(ZSRE))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"prompt": "a", "target_new": "b", "ground_thruth": "c"},
            r"\[0\]\.ground_thruth: unknown field; did you mean ground_truth\?",
        ),
        ({"prompt": "a", "ground_truth": "c"}, r"\[0\]\.target_new: missing"),
        (
            {"prompt": "a", "target_new": "b", "ground_truth": " b"},
            r"\[0\]\.ground_truth: is the answer too",
        ),
        ({"src": "a", "pred": "b"}, r"\[0\]\.alt: missing"),
        ({"src": "a", "alt": "b", "pred": "b"}, r"\[0\]\.pred: is the answer too"),
        ({"requested_rewrite": {}}, r"\[0\]\.requested_rewrite\.prompt: missing"),
        ({"requested_rewrite": "a"}, r"\[0\]\.requested_rewrite: a text, but a mapping"),
        (
            {"requested_rewrite": {**NESTED["requested_rewrite"], "prompt": "no place"}},
            r"\[0\]\.requested_rewrite: prompt: needs {} once, where the subject goes",
        ),
        (
            {"requested_rewrite": {**NESTED["requested_rewrite"], "target_new": {"str": "French"}}},
            r"\[0\]\.requested_rewrite\.target_true\.str: is the answer too",
        ),
        (
            {"requested_rewrite": {**NESTED["requested_rewrite"], "target_new": "English"}},
            r"\[0\]\.requested_rewrite\.target_new: a text, but a mapping is expected",
        ),
    ],
)
def test_faults_are_named_in_the_records_own_terms(record: object, message: str) -> None:
    with pytest.raises(FactFileError, match=message):
        parse(record)


def test_a_subject_with_braces_is_only_a_text() -> None:
    rewrite = {**NESTED["requested_rewrite"], "subject": "{0.__class__} {}"}
    fact = parse({"requested_rewrite": rewrite})
    assert fact.prompt == "The mother tongue of {0.__class__} {} is"


def test_all_counterfact_records_are_read() -> None:
    facts = read_data("counterfact-2000.json").facts
    assert len(facts) == 2000
    assert facts[0] == Fact(
        prompt="The mother tongue of Danielle Darrieux is",
        answer="English",
        old_answer="French",
        subject="Danielle Darrieux",
        paraphrases=("Where Danielle Darrieux is from, people speak the language of",),
        locality=(Probe(prompt="Michel Rocard is a native speaker of", answer="French"),),
    )
    assert [fact.line for fact in facts] == list(range(2, 2002))
    assert all(fact.old_answer and fact.paraphrases and fact.locality for fact in facts)


def test_all_zsre_records_are_read() -> None:
    file = read_data("zsre-500.json")
    assert len(file.facts) == 500
    assert all(fact.answer == (fact.answer or "").strip() for fact in file.facts)
    assert not any(
        probe.prompt.startswith("nq question") for fact in file.facts for probe in fact.locality
    )
    check_contradictions([file])


def test_nested_layout_says_what_the_flat_one_says() -> None:
    flat = read_data("counterfact-2000.json")
    records = json.loads(flat.data)
    same_neighbour = [
        record["locality_ground_truth"] == record["ground_truth"] for record in records
    ]
    assert all(same_neighbour), "or the nested layout could not say it"
    nested = [
        {
            "case_id": record["case_id"],
            "requested_rewrite": {
                "prompt": record["prompt"].replace(record["subject"], "{}", 1),
                "subject": record["subject"],
                "target_new": {"str": record["target_new"]},
                "target_true": {"str": record["ground_truth"]},
            },
            "paraphrase_prompts": [record["rephrase_prompt"]],
            "neighborhood_prompts": [record["locality_prompt"]],
        }
        for record in records
    ]
    assert parse_fact_file(json.dumps(nested).encode(), "nested.json").facts == flat.facts


def test_counterfact_in_drops_of_a_hundred_contradicts_nothing() -> None:
    file = read_data("counterfact-2000.json")
    for start in range(0, 2000, 100):
        check_contradictions([dataclasses.replace(file, facts=file.facts[start : start + 100])])


def test_counterfact_contradicts_itself_and_both_lines_are_named() -> None:
    file = read_data("counterfact-2000.json")
    with pytest.raises(
        Contradiction,
        match=r"^The twin city of Tirana is: .*\.json:454 says 'Shanghai', "
        r"but .*\.json:1093 says 'Hamburg'",
    ):
        check_contradictions([file])
