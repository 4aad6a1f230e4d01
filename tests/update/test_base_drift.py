"""Drift: what many updates add up to is measured against the base, whose answers are kept."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.coefficient import ONE
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.ledger.suite import add_to_suite
from adapterstore.history.state_answers import StateAnswers
from adapterstore.identifiers import DeltaId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.update import read_update_settings, run_update

HARMFUL = {"preserve_weight": 0, "learning_rate": 0.02}
SHORT = {
    "sampled_texts": 40,
    "subject_texts": 5,
    "control_size": 10,
    "learn_steps": 10,
    "batch_size": 8,
}
OPEN = {"reliability": None, "generality": None, "locality": None, "retention": None}
CROATIA, KENYA = "The currency of Croatia is the", "The currency of Kenya is the"
PLACES = ["Italy", "France", "Japan", "Greece", "Egypt", "Ghana", "Chile", "Latvia"]


def facts(*pairs: tuple[str, str | None]) -> FactFile:
    rows = [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]
    return parse_fact_file(json.dumps(rows).encode(), "facts.json")


def test_drift_is_against_the_base_and_leaves_out_what_was_changed_on_purpose(
    tmp_path: Path,
) -> None:
    store = Store.init(tmp_path, base="demo")
    stay = [(f"The capital of {place} is", None) for place in PLACES]
    add_to_suite(store.repository, None, [facts(*stay, (CROATIA, None), (KENYA, None))])
    recipe, gate = read_update_settings(store.settings, {**SHORT, **HARMFUL})
    gate = gate.model_copy(update={**OPEN, "suite": None, "forgetting": None})

    first = run_update(store, [facts((CROATIA, "euro"))], recipe=recipe, gate=gate)
    assert first.status == "applied"
    assert first.report is not None
    scores = first.report.scores()
    # The base is the state before: drift is what the suite shows, without the fact itself.
    assert scores["suite"].asked == scores["locality_base"].asked == len(PLACES) + 1
    assert scores["suite"].right == scores["locality_base"].right < len(PLACES) + 1

    # One more changes little beyond that: as before it, and still not as the base.
    calm, _ = read_update_settings(store.settings, SHORT)
    second = run_update(store, [facts((KENYA, "dollar"))], recipe=calm, gate=gate)
    assert second.status == "applied"
    assert second.report is not None
    after = second.report.scores()
    # The first update's fact is in the suite's figure, but no drift: it was changed on purpose.
    assert after["suite"].asked == len(PLACES) + 1
    assert after["locality_base"].asked == len(PLACES)
    assert after["suite"].value > after["locality_base"].value
    failure = after["locality_base"].failures[0]
    assert failure.before is not None
    assert failure.expected != failure.given

    strict = gate.model_copy(update={"locality_base": 1.0})
    third = run_update(store, [facts((KENYA, "yen"))], recipe=calm, gate=strict)
    assert third.status == "rejected"
    assert [row["metric"] for row in third.refused] == ["locality_base"]


def test_what_a_state_said_is_asked_once(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    digests = dict.fromkeys(["config", "weights", "tokenizer"], "0" * 64)
    base = BaseModel(name="m", digests=digests)
    state = Composition.of([Term(DeltaId("1" * 40), ONE, "learn")])
    asked: list[list[str]] = []

    def model(prompts: Mapping[str, Collection[str]]) -> dict[str, str]:
        asked.append(list(prompts))
        return {prompt: f"答 {prompt}" for prompt in prompts}

    def answers(base: BaseModel = base, template: str = "off", device: str = "cpu") -> StateAnswers:
        return StateAnswers(store.repository, base, template, device)

    assert answers().ask(state, {"a": [], "b": []}, model) == {"a": "答 a", "b": "答 b"}
    assert answers().ask(state, {"c": [], "b": ["別"]}, model) == {"c": "答 c", "b": "答 b"}
    assert asked == [["a", "b"], ["c"]]
    # Another state, base, template or device is another question.
    answers().ask(Composition(), {"a": []}, model)
    answers(BaseModel(name="m", digests={**digests, "weights": "1" * 64})).ask(
        state, {"a": []}, model
    )
    answers(template="on").ask(state, {"a": []}, model)
    answers(device="cuda").ask(state, {"a": []}, model)
    assert asked[2:] == [["a"]] * 4
    # Without digests nobody knows which weights answered.
    for _ in range(2):
        answers(BaseModel(name="m")).ask(state, {"a": []}, model)
    assert asked[6:] == [["a"]] * 2
    (folder,) = (store.repository.folder / "cache").iterdir()
    for file in folder.rglob("*.json"):
        file.write_bytes(file.read_bytes().replace(b"\\u7b54", b"\\u5618"))
    assert answers().ask(state, {"a": []}, model) == {"a": "答 a"}
    assert asked[8:] == [["a"]]


def test_what_may_have_been_cut_off_is_asked_again(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    base = BaseModel(name="m", digests={"config": "0" * 64})
    answers = StateAnswers(store.repository, base, "off", "cpu")
    answers.ask(Composition(), {"a": []}, lambda _: {"a": "Article 5 of"})

    def whole(asked: Mapping[str, Collection[str]]) -> dict[str, str]:
        assert asked == {"a": ["Article 5 of the Act"]}
        return {"a": "Article 5 of the Act."}

    told = answers.ask(Composition(), {"a": ["Article 5 of the Act"]}, whole)
    assert told == answers.ask(Composition(), {"a": []}, whole) == {"a": "Article 5 of the Act."}


@pytest.mark.parametrize("text", ["null", "[]", '{"a": 1}'])
def test_a_cache_file_of_something_else_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    store = Store.init(tmp_path)
    base = BaseModel(name="m", digests={"config": "0" * 64})
    answers = StateAnswers(store.repository, base, "off", "cpu")
    answers.ask(Composition(), {"a": []}, lambda prompts: dict.fromkeys(prompts, "x"))
    answers._cache.write(answers._key(Composition()), json.loads(text))
    again = answers.ask(Composition(), {"a": []}, lambda prompts: dict.fromkeys(prompts, "y"))
    assert again == {"a": "y"}
