"""Merges: exact sums, ledgers fact by fact, what is refused, what is left out."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.errors import (
    BaseModelMismatch,
    MainlineNeeded,
    MergeConflict,
    NoSuchConflict,
    NotFastForward,
    PartlyInEffect,
    RefMoved,
    UnknownRevision,
)
from adapterstore.history.merging.ancestry import merge_bases
from adapterstore.knowledge.facts import Fact
from tests.cli.running import lora_folder
from tests.history.publishing import answers, entries, publish

CROATIA = {"subject": "Croatia", "relation": "currency"}
A, B, C, D = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose branches ``main`` and ``side`` begin at one state."""
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    for number, name in enumerate("bcd", 2):
        lora_folder(tmp_path / name, seed=number)
        store.create_branch(f"only-{name}", "HEAD~1")
        store.commit(f"only-{name}", tmp_path / name)
    store.create_branch("side")
    return store


def leaf(store: Store, name: str) -> Composition:
    return store.snapshot(f"only-{name}").composition


def known(prompt: str, answer: str | None, **more: Any) -> Fact:
    return Fact(prompt=prompt, answer=answer, **more)


def coefficients(store: Store, revision: str = "HEAD") -> list[Decimal]:
    return sorted(term.coefficient for term in store.snapshot(revision).composition)


def test_a_merge_is_the_sum_of_both_sides(store: Store, tmp_path: Path) -> None:
    start = store.snapshot().composition
    store.add("main", tmp_path / "b", coefficient="0.5")
    store.add("side", tmp_path / "c", coefficient="-0.3")
    result = store.merge(None, "side")
    change = leaf(store, "b").scaled(Decimal("0.5")) + leaf(store, "c").scaled(Decimal("-0.3"))
    assert store.snapshot().composition == start + change
    entry = store.entry()
    assert entry.parents == (store.resolve("HEAD~1"), store.resolve("side"))
    assert entry.trailers["Operation"] == "merge"
    assert entry.trailers["Merged"] == store.resolve("side")
    assert (result.changed, result.notes) == (True, [])
    assert not store.merge(None, "side").changed


def test_fast_forward_or_not(store: Store, tmp_path: Path) -> None:
    store.add("side", tmp_path / "b")
    publish(store, "aaaa", [Fact(prompt="P is", answer="x")], "side")
    start, tip = store.resolve(), store.resolve("side")
    plan = store.plan_merge(None, "side")
    assert plan.composition == store.snapshot("side").composition
    assert len(plan.ledger) == 1
    assert store.merge(None, "side", fast_forward="only").commit == tip
    store.reset(None, start)
    made = store.merge(None, "side", fast_forward="never").commit
    assert store.repository.parents(made) == [start, tip]
    assert store.snapshot().composition == store.snapshot("side").composition
    store.add("side", tmp_path / "c")
    with pytest.raises(NotFastForward) as raised:
        store.merge(None, "side", fast_forward="only")
    assert raised.value.other == "side"
    assert store.resolve() == made


def test_facts_of_one_side_are_taken_over(store: Store) -> None:
    publish(store, A, [known("P", "1"), known("Q", "1")])
    store.merge("side", "main")
    publish(store, B, [known("P", "2")], "main")
    publish(store, C, [known("Q", "2"), known("R", "3")], "side")
    assert store.merge(None, "side").changed
    assert answers(store) == {"P": "2", "Q": "2", "R": "3"}
    assert {e.prompt: e.update for e in entries(store).values()} == {"P": B, "Q": C, "R": C}


def conflicting(store: Store) -> None:
    """Main says euro and one thing more, side says lipa and nothing else."""
    publish(store, A, [known("The currency of Croatia is the", "kuna", **CROATIA)])
    store.merge("side", "main")
    euro = known("The currency of Croatia is the", "euro", **CROATIA)
    publish(store, B, [euro, known("R", "3")], "main", leaf(store, "b"))
    publish(store, C, [known("Croatia pays with the", "lipa", **CROATIA)], "side", leaf(store, "c"))


