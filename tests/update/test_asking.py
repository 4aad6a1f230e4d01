"""Over whose weights a state is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import BaseModelMismatch
from adapterstore.update.after_effects import Intervention, measure_after_effects
from adapterstore.update.asking import ask
from adapterstore.update.bisecting import bisect_answer
from tests.cli.running import lora_folder


def test_a_state_is_asked_over_its_own_base_or_not_at_all(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    store.create_branch("other")
    store.settings.with_value("base.path", str(MODEL_PATH)).write()
    for branch in ("main", "other"):
        store.commit(branch, lora_folder(tmp_path / branch, base=f"org/{branch}", width=192))
    assert len(ask(store, "HEAD", ["x"])) == 1
    tip = store.resolve()
    for question in (
        lambda: ask(store, "other", ["x"]),
        lambda: bisect_answer(store, "x", "other"),
        lambda: measure_after_effects(store, "other", [Intervention("relearn")]),
    ):
        with pytest.raises(BaseModelMismatch, match=r"'org/other'.*'org/main'"):
            question()
    assert store.resolve() == tip
