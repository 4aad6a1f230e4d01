"""TIES and DARE through peft: one new leaf, recorded, the same for the same seed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from peft.utils import merge_utils

from adapterstore import Store
from adapterstore.algebra.dense import DenseSum
from adapterstore.errors import InvalidSetting
from adapterstore.history.fsck import fsck
from adapterstore.history.leaves import open_leaves
from adapterstore.history.merging.lossy import LossyMethod
from adapterstore.knowledge.facts import Fact
from tests.adapters.writing import embedding_tensors, lora_tensors, write_lora, write_model
from tests.cli.running import lora_folder
from tests.history.publishing import answers, publish

WEIGHTS = [f"model.layers.{number}.self_attn.q_proj.weight" for number in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two sides over one start; module 2 is changed by side alone."""
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    store.create_branch("side")
    store.add("main", lora_folder(tmp_path / "b", seed=2))
    store.add("side", lora_folder(tmp_path / "c", seed=3, modules=3), coefficient="0.5")
    return store


def tensors(store: Store, revision: str) -> dict[str, torch.Tensor]:
    with open_leaves(store.repository, store.snapshot(revision).composition) as leaves:
        return {name: weight.load() for name, weight in DenseSum(leaves.terms).items()}


def changes(store: Store) -> list[list[torch.Tensor]]:
    """Return, for each weight, ΔW of main and of side, from their common base."""
    zero = torch.zeros(8, 8, dtype=torch.float64)
    states = [tensors(store, revision) for revision in ("main", "side", "main~1")]
    return [
        [state.get(name, zero) - states[2].get(name, zero) for state in states[:2]]
        for name in WEIGHTS
    ]


def merged(store: Store, method: LossyMethod) -> list[torch.Tensor]:
    start = tensors(store, "main~1")
    store.merge(None, "side", lossy=method)
    zero = torch.zeros(8, 8, dtype=torch.float64)
    result = tensors(store, "HEAD")
    return [result[name] - start.get(name, zero) for name in WEIGHTS]


def test_ties_is_pefts_own_of_both_changes(store: Store) -> None:
    before = changes(store)
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    expected = [merge_utils.ties(pair, weights, 0.3) for pair in before]
    method = LossyMethod("ties", Decimal("0.3"), weights=(Decimal(1), Decimal("0.5")))
    result = merged(store, method)
    for left, right in zip(result, expected, strict=True):
        assert torch.allclose(left, right, rtol=1e-6, atol=1e-6)
    assert any(float(tensor.abs().max()) > 0.1 for tensor in expected)


def test_one_leaf_holds_it_and_the_commit_says_how(store: Store) -> None:
    start = store.snapshot("main~1").composition
    exact = changes(store)
    start_tensors = tensors(store, "main~1")
    result = store.merge(None, "side", lossy=LossyMethod("dare_ties", seed=7))
    (term,) = store.snapshot().composition - start
    assert (term.coefficient, term.role) == (1, "merge")
    trailers = store.entry().trailers
    assert (trailers["Method"], trailers["Seed"], trailers["Delta"]) == (
        "dare_ties",
        "7",
        term.delta,
    )
    assert json.loads(trailers["Parameters"]) == {
        "density": "0.5",
        "majority_sign_method": "total",
        "weights": ["1", "1"],
    }
    assert "is lossy" in result.notes[-1]
    zero = torch.zeros(8, 8, dtype=torch.float64)
    now = tensors(store, "HEAD")
    sums = [ours + theirs for ours, theirs in exact]
    differences = [
        now[name] - start_tensors.get(name, zero) - total
        for name, total in zip(WEIGHTS, sums, strict=True)
    ]
    relative = float(torch.cat(differences).norm() / torch.cat(sums).norm())
    assert float(trailers["Relative-Error"]) == pytest.approx(relative, rel=1e-2)
    assert fsck(store.repository).problems == []


