"""The size of a change: right, and read from the tensors once."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.errors import ObjectMissing
from adapterstore.history.viewing.magnitude import Magnitude, magnitude
from adapterstore.history.viewing.statediff import compare_modules, total_of
from tests.cli.running import lora_folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    store.add(None, lora_folder(tmp_path / "b", seed=2, rank=3), coefficient="-0.7")
    return store


def change(store: Store, before: str, after: str) -> Composition:
    return store.snapshot(after).composition - store.snapshot(before).composition


def hide_tensors(store: Store) -> None:
    shutil.rmtree(store.repository.folder / "lfs" / "objects")


def test_a_change_is_as_large_as_the_states_are_apart(store: Store) -> None:
    size = magnitude(store.repository, change(store, "HEAD~1", "HEAD"))
    rows = compare_modules(store.repository, store.snapshot("HEAD~1"), store.snapshot())
    assert [module.name for module in size.modules] == [row.name for row in rows]
    for module, row in zip(size.modules, rows, strict=True):
        assert module.norm == pytest.approx(row.norm_difference, rel=1e-9)
        assert module.rank == row.rank_difference == 3
    total = total_of(rows)
    assert size.norm == pytest.approx(total.norm_difference, rel=1e-9)
    assert size.rank == 3
    whole = magnitude(store.repository, store.snapshot().composition)
    assert whole.norm == pytest.approx(total.norm_right, rel=1e-9)
    assert total.cosine == pytest.approx(
        (total.norm_left**2 + total.norm_right**2 - total.norm_difference**2)
        / (2 * total.norm_left * total.norm_right)
    )


@pytest.mark.damages_the_store
def test_a_multiple_and_a_negative_need_no_tensor_again(store: Store) -> None:
    repository = store.repository
    one, sum_ = change(store, "HEAD~1", "HEAD"), store.snapshot().composition
    first, of_sum = magnitude(repository, one), magnitude(repository, sum_)
    hide_tensors(store)
    twice = magnitude(repository, one.scaled(Decimal(-2)))
    assert twice.norm == pytest.approx(2 * first.norm, rel=1e-12)
    assert [m.rank for m in twice.modules] == [m.rank for m in first.modules]
    assert magnitude(repository, sum_.scaled(Decimal(-1))) == of_sum
    with pytest.raises(ObjectMissing):
        magnitude(repository, sum_.scaled(Decimal(3)))


def test_the_cache_may_go_at_any_time(store: Store) -> None:
    one = change(store, "HEAD~1", "HEAD")
    first = magnitude(store.repository, one)
    cache = store.repository.folder / "cache"
    (entry,) = (path for path in cache.rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes().replace(b'"norm": ', b'"norm": 1'))
    assert magnitude(store.repository, one) == first
    shutil.rmtree(cache)
    assert magnitude(store.repository, one) == first


def test_no_change_has_no_size(store: Store) -> None:
    nothing = magnitude(store.repository, Composition())
    assert nothing == Magnitude(())
    assert (nothing.norm, nothing.rank) == (0.0, 0)
