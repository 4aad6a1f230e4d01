"""An update that would pass the rank limit folds the sum, in the same move of the branch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.gate import Gate
from adapterstore.history.compacting import total_rank
from adapterstore.history.fsck import fsck
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import UpdateResult, run_update
from adapterstore.update.asking import evaluate_facts
from adapterstore.update.settings import read_compact_settings
from adapterstore.update.verification import verify

QUICK = Recipe(
    rank=2,
    forget_steps=5,
    learn_steps=2,
    coefficient=1,
    sampled_texts=0,
    subject_texts=0,
    control_size=0,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path, base="demo")
    store.settings.with_value("compact.rank_limit", 4).write()
    store.base_folder()
    return store


def facts(prompt: str, answer: str) -> FactFile:
    return parse_fact_file(f"- {{prompt: {prompt}, answer: {answer}}}\n".encode(), "x.yaml")


def update(store: Store, file: FactFile, gate: Gate = NO_GATE) -> UpdateResult:
    return run_update(store, [file], recipe=QUICK, gate=gate)


def test_a_third_commit_folds_and_the_figures_are_of_what_it_gives(store: Store) -> None:
    first = facts("The currency of Croatia is the", "euro")
    assert len(update(store, first).commits) == 2
    assert total_rank(store.repository, store.snapshot().composition) == 4
    start = store.resolve()
    result = update(store, facts("The capital of Kazakhstan is", "Paris"))
    compacted, learn, forget, *_ = store.log()
    assert [forget.commit, learn.commit, compacted.commit] == result.commits
    assert [e.operation for e in (forget, learn, compacted)] == ["forget", "learn", "compact"]
    moves = [str(m.oid_old) for m in store.repository.git.references["refs/heads/main"].log()]
    assert moves[0] == start
    (term,) = store.snapshot().composition
    assert term.role == "compact"
    assert total_rank(store.repository, store.snapshot().composition) == 4
    report = json.loads(store.repository.read_required(learn.commit, "update/report.json"))
    assert report["compaction"]["delta"] == term.delta
    assert report["compaction"]["rank_before"] == 8
    stated = float(compacted.trailers["Relative-Error"])
    assert 0 < stated == pytest.approx(report["compaction"]["relative_error"], rel=0.01)
    assert any("would pass compact.rank_limit (4): folded to rank 4" in n for n in result.notes)
    # What was measured is what is there now.
    assert result.report is not None
    measured = evaluate_facts(store, "HEAD", [facts("The capital of Kazakhstan is", "Paris")])
    assert measured.log_probabilities == pytest.approx(result.report.log_probabilities, abs=1e-3)
    # Folded, the first update is in effect all the same.
    assert update(store, first).status == "already-applied"
    assert verify(store).findings == []
    assert fsck(store.repository).problems == []


def test_a_refused_update_leaves_the_branch_alone(store: Store) -> None:
    update(store, facts("The currency of Croatia is the", "euro"))
    before = store.resolve()
    gate = Gate.parse({**NO_GATE.model_dump(), "reliability": 1.0}, "gate")
    result = update(store, facts("The capital of Kazakhstan is", "Paris"), gate)
    assert result.status == "rejected"
    assert store.resolve() == before
    assert [store.entry(c).operation for c in result.commits] == ["forget", "learn"]


def test_a_rank_above_the_limit_is_no_rule(store: Store) -> None:
    store.settings.with_value("compact.rank", 5).write()
    with pytest.raises(InvalidSetting, match=r"compact\.rank 5 is above rank_limit 4"):
        read_compact_settings(store.settings)