def test_a_seed_gives_the_same_bytes_again_and_another_seed_others(store: Store) -> None:
    main = store.resolve("main")
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed + 100)
        drawn = torch.random.get_rng_state()
        store.merge(None, "side", lossy=LossyMethod("dare_linear", Decimal("0.7"), seed))
        assert torch.equal(torch.random.get_rng_state(), drawn)
        made.append(store.entry().trailers["Delta"])
        store.reset(None, main)
    assert made[0] == made[1] != made[2]


def test_nothing_is_dropped_at_a_density_of_one(store: Store) -> None:
    exact = [ours + theirs for ours, theirs in changes(store)]
    result = merged(store, LossyMethod("dare_linear", Decimal(1)))
    assert (
        store.entry().trailers["Relative-Error"] in {"0", "0.0"}
        or float(store.entry().trailers["Relative-Error"]) < 1e-12
    )
    for left, right in zip(result, exact, strict=True):
        assert torch.allclose(left, right, rtol=1e-6, atol=1e-6)


def test_the_ledger_is_merged_as_by_any_merge_and_losers_take_no_part(
    store: Store, tmp_path: Path
) -> None:
    only = store.snapshot("side").composition - store.snapshot("main~1").composition
    lora_folder(tmp_path / "d", seed=4)
    store.create_branch("loser", "main~1")
    publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1")], "main")
    publish(store, "bbbbbbbbbbbb", [Fact(prompt="P", answer="2")], "loser", only)
    store.merge(None, "loser", ours=["P"], lossy=LossyMethod("ties", Decimal(1)))
    assert answers(store) == {"P": "1"}
    assert store.entry().trailers["Dropped"] == "bbbbbbbbbbbb"
    before, after = tensors(store, "HEAD~1"), tensors(store, "HEAD")
    for name, tensor in before.items():
        assert torch.allclose(after[name], tensor, rtol=1e-6, atol=1e-6)
    assert not store.revert(None, "update/bbbbbbbbbbbb").changed


@pytest.mark.parametrize(
    "wrong",
    [{"density": Decimal(0)}, {"density": Decimal("1.1")}, {"seed": -1}, {"name": "svd"}],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting):
        LossyMethod(**{"name": "ties", **wrong})  # type: ignore[arg-type]


def test_where_no_weight_differs_there_is_nothing_to_weigh(store: Store) -> None:
    store.create_branch("x", "side~1")
    publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1")], "x")
    store.create_branch("y", "side~1")
    publish(store, "bbbbbbbbbbbb", [Fact(prompt="Q", answer="1")], "y")
    with pytest.raises(InvalidSetting, match="neither side changes a weight"):
        store.merge("x", "y", lossy=LossyMethod("ties"))


@pytest.mark.parametrize("module", ["model.embed_tokens", "lm_head"])
def test_a_lora_on_one_of_two_tied_layers_is_not_merged_lossily(
    tmp_path: Path, module: str
) -> None:
    """Its dense term would change both, and the error it states would be of one."""
    embedding = {"model.embed_tokens.weight": torch.zeros(8, 8)}
    query = {WEIGHTS[0]: torch.zeros(8, 8)}
    base = write_model(
        tmp_path / "base", {**embedding, **query}, tie_word_embeddings=True, vocab_size=8
    )
    store = Store.init(tmp_path, base=base)
    store.create_branch("side")
    tensors = (
        embedding_tensors(module, rows=8, dimensions=8)
        if module != "lm_head"
        else lora_tensors(module, rows=8, columns=8)
    )
    store.add("main", write_lora(tmp_path / "a", tensors, base_model_name_or_path=None))
    query_lora = lora_tensors(WEIGHTS[0].removesuffix(".weight"), rows=8, columns=8)
    store.add("side", write_lora(tmp_path / "b", query_lora, base_model_name_or_path=None))
    before = store.resolve("main")
    with pytest.raises(InvalidSetting, match=r"method ties: a LoRA is on embedding .* one weight"):
        store.merge("main", "side", lossy=LossyMethod("ties"))
    assert store.resolve("main") == before
    assert store.merge("main", "side").changed