def test_two_answers_to_one_fact_are_refused_and_named(store: Store) -> None:
    conflicting(store)
    tips = store.resolve("main"), store.resolve("side")
    with pytest.raises(MergeConflict) as raised:
        store.merge(None, "side")
    (conflict,) = raised.value.conflicts
    assert (conflict.fact, conflict.base) == ("Croatia, currency", "kuna")
    assert (conflict.ours, conflict.ours_commit, conflict.ours_update) == ("euro", tips[0], B)
    assert (conflict.theirs, conflict.theirs_commit, conflict.theirs_update) == ("lipa", tips[1], C)
    for part in ("Croatia, currency", "'euro'", "'lipa'", tips[0][:12], tips[1][:12], B, C):
        assert part in str(raised.value)
    assert (store.resolve("main"), store.resolve("side")) == tips


def test_an_update_that_loses_all_its_facts_is_left_out(store: Store) -> None:
    conflicting(store)
    before = store.snapshot().composition
    result = store.merge(None, "side", ours=["Croatia, currency"])
    assert store.snapshot().composition == before
    trailers = store.entry().trailers
    assert trailers["Dropped"] == C
    assert len(trailers["Resolved-Ours"]) == 40
    assert answers(store)["The currency of Croatia is the"] == "euro"
    assert f"update/{C}" in result.notes[0]
    again = store.revert(None, f"update/{C}")
    assert not again.changed
    assert "reverted already" in again.notes[0]


def test_an_update_that_loses_some_facts_stays_in_the_sum(store: Store) -> None:
    conflicting(store)
    both = store.snapshot().composition + leaf(store, "c")
    result = store.merge(None, "side", theirs=["Croatia pays with the"])
    assert store.snapshot().composition == both
    assert "Dropped" not in store.entry().trailers
    assert answers(store) == {"Croatia pays with the": "lipa", "R": "3"}
    assert "adapterstore eval" in result.notes[0]


def test_all_decides_what_is_not_named(store: Store) -> None:
    conflicting(store)
    publish(store, D, [known("R", "4")], "side", leaf(store, "d"))
    plan = store.plan_merge(None, "side", ours=["R"], theirs=["all"])
    assert plan.outcome == "merge"
    store.merge(None, "side", ours=["R"], theirs=["all"])
    assert answers(store) == {"Croatia pays with the": "lipa", "R": "3"}
    assert store.entry().trailers["Dropped"] == D


def test_a_choice_has_to_fit_a_conflict(store: Store) -> None:
    conflicting(store)
    with pytest.raises(NoSuchConflict, match="'R' is not in conflict; in conflict: 'Croatia, curr"):
        store.merge(None, "side", ours=["R"])
    with pytest.raises(NoSuchConflict, match="given to both sides"):
        store.merge(None, "side", ours=["all"], theirs=["all"])
    with pytest.raises(NoSuchConflict, match="given to both sides"):
        store.merge(None, "side", ours=["Croatia, currency"], theirs=["Croatia pays with the"])


def test_the_same_answer_on_both_sides_is_no_conflict(store: Store) -> None:
    publish(store, A, [known("P", "é", paraphrases=("mine",))], "main")
    publish(store, B, [known("P", "é", paraphrases=("yours",))], "side")
    store.merge(None, "side")
    (entry,) = entries(store).values()
    assert (entry.update, entry.paraphrases) == (A, ("mine", "yours"))


def test_a_fact_taken_back_here_and_changed_there_is_a_conflict(store: Store) -> None:
    publish(store, A, [known("P", "1")])
    store.merge("side", "main")
    store.revert("main", f"update/{A}")
    publish(store, B, [known("P", "2")], "side")
    with pytest.raises(MergeConflict, match=r"'P': ours is no answer .* theirs is '2'"):
        store.merge(None, "side")
    store.merge(None, "side", theirs=["P"])
    assert answers(store) == {"P": "2"}


