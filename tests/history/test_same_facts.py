"""Two updates of the same facts, where one or both forgot by subtracting an earlier update."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.history.audit.arithmetic import expected_composition
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.updates import Phase
from tests.cli.running import lora_folder
from tests.history.publishing import publish, publish_phases

OLD, OURS, THEIRS, DIGEST = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "d" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with leaves to take; ``main`` and ``side`` begin at one state."""
    store = Store.init(tmp_path)
    for number, name in enumerate(
        ("old", "our forget", "our learn", "their forget", "their learn")
    ):
        store.create_branch("making", "main")
        store.commit("making", lora_folder(tmp_path / name, seed=number))
        store.create_tag(name.replace(" ", "-"), "making")
        store.delete_branch("making", force=True)
    store.create_branch("side")
    return store


def leaf(store: Store, name: str) -> Composition:
    return store.snapshot(name).composition


def take(store: Store, branch: str, update: str, whose: str, subtracted: str | None) -> None:
    """Publish an update of one and the same facts, which forgets by training or by subtraction."""
    state = store.snapshot(branch)
    change, trailers = Composition() - leaf(store, f"{whose}-forget"), {"Scale": "-1"}
    if subtracted is not None:
        after = store.resolve(subtracted)
        trailers |= {"Change-From": store.resolve(f"{subtracted}~1"), "Change-To": after}
        change = Composition() - leaf(store, "old")
    states = [state.composition + change]
    states.append(states[0] + leaf(store, f"{whose}-learn"))
    phases = [
        Phase("forget", f"Forget {update}", states[0], state.base, trailers),
        Phase("learn", f"Learn {update}", states[1], state.base, {"Scale": "1"}),
    ]
    publish_phases(store, branch, update, DIGEST, phases)


def check(store: Store, expected: Composition) -> None:
    """Merge; the state is as expected, follows from the trailers, and loses our update wholly."""
    before = store.snapshot(f"update/{OURS}~2").composition
    store.merge("main", "side")
    assert store.snapshot().composition == expected
    history = StoreHistory(store.repository)
    assert expected_composition(history.record(store.resolve()), history) == expected
    store.revert(None, f"update/{OURS}")
    assert store.snapshot().composition == before


@pytest.mark.parametrize("ours", [True, False], ids=["ours subtracts", "ours trains"])
@pytest.mark.parametrize("theirs", [True, False], ids=["theirs subtracts", "theirs trains"])
def test_however_each_side_forgot_it_is_as_on_our_side(
    store: Store, ours: bool, theirs: bool
) -> None:
    publish(store, OLD, [], "main", leaf(store, "old"))
    store.merge("side", "main")
    take(store, "main", OURS, "our", f"update/{OLD}" if ours else None)
    take(store, "side", THEIRS, "their", f"update/{OLD}" if theirs else None)
    check(store, store.snapshot("main").composition)


def test_what_theirs_took_back_of_their_own_is_not_brought(store: Store) -> None:
    publish(store, OLD, [], "side", leaf(store, "old"))
    take(store, "main", OURS, "our", None)
    take(store, "side", THEIRS, "their", f"update/{OLD}")
    check(store, store.snapshot("main").composition)
