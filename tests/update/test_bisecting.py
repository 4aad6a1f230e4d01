"""Blame by the model: the real demo model along histories of exact hand-made deltas."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.errors import CannotBisect, UnknownRevision
from adapterstore.evaluation import generation
from adapterstore.history.attach import attach_composition, attached
from adapterstore.history.base import stored_dtypes
from adapterstore.history.state_answers import STATES
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact
from adapterstore.learning import loading
from adapterstore.store.cache import CACHE_NAME
from adapterstore.update.asking import ask
from adapterstore.update.bisecting import bisect_answer
from tests.history.histories import teach
from tests.update.leaves import LAYER, answering, load_demo, noise

CROATIA = "The currency of Croatia is the"
ASTANA = "カザフスタンの首都は"


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    answering(folder / "euro", CROATIA, "euro")
    answering(folder / "tokyo", ASTANA, "東京")
    noise(folder / "noise")
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt that the real model was asked from now on."""
    prompts: list[str] = []
    real: Callable[..., list[str]] = generation.greedy_answers

    def counted(model: Any, tokenizer: Any, given: list[str], **options: Any) -> list[str]:
        prompts.extend(given)
        return real(model, tokenizer, given, **options)

    monkeypatch.setattr(generation, "greedy_answers", counted)
    return prompts


def drift(store: Store, leaves: Path, count: int) -> None:
    """Add states that answer as before, and commits that are no states of their own."""
    for number in range(count):
        store.add(None, leaves / "noise")
        if number % 2:
            teach(store, f"{store.resolve()[:8]}", [Fact(prompt=f"{number}番は", answer="x")])


def test_the_commit_is_found_by_few_questions_and_then_by_none(
    store: Store, leaves: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drift(store, leaves, 5)
    guilty = store.add(None, leaves / "tokyo").commit
    drift(store, leaves, 15)
    found = bisect_answer(store, ASTANA)
    assert found.commit == guilty
    assert found.gives
    assert (found.before or "").startswith("アスタナ")
    assert found.after.startswith("東")
    # 1 + 5 + 1 + 15 sums; the commits that change the ledger only are none.
    assert found.states == 22
    assert found.evaluations == len(asked) <= ceil(log2(22)) + 2 == found.most
    assert found.remembered == 0

    def never(*_: object) -> None:
        raise AssertionError("all answers are remembered: no model is needed")

    monkeypatch.setattr(loading, "load_base", never)
    again = bisect_answer(store, ASTANA)
    assert (again.commit, again.before, again.after) == (found.commit, found.before, found.after)
    assert (again.evaluations, again.remembered) == (0, found.evaluations)


def test_an_answer_in_the_cache_is_believed_only_if_it_is_whole(
    store: Store, leaves: Path, asked: list[str]
) -> None:
    guilty = store.add(None, leaves / "euro").commit
    first = bisect_answer(store, CROATIA)
    assert (first.commit, first.evaluations) == (guilty, 2)
    assert first.answer == "euro"
    folder = store.repository.folder / CACHE_NAME / STATES
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == 2
    for damage in (
        lambda data: data.replace(b"euro", b"peso").replace(b"kuna", b"peso"),
        lambda data: data[: len(data) // 2],
        lambda data: b"[" * 100_000,
        lambda data: b"\xff",
    ):
        for path in files:
            path.write_bytes(damage(path.read_bytes()))
        again = bisect_answer(store, CROATIA)
        assert (again.commit, again.evaluations, again.remembered) == (guilty, 2, 0)
    # One state's file in the place of another's.
    shutil.copy(files[0], files[1])
    assert bisect_answer(store, CROATIA).evaluations == 1
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert bisect_answer(store, CROATIA).commit == guilty
    assert len(asked) == 2 + 4 * 2 + 1 + 2


def parent(store: Store, commit: CommitId | None) -> CommitId:
    assert commit is not None
    return store.repository.parents(commit)[0]


def test_of_an_answer_that_came_and_went_one_change_is_found(store: Store, leaves: Path) -> None:
    drift(store, leaves, 2)
    first = store.add(None, leaves / "euro").commit
    drift(store, leaves, 4)
    store.revert(None, first)
    drift(store, leaves, 1)
    second = store.add(None, leaves / "euro").commit
    found = bisect_answer(store, CROATIA)
    assert found.commit in (first, second)
    (now,) = ask(store, str(found.commit), [CROATIA])
    (before,) = ask(store, parent(store, found.commit), [CROATIA])
    assert now.startswith("euro")
    assert before.startswith("kuna")
    assert (found.after, found.before) == (now, before)


def test_equal_sums_are_asked_once_and_the_bases_own_answer_has_no_commit(
    store: Store, leaves: Path, asked: list[str]
) -> None:
    added = store.add(None, leaves / "euro").commit
    store.revert(None, added)
    found = bisect_answer(store, CROATIA)
    assert (found.commit, found.before, found.gives) == (None, None, True)
    assert found.after == "kuna."
    # The oldest and the newest state are one sum.
    assert (found.evaluations, len(asked)) == (1, 1)


def test_between_two_ends_what_was_lost_is_found(store: Store, leaves: Path) -> None:
    drift(store, leaves, 1)
    guilty = store.add(None, leaves / "euro").commit
    drift(store, leaves, 2)
    found = bisect_answer(store, CROATIA, "HEAD", "HEAD~4", answer="kuna")
    assert (found.commit, found.gives) == (guilty, False)
    assert bisect_answer(store, CROATIA, "HEAD", "HEAD~4").commit == guilty
    with pytest.raises(CannotBisect, match="both give 'euro'"):
        bisect_answer(store, CROATIA, "HEAD", guilty)
    with pytest.raises(CannotBisect, match="both do not give 'lira'"):
        bisect_answer(store, CROATIA, "HEAD", "HEAD~4", answer="lira")
    with pytest.raises(UnknownRevision, match="not on the first-parent history"):
        bisect_answer(store, CROATIA, guilty, "HEAD")


def test_one_model_goes_through_many_states_and_is_the_base_again(
    store: Store, leaves: Path, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(store.base_folder(), tuned)
    model, tokenizer = load_demo()
    with torch.no_grad():
        model.get_submodule(LAYER).weight += 0.5
        model.model.norm.weight *= 1.01
    model.to(torch.bfloat16).save_pretrained(tuned)
    store.add(None, leaves / "euro", coefficient="0.3")
    store.add(None, tuned, coefficient="0.7")
    composition = store.snapshot().composition
    base, _ = load_demo()
    weights = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    kinds = [type(module) for module in base.modules()]
    stored = stored_dtypes(store.base_folder())
    expected = attach_composition(store.repository, composition, load_demo()[0], stored)
    inputs = tokenizer(CROATIA, return_tensors="pt")["input_ids"]
    for _ in range(2):
        with (
            torch.inference_mode(),
            attached(store.repository, composition, base, stored) as state,
        ):
            assert torch.equal(state(input_ids=inputs).logits, expected(input_ids=inputs).logits)
            assert not torch.equal(base.model.norm.weight, weights["model.norm.weight"])
        assert [type(module) for module in base.modules()] == kinds
        after = base.state_dict()
        assert set(after) == set(weights)
        assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


def test_the_model_is_the_base_again_after_an_error(store: Store, leaves: Path) -> None:
    store.add(None, leaves / "euro")
    base, _ = load_demo()
    names = set(base.state_dict())
    with (
        pytest.raises(KeyboardInterrupt),
        attached(store.repository, store.snapshot().composition, base),
    ):
        raise KeyboardInterrupt
    assert set(base.state_dict()) == names
