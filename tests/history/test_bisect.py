"""Halving a history: few questions, and an answer that says no more than what was asked."""

from __future__ import annotations

from math import ceil, log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from adapterstore import Store
from adapterstore.errors import UnknownRevision
from adapterstore.history.bisect import State, find_flip, most_evaluations, read_states
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact
from tests.cli.running import lora_folder
from tests.history.histories import teach


def states_of(blobs: list[int]) -> list[State]:
    """Return one state a commit; equal numbers are equal sums."""
    return [State(CommitId(f"c{n}"), CommitId(f"c{n}"), str(b)) for n, b in enumerate(blobs)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.sets(st.integers(0, 40)))
@hypothesis_settings(derandomize=True, max_examples=300)
def test_a_flip_is_one_and_few_states_are_asked(blobs: list[int], giving: set[int]) -> None:
    states = states_of(blobs)
    asked: list[str] = []

    def holds(state: State) -> bool:
        asked.append(state.blob)
        return int(state.blob) in giving

    flip = find_flip(states, holds)
    assert len(asked) <= ceil(log2(len(states))) + 2 == most_evaluations(len(states))
    assert len(asked) == len(set(asked))
    first, last = (blobs[0] in giving), (blobs[-1] in giving)
    if first == last:
        assert flip is None
        return
    assert flip is not None
    assert states.index(flip.after) == states.index(flip.before) + 1
    assert (int(flip.before.blob) in giving) == first
    assert (int(flip.after.blob) in giving) == last


@given(st.integers(2, 2000), st.data())
@hypothesis_settings(derandomize=True)
def test_of_one_flip_the_very_commit_is_found(count: int, data: st.DataObject) -> None:
    where = data.draw(st.integers(1, count - 1))
    flip = find_flip(states_of(list(range(count))), lambda state: int(state.blob) >= where)
    assert flip is not None
    assert flip.after.first == f"c{where}"


def test_states_are_runs_of_one_composition(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    first = store.resolve()
    teach(store, "aaaa", [Fact(prompt="p", answer="x")])
    still = store.resolve()
    added = store.add(None, lora_folder(tmp_path / "a")).commit
    teach(store, "bbbb", [Fact(prompt="p", answer="y")])
    later = store.resolve()
    back = store.revert(None, added).commit
    states = read_states(store.repository, back)
    assert [(s.first, s.last) for s in states] == [(first, still), (added, later), (back, back)]
    assert states[0].blob == states[2].blob != states[1].blob
    assert read_states(store.repository, later, still)[0].first == still
    with pytest.raises(UnknownRevision, match="is not on the first-parent history"):
        read_states(store.repository, still, later)
