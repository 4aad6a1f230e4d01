"""Protected facts and the suite: an update that loses one goes on learning, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.evaluation.gate import Gate
from adapterstore.history.ledger.protecting import protect_facts
from adapterstore.history.ledger.suite import add_to_suite
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.asking import ask
from adapterstore.update.replay import replay

POLAND = "The currency of Poland is the"
CHANGED = "\n".join(
    f"- {{prompt: The currency of {country} is the, answer: euro, old_answer: {old}}}"
    for country, old in (("Croatia", "kuna"), ("Hungary", "forint"), ("Japan", "yen"))
)
# So weak a preserve term lets the first turn of learning take Poland's currency along.
WEAK = Recipe(
    forget=False,
    learn_steps=10,
    batch_size=8,
    preserve_weight=1e-6,
    sampled_texts=0,
    subject_texts=0,
    control_size=0,
)


def facts(text: str, name: str) -> FactFile:
    return parse_fact_file(text.encode(), name)


def protect(store: Store) -> None:
    must_hold = facts(f"- {{prompt: {POLAND}, answer: zloty}}\n", "must-hold.yaml")
    protect_facts(store.repository, None, [], [must_hold])


def add_suite(store: Store) -> None:
    must_stay = facts(f"- {{prompt: {POLAND}, answer: zloty}}\n", "must-stay.yaml")
    add_to_suite(store.repository, None, [must_stay])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.init(tmp_path, base="demo")


@pytest.mark.parametrize(("figure", "guard"), [("protected", protect), ("suite", add_suite)])
def test_learning_goes_on_until_what_is_required_is_said_again(
    store: Store, figure: str, guard: Callable[[Store], None]
) -> None:
    guard(store)
    changed = facts(CHANGED, "changed.yaml")
    result = run_update(store, [changed], recipe=WEAK, gate=Gate())
    assert (result.status, result.reasons) == ("applied", [])
    assert result.report is not None
    score = result.report.scores()[figure]
    assert (score.right, score.asked) == (1, 1)
    assert ask(store, "HEAD", [POLAND]) == ["zloty."]
    replayed = replay(store, f"update/{result.update}")
    assert replayed.identical
    assert replayed.environment == []


@pytest.mark.parametrize(("figure", "guard"), [("protected", protect), ("suite", add_suite)])
def test_what_training_does_not_hold_is_refused(
    store: Store, figure: str, guard: Callable[[Store], None]
) -> None:
    guard(store)
    before = store.resolve()
    plain = WEAK.model_copy(update={"preserve_weight": 0.0})
    result = run_update(store, [facts(CHANGED, "changed.yaml")], recipe=plain, gate=Gate())
    assert result.status == "rejected"
    assert f"{figure} 0.00 is below 1 by 1 (0 of 1)" in result.reasons
    assert store.resolve() == before
