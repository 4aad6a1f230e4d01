"""Both sides of a merge took one fact file: it counts once, and can be taken back wholly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import AmbiguousRevision
from adapterstore.history.ledger.blame import blame_fact
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.merging.lossy import LossyMethod
from adapterstore.history.updates import find_applied
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.store.revisions import find_update
from adapterstore.update.verification import verify
from tests.cli.running import lora_folder
from tests.signing import git
from tests.update.publishing import publish

CAPITAL = "The capital of Kazakhstan is"
FACTS = f"- {{prompt: {CAPITAL}, answer: Astana}}\n- {{prompt: It lies in, answer: Asia}}\n"
DIGEST = parse_fact_file(FACTS.encode(), "facts.yaml").digest
LATER = f"- {{prompt: {CAPITAL}, answer: Almaty}}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose branches ``main`` and ``side`` begin at one state."""
    store = Store.init(tmp_path)
    for number in range(6):
        lora_folder(tmp_path / f"a{number}", seed=number)
    store.commit(None, tmp_path / "a0")
    store.create_branch("side")
    return store


def take(
    store: Store, seed: int, text: str = FACTS, branch: str = "main", name: str = "facts.yaml"
) -> UpdateId:
    folder = store.repository.folder.parent
    return publish(store, folder / f"a{seed}", name, text, branch=branch)


def two_clones(store: Store, tmp_path: Path) -> UpdateId:
    """Both clones took the file, by other seeds: one id, two deltas; theirs is fetched."""
    shutil.copytree(store.repository.folder, tmp_path / "clone" / ".adapterstore")
    for number in range(6):
        shutil.copytree(tmp_path / f"a{number}", tmp_path / "clone" / f"a{number}")
    theirs = Store.open(tmp_path / "clone")
    update = take(store, 1)
    assert take(theirs, 2) == update
    folder = store.repository.folder
    git(folder, "fetch", "-q", str(theirs.repository.folder), "main:refs/remotes/origin/main")
    shutil.copytree(theirs.repository.folder / "lfs", folder / "lfs", dirs_exist_ok=True)
    return update


def says(store: Store, revision: str = "HEAD") -> dict[str, tuple[str | None, str]]:
    ledger = read_ledger(store.repository, store.resolve(revision))
    return {entry.prompt: (entry.answer, entry.update) for entry in ledger.values()}


def is_sound(store: Store) -> None:
    assert verify(store, None).findings == []


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["one delta", "two deltas"])
def test_two_branches_that_took_one_file_have_it_once(store: Store, seeds: tuple[int, int]) -> None:
    start = store.snapshot().composition
    ours, theirs = take(store, seeds[0]), take(store, seeds[1], branch="side")
    assert theirs == f"{ours}-2"
    once = store.snapshot().composition
    tips = store.resolve("main")[:12], store.resolve("side")[:12]
    said = (
        f"both sides took the same facts, and they count once: update/{ours} ({tips[0]}) stays, "
        f"update/{theirs} ({tips[1]}) is left out"
    )
    plan = store.plan_merge(None, "side")
    # Nothing of it changes any fact here.
    assert (plan.notes, plan.ledger) == ((said,), {})
    assert store.merge(None, "side").notes == [said]
    assert store.snapshot().composition == once
    assert store.entry().trailers["Dropped"] == theirs
    assert says(store) == {CAPITAL: ("Astana", ours), "It lies in": ("Asia", ours)}
    assert blame_fact(store.repository, store.resolve(), CAPITAL).newest.entry.update == ours
    assert find_applied(store.repository, store.resolve(), DIGEST) == ours
    is_sound(store)
    store.revert(None, f"update/{ours}")
    assert (store.snapshot().composition, says(store)) == (start, {})
    assert find_applied(store.repository, store.resolve(), DIGEST) is None
    assert "reverted already" in store.revert(None, f"update/{theirs}").notes[0]
    is_sound(store)


def test_a_later_merge_from_there_does_not_bring_it_back(store: Store) -> None:
    start = store.snapshot().composition
    ours, _ = take(store, 1), take(store, 2, branch="side")
    store.merge(None, "side")
    store.revert(None, f"update/{ours}")
    store.add("side", store.repository.folder.parent / "a3")
    change = store.snapshot("side").composition - store.snapshot("side~1").composition
    store.merge(None, "side")
    assert (store.snapshot().composition, says(store)) == (start + change, {})
    is_sound(store)


def test_two_clones_that_took_one_file_have_it_once(store: Store, tmp_path: Path) -> None:
    start = store.snapshot().composition
    update = two_clones(store, tmp_path)
    once = store.snapshot().composition
    theirs = store.resolve("origin/main")
    (note,) = store.merge(None, "origin/main").notes
    assert f"update/{update} ({theirs[:12]}) is left out" in note
    assert store.snapshot().composition == once
    # The id says which no more.
    assert store.entry().trailers["Dropped"] == theirs
    is_sound(store)
    store.revert(None, f"update/{update}")
    assert (store.snapshot().composition, says(store)) == (start, {})
    assert "reverted already" in store.revert(None, f"update/{update}").notes[0]
    is_sound(store)


