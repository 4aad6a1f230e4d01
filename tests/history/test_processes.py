"""Stores, values and errors on their way to worker processes and back."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from inspect import Parameter, isclass, signature
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from adapterstore import AdapterStoreError, Store, errors
from adapterstore.errors import UnknownRevision
from tests.cli.running import lora_folder

KINDS = [
    kind
    for kind in vars(errors).values()
    if isclass(kind) and issubclass(kind, AdapterStoreError) and kind is not AdapterStoreError
]
DATA: dict[str, Any] = {
    "list[str]": ["0123456789abcdef"],
    "int": 2,
    "int | None": 3,
    "bool": True,
    "list[FactConflict]": [
        errors.FactConflict("k", "f", ("p",), None, "a", "c", None, "b", "d", "u")
    ],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path / "store", base="example/base")
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    return store


@pytest.mark.parametrize(
    "travel", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_a_store_that_travels_is_opened_anew(store: Store, travel: Any) -> None:
    store.repository.sign = False
    other = travel(store)
    assert other.repository is not store.repository
    assert other.repository.sign is False
    assert other.subtract(None, "HEAD").commit == store.resolve()


def test_values_and_results_travel(store: Store) -> None:
    values = [
        store.snapshot(),
        store.snapshot().composition.scaled(Decimal("0.5")),
        store.entry(),
        store.branches(),
        store.reflog(),
        store.plan_merge(None, "HEAD~1"),
        store.subtract(None, "HEAD"),
    ]
    assert pickle.loads(pickle.dumps(values)) == values
    assert copy.deepcopy(values) == values


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_travels_with_its_message_and_its_data(kind: type[AdapterStoreError]) -> None:
    parameters = [p for p in signature(kind).parameters.values() if p.default is Parameter.empty]
    error = kind(*(DATA.get(str(p.annotation), p.name) for p in parameters))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


def test_a_worker_process_takes_a_store_and_gives_its_errors_back(store: Store) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        assert workers.submit(store.resolve, "main").result() == store.resolve()
        with pytest.raises(UnknownRevision, match="'nowhere': no such branch") as caught:
            workers.submit(store.resolve, "nowhere").result()
    assert caught.value.revision == "nowhere"
