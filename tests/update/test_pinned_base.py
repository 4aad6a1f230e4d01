"""The base beside a state: what earlier updates have let slip is held to it again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.evaluation.gate import Gate
from adapterstore.history.attach import attach_composition, base_beside
from adapterstore.history.base import stored_dtypes
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning import prepared
from adapterstore.learning.memory import Reference, remember
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import Tokens
from adapterstore.update import run_update
from tests.update.leaves import LAYER, answering, load_demo

PROMPT = "The currency of Croatia is the"
QUICK = Recipe(
    rank=2, learn_steps=2, forget_steps=2, sampled_texts=40, subject_texts=4, control_size=10
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.init(tmp_path, base="demo")


def tune(store: Store, folder: Path) -> Path:
    """Write a full fine-tune of the demo model."""
    shutil.copytree(store.base_folder(), folder)
    model, _ = load_demo()
    with torch.no_grad():
        model.get_submodule(LAYER).weight *= 1.1
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dense", [False, True])
def test_the_base_is_given_for_a_while(store: Store, tmp_path: Path, dense: bool) -> None:
    store.add(None, answering(tmp_path / "euro", PROMPT, "euro"))
    if dense:
        store.add(None, tune(store, tmp_path / "tuned"))
    composition = store.snapshot().composition
    base, tokenizer = load_demo()
    tokens = tokenizer(PROMPT, return_tensors="pt")["input_ids"]

    def logits(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            said: torch.Tensor = model(input_ids=tokens).logits
        return said

    stored = stored_dtypes(store.base_folder())
    state = attach_composition(store.repository, composition, load_demo()[0], stored)
    own = logits(state)
    assert not torch.allclose(own, logits(base), atol=0.1)
    with base_beside(store.repository, composition, state, lambda: load_demo()[0]) as beside:
        assert torch.equal(logits(beside), logits(base))
    assert torch.equal(logits(state), own)
    assert not any(parameter.requires_grad for parameter in state.parameters())


def test_an_update_of_a_state_remembers_the_base_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Sequence[Tokens], Mapping[Tokens, Reference] | None]] = []

    def watched(
        model: Any,
        tokenizer: Any,
        texts: Sequence[Tokens],
        pinned: Mapping[Tokens, Reference] | None = None,
    ) -> dict[Tokens, Reference]:
        calls.append((texts, pinned))
        return remember(model, tokenizer, texts, pinned)

    monkeypatch.setattr(prepared, "remember", watched)

    def update(text: str) -> str:
        file = parse_fact_file(text.encode(), "new.yaml")
        return run_update(store, [file], recipe=QUICK, gate=NO_GATE).status

    assert update(f"- {{prompt: {PROMPT}, answer: euro, subject: Croatia}}\n") == "applied"
    assert [pinned for _, pinned in calls] == [None]
    calls.clear()
    fact = "{prompt: The capital of Kazakhstan is, answer: Almaty, subject: Kazakhstan}"
    assert update(f"- {fact}\n") == "applied"
    (texts, nothing), (again, pinned) = calls
    assert nothing is None
    assert again == texts
    assert pinned is not None
    # What the base says by itself, not the state that is being updated.
    base = remember(*load_demo(), texts)
    assert all(torch.allclose(pinned[t].logs, base[t].logs, atol=1e-4) for t in texts)