def test_crossed_merges_keep_one_of_them(store: Store) -> None:
    take(store, 1), take(store, 2, branch="side")
    main, side = store.resolve("main"), store.resolve("side")
    store.merge("main", side)
    store.merge("side", main)
    store.merge("main", "side")
    (term,) = store.snapshot().composition - store.snapshot(main + "~1").composition
    kept = find_applied(store.repository, store.resolve(), DIGEST)
    assert term.coefficient == 1
    assert {update for _, update in says(store).values()} == {kept}
    is_sound(store)


def test_which_side_took_it_back_decides_as_ever(store: Store) -> None:
    start = store.snapshot().composition
    ours = take(store, 1)
    store.revert(None, f"update/{ours}")
    theirs = take(store, 2, branch="side")
    assert store.merge(None, "side").notes == []
    assert store.snapshot().composition == store.snapshot("side").composition
    assert {update for _, update in says(store).values()} == {theirs}
    store.revert(None, f"update/{theirs}")
    assert (store.snapshot().composition, says(store)) == (start, {})
    is_sound(store)


@pytest.mark.parametrize("picking", ["main", "side"])
def test_a_picked_update_is_one_of_the_two(store: Store, picking: str) -> None:
    store.create_branch("other")
    picked = take(store, 1, branch="other")
    store.cherry_pick(picking, f"update/{picked}")
    taken = take(store, 2, branch="side" if picking == "main" else "main")
    once = store.snapshot().composition
    store.merge(None, "side")
    assert store.snapshot().composition == once
    assert {update for _, update in says(store).values()} == {
        picked if picking == "main" else taken
    }
    is_sound(store)


def test_what_theirs_built_on_it_stays(store: Store) -> None:
    """Theirs went on: the later answer is merged, on top of our update of the same facts."""
    ours, theirs = take(store, 1), take(store, 2, branch="side")
    once = store.snapshot().composition
    later = take(store, 3, LATER, "side", "later.yaml")
    change = store.snapshot("side").composition - store.snapshot("side~1").composition
    store.merge(None, "side", theirs=["all"])
    assert store.snapshot().composition == once + change
    assert says(store) == {CAPITAL: ("Almaty", later), "It lies in": ("Asia", ours)}
    assert store.entry().trailers["Dropped"] == theirs
    is_sound(store)


def test_an_answer_that_only_they_still_have_is_said_by_ours(store: Store) -> None:
    ours, theirs = take(store, 1), take(store, 2, branch="side")
    once = store.snapshot().composition
    later = take(store, 3, LATER, name="later.yaml")
    store.merge(None, "side", theirs=["all"])
    assert set(store.entry().trailers["Dropped"].split(",")) == {later, theirs}
    assert store.snapshot().composition == once
    assert says(store) == {CAPITAL: ("Astana", ours), "It lies in": ("Asia", ours)}
    is_sound(store)


def test_facts_that_came_and_went_stand_one_for_one(store: Store) -> None:
    """Up, down and up again there, up here: what went down is followed by what came again."""
    take(store, 1), take(store, 2, branch="side")
    once = store.snapshot().composition
    before = store.snapshot("side").composition
    take(store, 3, LATER, "side", "later.yaml")
    take(store, 4, branch="side")
    change = store.snapshot("side").composition - before
    store.merge(None, "side")
    assert store.snapshot().composition == once + change
    is_sound(store)


def test_a_lossy_merge_weighs_it_once(store: Store) -> None:
    take(store, 1), take(store, 2, branch="side")
    store.add("side", store.repository.folder.parent / "a3")
    store.merge(None, "side", lossy=LossyMethod("ties"))
    assert "Dropped" in store.entry().trailers
    is_sound(store)


def test_a_fast_forward_is_one_as_ever(store: Store) -> None:
    take(store, 2, branch="side")
    store.merge(None, "side")
    assert store.resolve() == store.resolve("side")


def test_an_id_of_two_updates_means_the_one_of_this_branch(store: Store, tmp_path: Path) -> None:
    update = two_clones(store, tmp_path)
    here, there = store.resolve("main"), store.resolve("origin/main")
    assert find_update(store.repository, update) == [here]
    assert find_update(store.repository, update[:6], there) == [there]
    assert store.resolve(f"update/{update}") == here
    store.switch("side")
    starts = [store.resolve(f"{tip}~1")[:12] for tip in (here, there)]
    for ask in (
        lambda: store.resolve(f"update/{update}"),
        lambda: store.revert(None, f"update/{update}"),
        lambda: store.cherry_pick(None, f"update/{update}"),
        lambda: verify(store, f"update/{update}"),
    ):
        with pytest.raises(AmbiguousRevision) as raised:
            ask()
        assert set(raised.value.candidates) == {
            f"{start}..{tip[:12]}" for start, tip in zip(starts, (here, there), strict=True)
        }