def test_what_was_picked_and_then_merged_counts_once(store: Store) -> None:
    start = store.snapshot().composition
    publish(store, A, [known("P", "1")], "side", leaf(store, "b"))
    picked = store.cherry_pick(None, f"update/{A}")
    assert answers(store) == {"P": "1"}
    assert entries(store)["P"].update == A
    once = store.snapshot().composition
    result = store.merge(None, "side")
    assert store.snapshot().composition == once
    assert result.notes == [f"both sides did it, and it counts once: {store.resolve('side')[:12]}"]
    assert store.entry().trailers["Dropped"] == store.resolve("side")
    store.revert(None, picked.commit)
    assert (store.snapshot().composition, answers(store)) == (start, {})
    assert not store.revert(None, f"update/{A}").changed


def test_what_both_sides_took_back_is_taken_back_once(store: Store) -> None:
    publish(store, A, [known("P", "1")], "main", leaf(store, "b"))
    store.merge("side", "main")
    start = store.snapshot("main~1").composition
    store.revert("main", f"update/{A}")
    store.revert("side", "side", message="in other words")
    store.merge(None, "side")
    assert store.snapshot().composition == start
    assert store.entry().trailers["Restored"] == store.resolve("side~1")
    assert answers(store) == {}


def test_crossed_merges_have_a_virtual_base(store: Store, tmp_path: Path) -> None:
    store.add("main", tmp_path / "b")
    store.add("side", tmp_path / "c")
    publish(store, A, [known("P", "1")], "main")
    publish(store, B, [known("P", "2")], "side")
    main, side = store.resolve("main"), store.resolve("side")
    store.merge("main", side, ours=["P"])
    store.merge("side", main, theirs=["P"])
    assert set(merge_bases(store.repository, store.resolve("main"), store.resolve("side"))) == {
        main,
        side,
    }
    ours = subprocess.run(
        ["git", "merge-base", "--all", "main", "side"],
        cwd=store.repository.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ours.stdout.split()) == {main, side}
    store.add("main", tmp_path / "d", coefficient="2")
    whole = store.snapshot("main").composition
    assert store.merge(None, "side").changed
    assert store.snapshot().composition == whole
    assert answers(store) == {"P": "1"}


def test_a_merge_is_reverted_against_one_of_its_parents(store: Store, tmp_path: Path) -> None:
    store.add("main", tmp_path / "b")
    publish(store, A, [known("P", "1")], "side", leaf(store, "c"))
    mainline = store.snapshot("main").composition
    merged = store.merge("main", "side").commit
    store.add("main", tmp_path / "d")
    with pytest.raises(MainlineNeeded) as raised:
        store.revert(None, merged)
    assert raised.value.parents == store.repository.parents(merged)
    with pytest.raises(UnknownRevision, match="has 2 parents, no number 3"):
        store.revert(None, merged, mainline=3)
    with pytest.raises(UnknownRevision, match="is no merge"):
        store.revert(None, "HEAD", mainline=1)
    store.revert(None, merged, mainline=1)
    assert store.snapshot().composition == mainline + leaf(store, "d")
    assert answers(store) == {}
    assert not store.revert(None, f"update/{A}").changed
    store.revert(None, "HEAD")
    store.revert(None, merged, mainline=2)
    assert store.snapshot().composition == mainline - leaf(store, "b") + leaf(store, "c") + leaf(
        store, "d"
    )


def test_a_part_of_a_range_that_was_taken_back_is_not_taken_back_twice(
    store: Store, tmp_path: Path
) -> None:
    for name in "bcd":
        store.add(None, tmp_path / name)
    store.revert(None, "HEAD~1")
    with pytest.raises(PartlyInEffect) as raised:
        store.revert(None, "HEAD~4..HEAD~1")
    gone, by = store.resolve("HEAD~2"), store.resolve()
    left = [store.resolve("HEAD~3"), store.resolve("HEAD~1")]
    assert raised.value.not_in_effect == [gone]
    assert set(raised.value.in_effect) == set(left)
    assert str(raised.value).endswith(
        f"{gone[:12]} is not, through {by[:12]}; name the commits one by one, "
        f"'adapterstore revert {raised.value.in_effect[0][:12]}', or revert {by[:12]} first"
    )
    store.revert(None, "HEAD")
    store.revert(None, "HEAD~5..HEAD~2")
    assert coefficients(store) == [1]


