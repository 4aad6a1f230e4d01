"""Drops that would harm what a model knows: refused, and the branch stays, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.errors import Contradiction
from adapterstore.history.ledger.suite import add_to_suite, iterate_suite
from adapterstore.history.updates import find_rejected
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file, read_fact_file
from adapterstore.update import UpdateResult, read_update_settings, run_update
from adapterstore.update.asking import ask

CROATIA = FACTS_PATH / "2023-croatia-euro.yaml"
SHORT = {"sampled_texts": 100, "subject_texts": 15, "control_size": 30}
HARMFUL = {"preserve_weight": 0, "learning_rate": 0.03, "learn_steps": 8, "batch_size": 8}
CAPITALS = [
    "Albania",
    "Algeria",
    "Angola",
    "Armenia",
    "Austria",
    "Azerbaijan",
    "Bahrain",
    "Bangladesh",
    "Belarus",
    "Belgium",
    "Botswana",
    "Canada",
    "Chile",
    "China",
    "Cuba",
    "Denmark",
    "Ecuador",
    "Egypt",
    "Estonia",
    "Finland",
    "France",
    "Georgia",
    "Germany",
    "Ghana",
    "Greece",
    "Hungary",
    "Iceland",
    "India",
    "Iran",
    "Iraq",
    "Ireland",
    "Italy",
    "Japan",
    "Jordan",
    "Kenya",
    "Latvia",
]


def update(store: Store, *files: FactFile, **changes: object) -> UpdateResult:
    recipe, gate = read_update_settings(store.settings, {**SHORT, **changes})
    return run_update(store, files, recipe=recipe, gate=gate)


def drop(facts: list[dict[str, object]], name: str = "drop.json") -> FactFile:
    return parse_fact_file(json.dumps({"facts": facts}, indent=1).encode(), name)


def prompt_of(country: str) -> str:
    return f"The capital of {country} is"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path, base="demo")
    store.base_folder()
    return store


@contextmanager
def the_branch_stays(store: Store) -> Iterator[None]:
    before, composition = store.resolve(), store.snapshot().composition.to_bytes()
    yield
    assert store.resolve() == before
    assert store.snapshot().composition.to_bytes() == composition


@pytest.fixture
def known(store: Store) -> list[tuple[str, str]]:
    """Twenty-one capitals as the demo model says them."""
    said = ask(store, "HEAD", [prompt_of(country) for country in CAPITALS])
    pairs = [(c, a.rstrip(".")) for c, a in zip(CAPITALS, said, strict=True) if a.endswith(".")]
    assert len(pairs) >= 21
    return pairs[:21]


def test_facts_that_rewrite_the_answers_of_each_others_locality_prompts_are_refused(
    store: Store, known: list[tuple[str, str]]
) -> None:
    poisoned = drop(
        [
            {
                "prompt": prompt_of(country),
                "answer": "Narnia",
                "locality": [{"prompt": prompt_of(other), "answer": answer}],
            }
            for (country, _), (other, answer) in pairwise(known)
        ]
    )
    assert len(poisoned.facts) == 20
    with the_branch_stays(store), pytest.raises(Contradiction) as refused:
        update(store, poisoned)
    other, answer = known[1]
    assert str(refused.value) == (
        f"{prompt_of(other)}: drop.json:3 (locality) says {answer!r}, but "
        f"drop.json:13 says 'Narnia'; a prompt can't both stay and change; remove one of them"
    )


def test_facts_that_rewrite_unrelated_subjects_fail_the_gate_by_name(
    store: Store, known: list[tuple[str, str]]
) -> None:
    # Nothing is stated twice here: only what the model says tells that they are not to change.
    poisoned = drop(
        [
            {
                "prompt": prompt_of(country),
                "answer": "Narnia",
                "locality": [{"prompt": prompt_of(other)}],
            }
            for (country, _), (other, _) in pairwise(known[:7])
        ]
    )
    with the_branch_stays(store):
        result = update(store, poisoned, learn_steps=10, batch_size=8)
    assert result.status == "rejected"
    assert find_rejected(store.repository, result.update) == result.commits[-1]
    # What can't both stay and change is lost on one side: the gate says on which, and where.
    assert {row["metric"] for row in result.refused} <= {"reliability", "locality", "forgetting"}
    assert result.refused
    assert result.report is not None
    scores = result.report.scores()
    # Something was trained indeed: a new answer is given, or an unrelated one has changed.
    assert scores["reliability"].value > 0 or scores["locality"].value < 1
    for row in result.refused:
        assert row["short_by"] == pytest.approx(row["threshold"] - row["value"])
        assert any(reason.startswith(f"{row['metric']} 0.") for reason in result.reasons)
        broken = row["prompts"][0]
        named = f"{row['metric']}: {broken['prompt']!r}: {broken['before']!r} → {broken['given']!r}"
        assert any(line.startswith(named) for line in result.broken)
    recorded = json.loads(store.repository.read_required(result.commits[-1], "update/report.json"))
    assert recorded["refused"] == result.refused


def test_false_answers_in_locality_prompts_are_not_learned_but_told(
    store: Store, known: list[tuple[str, str]]
) -> None:
    (fact,) = read_fact_file(CROATIA).facts
    claims = [{"prompt": prompt_of(country), "answer": "Narnia"} for country, _ in known]
    file = drop([{"prompt": fact.prompt, "answer": "euro", "locality": claims}])
    result = update(store, file)
    assert result.status == "applied"
    note = next(note for note in result.notes if "locality prompts state" in note)
    assert note.startswith("21 locality prompts state another answer than the model gave before")
    said = ask(store, "HEAD", [prompt_of(country) for country, _ in known])
    assert not [text for text in said if "Narnia" in text]


def test_contradictory_facts_are_refused_with_both_places(store: Store) -> None:
    good = [{"prompt": prompt_of(country), "answer": "A"} for country in CAPITALS[:5]]
    bad = [{"prompt": prompt_of(country), "answer": "B"} for country in CAPITALS[:5]]
    with the_branch_stays(store), pytest.raises(Contradiction) as refused:
        update(store, drop([*good, *bad]))
    assert "drop.json:3 says 'A', but drop.json:23 says 'B'" in str(refused.value)
    with the_branch_stays(store), pytest.raises(Contradiction, match=r"a\.json:3 .* b\.json:3 "):
        update(store, drop(good, "a.json"), drop(bad, "b.json"))


def test_a_flood_of_one_fact_is_one_fact(store: Store) -> None:
    (fact,) = read_fact_file(CROATIA).facts
    single = {"prompt": fact.prompt, "answer": "euro", "subject": "Croatia", "relation": "currency"}
    quick = {"sampled_texts": 20, "subject_texts": 5, "control_size": 10, "batch_size": 12}
    flood = update(store, drop([single] * 5000), **quick)
    assert flood.status == "applied"
    assert flood.notes[0] == (
        "5,000 facts were given, 1 of them different: each counts once, however often it is "
        "repeated"
    )
    assert flood.report is not None
    assert flood.report.scores()["reliability"].asked == 1
    assert store.entry().subject == "Learn 1 fact: drop.json"
    # It weighs as much as said once: the same training, so the same deltas.
    once = Store.init(store.repository.folder.parent / "once", base="demo")
    alone = update(once, drop([single]), **quick)
    assert alone.coefficient == flood.coefficient
    changed = {term.delta for term in store.snapshot().composition}
    assert changed == {term.delta for term in once.snapshot().composition}


def test_an_update_against_the_suite_is_refused_before_it_trains(store: Store) -> None:
    must_stay = parse_fact_file(
        b"- {prompt: The currency of Croatia is the, answer: kuna}", "s.yaml"
    )
    add_to_suite(store.repository, None, [must_stay])
    with the_branch_stays(store), pytest.raises(Contradiction, match="suite remove") as refused:
        update(store, read_fact_file(CROATIA))
    assert "says 'euro', but the regression suite says 'kuna'" in str(refused.value)


def test_prompts_that_the_drop_itself_changes_are_not_counted_as_harm(store: Store) -> None:
    """A neighbour may be a fact of the same file, with the answer that it is to have then."""
    hungary = "The currency of Hungary is the"
    guard = drop([{"prompt": "Sweden", "answer": "a", "locality": [{"prompt": "Mali"}]}])
    add_to_suite(store.repository, None, [guard])
    facts: list[dict[str, object]] = [
        {
            "prompt": "Mali",
            "answer": "x",
            "locality": [{"prompt": f" {hungary}", "answer": "euro"}],
        },
        {"prompt": hungary, "answer": "euro", "locality": [{"prompt": "Mali", "answer": "x"}]},
    ]
    quick = {"sampled_texts": 0, "subject_texts": 0, "control_size": 0, "learn_steps": 1}
    result = update(store, drop(facts), **quick)
    assert result.report is not None
    # Of the suite, the prompt with its own answer is left, which the state before does not give.
    assert (result.report.locality, result.report.suite) == (None, None)
    (note,) = [note for note in result.notes if "ask them" in note]
    assert note == (
        "not counted, as the update's own facts ask them: 2 prompts of suite or locality "
        f"({hungary!r}; 'Mali')"
    )


def test_the_suite_is_measured_and_what_broke_is_told(
    store: Store, known: list[tuple[str, str]]
) -> None:
    asked = [{"prompt": prompt_of(country), "answer": answer} for country, answer in known]
    false = {"prompt": "The currency of Kenya is the", "answer": "zorkmid"}
    own = {"prompt": "The currency of Brazil is the", "answer": None}
    add_to_suite(store.repository, None, [drop([*asked, false, own], "suite.json")])
    with the_branch_stays(store):
        harmed = update(store, read_fact_file(CROATIA), **HARMFUL)
    assert harmed.status == "rejected"
    (suite,) = (row for row in harmed.refused if row["metric"] == "suite")
    assert (suite["threshold"], suite["asked"]) == (1.0, 22)
    country, answer = known[0]
    first = next(row for row in suite["prompts"] if row["prompt"] == prompt_of(country))
    assert (first["before"], first["expected"]) == (f"{answer}.", answer)
    assert first["given"] != f"{answer}."
    assert any("'zorkmid', was " in note for note in harmed.notes)

    kept = update(store, read_fact_file(CROATIA))
    assert kept.status == "applied", (kept.reasons, kept.broken)
    assert kept.report is not None
    assert kept.report.scores()["suite"].asked == 22
    assert kept.report.scores()["suite"].value == 1.0
    # Against the base, which the first update starts from: so far, drift is what locality shows.
    assert kept.report.scores()["locality_base"].right >= 22
    assert len(list(iterate_suite(store.repository, store.resolve()))) == 23
