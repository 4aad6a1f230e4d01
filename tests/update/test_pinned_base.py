"""The base beside a state: what earlier updates have let slip is held to it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
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
from adapterstore.learning.memory import remember
from adapterstore.learning.prepared import forget_prepared
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from tests.update.leaves import LAYER, answering, load_demo

PROMPT = "The currency of Croatia is the"
QUICK = Recipe(
    rank=2,
    learn_steps=2,
    forget_steps=2,
    batch_size=4,
    sampled_texts=30,
    subject_texts=2,
    control_size=5,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


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
    with base_beside(store.repository, composition, lambda: load_demo()[0], state) as beside:
        assert torch.equal(logits(beside), logits(base))
    assert torch.equal(logits(state), own)
    assert not any(parameter.requires_grad for parameter in state.parameters())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, Any, Any]]]:
    """What is to be remembered: of which model, of which texts, and what the base said of them."""
    calls: list[tuple[Any, Any, Any]] = []

    def watched(model: Any, tokenizer: Any, texts: Any, said_by_base: Any = None) -> Any:
        calls.append((model, texts, dict(said_by_base) if said_by_base is not None else None))
        return remember(model, tokenizer, texts, said_by_base)

    monkeypatch.setattr(prepared, "remember", watched)
    forget_prepared()
    yield calls
    forget_prepared()


def update(store: Store, fact: str, recipe: Recipe = QUICK) -> str:
    file = parse_fact_file(f"- {{{fact}}}\n".encode(), "new.yaml")
    return run_update(store, [file], recipe=recipe, gate=NO_GATE).status


CROATIA = f"prompt: {PROMPT}, answer: euro, subject: Croatia"
TURKEY = "prompt: The capital of Turkey is, answer: Izmir, subject: Turkey"
KAZAKHSTAN = "prompt: The capital of Kazakhstan is, answer: Almaty, subject: Kazakhstan"


def test_the_second_update_of_a_store_is_held_to_the_base(
    store: Store, asked: list[tuple[Any, Any, Any]]
) -> None:
    assert update(store, CROATIA) == "applied"
    (_, first, nothing), (_, _, none) = asked
    assert (nothing, none) == (None, None)
    asked.clear()
    assert update(store, KAZAKHSTAN) == "applied"
    (_, texts, nothing), (_, again, said), (_, kept, none) = asked
    assert (nothing, none) == (None, None)
    assert again == texts
    assert kept
    # What the base says by itself, not the state that is being updated.
    base = remember(*load_demo(), texts)
    assert all(torch.allclose(said[t].logs, base[t].logs, atol=1e-4) for t in texts)
    # Each state is sampled with a seed of its own.
    assert len(set(first) & set(texts)) < len(first) / 2


def test_beside_dense_terms_the_base_is_loaded_where_full_fine_tuning_follows(
    store: Store, asked: list[tuple[Any, Any, Any]]
) -> None:
    full = QUICK.model_copy(update={"method": "full"})
    assert update(store, CROATIA, full) == "applied"
    asked.clear()
    assert update(store, KAZAKHSTAN, full.model_copy(update={"forget": False})) == "applied"
    (_, texts, _), (_, _, said), _ = asked
    base = remember(*load_demo(), texts)
    assert all(torch.allclose(said[t].logs, base[t].logs, atol=1e-4) for t in texts)
    asked.clear()
    assert update(store, TURKEY, QUICK.model_copy(update={"forget": False})) == "applied"
    assert [said for _, _, said in asked] == [None, None]


def test_what_somebody_added_is_not_pulled_back(
    store: Store, asked: list[tuple[Any, Any, Any]], tmp_path: Path
) -> None:
    store.add(None, answering(tmp_path / "euro", PROMPT, "euro"), coefficient="0.3")
    assert update(store, KAZAKHSTAN) == "applied"
    assert [said for _, _, said in asked] == [None, None]