def test_of_a_range_that_takes_something_back_a_part_may_be_done(
    store: Store, tmp_path: Path
) -> None:
    undone = store.add("main", tmp_path / "b").commit
    store.merge("side", "main")
    back = store.revert("side", undone).commit
    added = store.add("side", tmp_path / "c").commit
    store.cherry_pick("main", added)
    with pytest.raises(PartlyInEffect) as raised:
        store.cherry_pick("main", "main~1..side")
    assert (raised.value.in_effect, raised.value.not_in_effect) == ([added], [back])


def test_picking_takes_commits_ranges_and_updates(store: Store, tmp_path: Path) -> None:
    for name in "bcd":
        store.add("side", tmp_path / name)
    start = store.snapshot().composition
    store.cherry_pick(None, "side~1")
    assert store.snapshot().composition == start + leaf(store, "c")
    assert store.entry().trailers["Change-To"] == store.resolve("side~1")
    again = store.cherry_pick(None, "side~1")
    assert not again.changed
    assert f"in effect here already, by {store.resolve()[:12]}" in again.notes[0]
    with pytest.raises(PartlyInEffect) as raised:
        store.cherry_pick(None, "main..side")
    missing = raised.value.not_in_effect[0][:12]
    assert f"'adapterstore cherry-pick {missing}', or revert {store.resolve()[:12]} first" in str(
        raised.value
    )
    store.revert(None, "HEAD")
    store.cherry_pick(None, "main..side")
    assert store.snapshot().composition == store.snapshot("side").composition


def test_what_was_picked_can_be_taken_back_by_its_own_name(store: Store) -> None:
    publish(store, A, [known("P", "1")], "side", leaf(store, "b"))
    start = store.snapshot().composition
    store.cherry_pick(None, f"update/{A}")
    store.revert(None, f"update/{A}")
    assert (store.snapshot().composition, answers(store)) == (start, {})
    with pytest.raises(UnknownRevision, match="not part of this branch's history"):
        store.revert(None, f"update/{A}")


def test_a_picked_fact_must_not_contradict(store: Store) -> None:
    publish(store, A, [known("P", "1")], "side")
    publish(store, B, [known("P", "2")], "side")
    publish(store, C, [known("P", "3")], "main")
    tip = store.resolve()
    with pytest.raises(MergeConflict, match="'P': ours is '3'") as raised:
        store.cherry_pick(None, f"update/{B}")
    assert raised.value.conflicts[0].theirs_update == B
    assert store.resolve() == tip


def test_expect_finds_the_merge_and_the_move_that_it_made(store: Store, tmp_path: Path) -> None:
    store.add("side", tmp_path / "b")
    start = store.resolve()
    moved = store.merge(None, "side", expect=start)
    assert not store.merge(None, "side", expect=start).changed
    store.add("side", tmp_path / "c")
    store.add("main", tmp_path / "d")
    merged = store.merge(None, "side", expect="main")
    again = store.merge(None, "side", expect=store.resolve("main~1"))
    assert (again.commit, again.changed) == (merged.commit, False)
    with pytest.raises(RefMoved):
        store.merge(None, "only-b", expect=moved.commit)


def test_states_of_two_base_models_are_not_merged(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    store.create_branch("side")
    store.commit("main", lora_folder(tmp_path / "a", base="org/one"))
    store.commit("side", lora_folder(tmp_path / "b", base="org/two", seed=1))
    for attempt in (store.merge, store.cherry_pick, store.add):
        with pytest.raises(BaseModelMismatch, match=r"'org/one'.*'org/two'"):
            attempt(None, "side")  # type: ignore[operator]
    store.settings.with_value("base.aliases", ["org/two"]).write()
    store.merge(None, "side")
    assert store.snapshot().base.name == "org/one"
    assert len(store.snapshot().composition) == 2


def test_a_base_that_one_side_knows_is_known_after_the_merge(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    store.create_branch("side")
    store.commit("side", lora_folder(tmp_path / "a", base="org/one"))
    store.add(None, "side")
    assert store.snapshot().base == store.snapshot("side").base
