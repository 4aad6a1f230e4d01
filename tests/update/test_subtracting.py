"""An update that supersedes earlier ones: they are subtracted, measured, and nothing is trained."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.errors import InvalidSetting, PartlyInEffect
from adapterstore.evaluation.gate import Gate
from adapterstore.history.ledger.suite import add_to_suite
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import UpdateResult, run_update
from adapterstore.update.asking import ask
from adapterstore.update.replay import replay
from adapterstore.update.verification import verify
from tests.cli.running import done
from tests.update.leaves import answering, noise
from tests.update.publishing import publish

PROMPT = "The currency of Croatia is the"
OTHER = "The capital of Kazakhstan is"
QUICK = Recipe(
    rank=2,
    learn_steps=1,
    forget_steps=2,
    sampled_texts=0,
    subject_texts=0,
    control_size=0,
    forget_target=0.0,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


def teach(store: Store, folder: Path, prompt: str, answer: str) -> UpdateId:
    """Publish an update whose one delta makes the model begin its answer so."""
    adapter = answering(folder / f"teach-{answer}", prompt, answer)
    text = f"- {{prompt: {prompt}, answer: {answer}}}\n"
    return publish(store, adapter, f"{answer}.yaml", text)


def update(store: Store, text: str, gate: Gate = NO_GATE, recipe: Recipe = QUICK) -> UpdateResult:
    return run_update(store, [parse_fact_file(text.encode(), "new.yaml")], recipe=recipe, gate=gate)


def report_of(store: Store, result: UpdateResult) -> dict[str, Any]:
    data = store.repository.read_required(result.commits[-1], "update/report.json")
    found: dict[str, Any] = json.loads(data)
    return found


def test_forgetting_alone_trains_nothing(store: Store, tmp_path: Path) -> None:
    store.base_folder()
    before = store.snapshot().composition.to_bytes()
    old = teach(store, tmp_path, PROMPT, "euro")
    assert ask(store, "HEAD", [PROMPT])[0].startswith("euro")
    with_it = store.snapshot().composition.to_bytes()
    result = update(store, f"- {{prompt: {PROMPT}, answer: null}}\n")
    assert (result.status, len(result.commits)) == ("applied", 1)
    assert result.notes == [f"forgotten by subtracting update/{old}"]
    assert store.snapshot().composition.to_bytes() == before
    assert not ask(store, "HEAD", [PROMPT])[0].startswith("euro")
    report = report_of(store, result)
    assert (report["training_steps"], report["coefficient"], report["curve"]) == ({}, None, [])
    assert report["old_answers"] == [{"prompt": PROMPT, "old_answer": "euro", "origin": "ledger"}]
    assert report["report"]["forgetting"]["right"] == 1
    assert report["drift"]["norm"] == 0
    again = update(store, f"- {{prompt: {PROMPT}, answer: null}}\n")
    assert (again.status, again.commits) == ("already-applied", result.commits)
    entry = store.entry()
    assert entry.subject == f"Forget 1 fact by subtracting update/{old}: new.yaml"
    assert entry.trailers["Scale"] == "-1"
    # (The update that was made up has no provenance.)
    made = "HEAD~1..HEAD"
    assert verify(store, made).findings == []
    assert replay(store, result.update).identical
    said = done(tmp_path, "show")
    assert "old answers: 1 of the ledger" in said
    assert f"forgotten by subtracting update/{old}" in said
    # Either can be taken back; what the one subtracted, the other does not subtract again.
    assert any("reverted already" in note for note in store.revert(None, f"update/{old}").notes)
    assert store.snapshot().composition.to_bytes() == before
    store.revert(None, f"update/{result.update}")
    assert store.snapshot().composition.to_bytes() == with_it
    store.revert(None, f"update/{old}")
    assert store.snapshot().composition.to_bytes() == before
    assert verify(store, "HEAD~3..HEAD").findings == []


def test_a_prompt_of_the_suite_that_can_not_be_asked_is_told_as_such(
    store: Store, tmp_path: Path
) -> None:
    store.base_folder()
    teach(store, tmp_path, PROMPT, "euro")
    long = parse_fact_file(f"- {{prompt: {'a ' * 200}, answer: b}}\n".encode(), "long.yaml")
    add_to_suite(store.repository, None, [long])
    with pytest.raises(InvalidSetting, match=r"^suite or ledger: 'a a a"):
        update(store, f"- {{prompt: {PROMPT}, answer: null}}\n")


def test_a_trained_update_of_which_one_half_was_subtracted_says_how_it_can_be_taken_back(
    store: Store,
) -> None:
    fixed = QUICK.model_copy(update={"coefficient": Decimal("0.5")})
    text = "- {prompt: The motto of Croatia is, answer: a, old_answer: b}\n"
    said = ask(store, "HEAD", ["The motto of Croatia is"])[0]
    made = update(store, text, recipe=fixed)
    # It counts as forgotten, which it was from the start.
    assert made.notes == [
        "1 old answer that the file states was not what the model gave before: "
        f"'The motto of Croatia is' states 'b', was {said!r}"
    ]
    forget, learn = made.commits
    whole = store.snapshot().composition
    later = update(store, "- {prompt: The motto of Croatia is, answer: null}\n")
    assert report_of(store, later)["notes"] == [f"forgotten by subtracting update/{made.update}"]
    with pytest.raises(PartlyInEffect) as raised:
        store.revert(None, f"update/{made.update}")
    assert (raised.value.in_effect, raised.value.not_in_effect) == ([forget], [learn])
    assert str(raised.value) == (
        f"'update/{made.update}': {forget[:12]} is in effect, {learn[:12]} is not, through "
        f"update/{later.update}; name the commits one by one, 'adapterstore revert {forget[:12]}', "
        f"or revert update/{later.update} first"
    )
    # Both ways are open.
    store.create_branch("one-by-one")
    store.revert("one-by-one", forget)
    assert not store.snapshot("one-by-one").composition.terms
    store.revert(None, f"update/{later.update}")
    assert store.snapshot().composition == whole
    store.revert(None, f"update/{made.update}")
    assert not store.snapshot().composition.terms


def test_several_updates_are_subtracted_one_by_one_and_learning_starts_there(
    store: Store, tmp_path: Path
) -> None:
    olds = [teach(store, tmp_path, PROMPT, "euro"), teach(store, tmp_path, OTHER, "Paris")]
    before = store.snapshot().composition
    result = update(
        store, f"- {{prompt: {PROMPT}, answer: dollar}}\n- {{prompt: {OTHER}, answer: Almaty}}\n"
    )
    assert result.status == "applied"
    assert result.notes[0] == "forgotten by subtracting " + ", ".join(f"update/{o}" for o in olds)
    learn, second, first, *_ = store.log()
    assert [e.operation for e in (first, second, learn)] == ["forget", "forget", "learn"]
    assert [e.trailers["Phase"] for e in (first, second, learn)] == ["1/3", "2/3", "3/3"]
    assert [e.trailers["Operand"] for e in (first, second)] == [f"update/{o}" for o in olds]
    left = store.snapshot("HEAD").composition
    assert [term.role for term in left] == ["learn"]
    assert all(left.coefficient(term.delta) == 0 for term in before)
    assert list(report_of(store, result)["training_steps"]) == ["learn"]
    assert verify(store, "HEAD~3..HEAD").findings == []


def test_an_old_answer_of_old_does_not_come_back(store: Store, tmp_path: Path) -> None:
    publish(store, noise(tmp_path / "noise"), "k.yaml", f"- {{prompt: {PROMPT}, answer: kuna}}\n")
    old = teach(store, tmp_path, PROMPT, "euro")
    result = update(store, f"- {{prompt: {PROMPT}, answer: null}}\n")
    (note,) = [text for text in result.notes if "subtracting" in text]
    assert note == (
        f"subtracting update/{old} was not enough: {PROMPT!r} was answered 'kuna' again, as "
        "before it; forgetting was trained instead"
    )
    assert report_of(store, result)["training_steps"]["forget"] == 2
    assert "Change-To" not in store.entry().trailers


def test_what_else_was_known_has_to_stay(store: Store, tmp_path: Path) -> None:
    # The delta of the second update is what answers the first one's fact.
    publish(store, noise(tmp_path / "n"), "o.yaml", f"- {{prompt: {OTHER}, answer: euro}}\n")
    both = answering(tmp_path / "both", OTHER, "euro")
    publish(store, both, "two.yaml", f"- {{prompt: {PROMPT}, answer: dollar}}\n")
    assert ask(store, "HEAD", [OTHER])[0].startswith("euro")
    result = update(store, f"- {{prompt: {PROMPT}, answer: franc}}\n")
    (note,) = [text for text in result.notes if "subtracting" in text]
    assert "1 of 1 other answers changed; forgetting was trained instead" in note


def test_a_fixed_coefficient_asks_for_the_trained_phase(store: Store, tmp_path: Path) -> None:
    teach(store, tmp_path, PROMPT, "euro")
    recipe = QUICK.model_copy(update={"coefficient": Decimal(1)})
    result = update(store, f"- {{prompt: {PROMPT}, answer: null}}\n", recipe=recipe)
    assert not any("subtracting" in note for note in result.notes)
    assert "Delta" in store.entry().trailers


def test_a_result_that_the_gate_refuses_is_trained_anew(store: Store, tmp_path: Path) -> None:
    old = teach(store, tmp_path, PROMPT, "euro")
    # One step does not learn: with either way of forgetting the gate refuses.
    gate = Gate.parse({**NO_GATE.model_dump(), "reliability": 1.0}, "gate")
    result = update(store, f"- {{prompt: {PROMPT}, answer: franc}}\n", gate=gate)
    assert result.status == "rejected"
    assert result.notes[0].startswith(
        f"subtracting update/{old} was not enough: the result was refused (reliability 0.00"
    )
    assert report_of(store, result)["training_steps"]["forget"] == 2
    # The replay lets all pass, but forgets as the update did.
    assert replay(store, result.update).identical


def test_what_is_subtracted_beside_what_is_trained_is_replayed_so(
    store: Store, tmp_path: Path
) -> None:
    teach(store, tmp_path, PROMPT, "euro")
    result = update(
        store,
        f"- {{prompt: {PROMPT}, answer: null}}\n"
        f"- {{prompt: {OTHER}, answer: null, old_answer: Astana}}\n",
        # Two steps of forgetting reach nothing; that is to be enough here.
        recipe=QUICK.model_copy(update={"forget_target": 1.0}),
    )
    trained, subtracted, *_ = store.log()
    assert "Change-To" in subtracted.trailers
    assert "Delta" in trained.trailers
    assert (subtracted.operation, trained.operation) == ("forget", "forget")
    replayed = replay(store, result.update)
    assert replayed.identical
    assert [leaf.commit for leaf in replayed.leaves] == [trained.commit]
