"""``compact``: fewer ranks, the same state, and a way back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapterstore import Store
from adapterstore.errors import CannotExport, RefMoved
from adapterstore.history.compacting import compact, total_rank
from adapterstore.history.fsck import fsck
from tests.cli.running import done, lora_folder, read_json


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    for seed in range(3):
        store.add(None, lora_folder(tmp_path / f"a{seed}", seed=seed, rank=4), coefficient="0.5")
    return store


def weights(store: Store, revision: str, folder: Path) -> dict[str, torch.Tensor]:
    """Return ΔW of an exported state."""
    store.export(revision, folder, "lora")
    tensors = load_file(folder / "adapter_model.safetensors")
    return {
        key: tensors[key.replace("lora_A", "lora_B")].double() @ a.double()
        for key, a in tensors.items()
        if "lora_A" in key
    }


def test_the_state_is_the_same_and_has_one_term(store: Store, tmp_path: Path) -> None:
    result, compaction = compact(store.repository, None)
    assert compaction is not None
    assert (compaction.rank_before, compaction.rank) == (12, 8)
    assert compaction.relative_error < 1e-6
    (term,) = store.snapshot().composition
    assert (term.role, str(term.coefficient)) == ("compact", "1")
    before, after = weights(store, "HEAD~1", tmp_path / "x"), weights(store, "HEAD", tmp_path / "y")
    for name, weight in before.items():
        assert torch.linalg.norm(after[name] - weight) <= 1e-6 * torch.linalg.norm(weight)
    trailers = store.entry(result.commit).trailers
    assert trailers["Delta"] == term.delta
    assert trailers["Folded"].split(", ") == [t.delta for t in store.snapshot("HEAD~1").composition]
    assert fsck(store.repository).problems == []


def test_at_a_rank_the_commit_states_the_error(store: Store, tmp_path: Path) -> None:
    result, compaction = compact(store.repository, None, 3)
    assert compaction is not None
    assert compaction.rank == 3
    before, after = weights(store, "HEAD~1", tmp_path / "x"), weights(store, "HEAD", tmp_path / "y")
    lost = sum(float((after[n] - w).square().sum()) for n, w in before.items())
    whole = sum(float(w.square().sum()) for w in before.values())
    stated = float(store.entry(result.commit).trailers["Relative-Error"])
    assert stated == pytest.approx((lost / whole) ** 0.5, rel=0.01)
    assert 0.1 < stated < 1


def test_reverting_it_gives_the_terms_back_exactly(store: Store) -> None:
    before = store.snapshot().composition.to_bytes()
    compact(store.repository, None, 1)
    store.revert(None, "HEAD")
    assert store.snapshot().composition.to_bytes() == before


def test_an_earlier_change_can_be_taken_out_of_a_compacted_state(
    store: Store, tmp_path: Path
) -> None:
    compact(store.repository, None)
    store.revert(None, "HEAD~1")
    left = weights(store, "HEAD", tmp_path / "x")
    expected = weights(store, "HEAD~3", tmp_path / "y")
    for name, weight in expected.items():
        assert torch.linalg.norm(left[name] - weight) <= 1e-6 * torch.linalg.norm(weight)


def test_there_is_nothing_to_fold(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    assert compact(store.repository, None)[1] is None
    store.commit(None, lora_folder(tmp_path / "a"))
    result, compaction = compact(store.repository, None)
    assert compaction is None
    assert not result.changed


def test_dense_terms_stay(store: Store, tmp_path: Path) -> None:
    store.export("HEAD~1", tmp_path / "dense", "delta")
    store.add(None, tmp_path / "dense")
    compact(store.repository, None)
    assert sorted(term.role for term in store.snapshot().composition) == ["adapter", "compact"]


def test_run_again_with_expect_it_finds_its_own_commit(store: Store) -> None:
    start = store.resolve()
    first, _ = compact(store.repository, None, 2, expect=start)
    second, _ = compact(store.repository, None, 2, expect=start)
    assert (second.commit, second.changed) == (first.commit, False)
    with pytest.raises(RefMoved):
        compact(store.repository, None, 1, expect=start)


def test_an_export_can_be_folded(store: Store, tmp_path: Path) -> None:
    before = weights(store, "HEAD", tmp_path / "x")
    said = done(tmp_path, "export", "HEAD", str(tmp_path / "served"), "--rank", "3")
    assert "wrote HEAD as lora" in said
    tensors = load_file(tmp_path / "served" / "adapter_model.safetensors")
    assert {t.shape[0] for key, t in tensors.items() if "lora_A" in key} == {3}
    after = {
        key: tensors[key.replace("lora_A", "lora_B")].double() @ a.double()
        for key, a in tensors.items()
        if "lora_A" in key
    }
    lost = sum(float((after[n] - w).square().sum()) for n, w in before.items())
    whole = sum(float(w.square().sum()) for w in before.values())
    assert float(said.rpartition("relative error ")[2]) == pytest.approx(
        (lost / whole) ** 0.5, rel=0.01
    )
    exported = store.export("HEAD", tmp_path / "all", rank=12)
    assert exported.rank == 8
    assert exported.relative_error is not None
    assert exported.relative_error < 1e-6
    with pytest.raises(CannotExport, match="only a lora has a rank"):
        store.export("HEAD", tmp_path / "dense", "delta", rank=3)


def test_the_command_says_what_it_cost(store: Store, tmp_path: Path) -> None:
    said = done(tmp_path, "compact", "--rank", "2")
    assert "Compact 3 terms of total rank 12 to rank 2" in said
    assert "rank 12 → 2, relative error 0." in said
    assert "nothing to do" in done(tmp_path, "compact", "--rank", "2")


@pytest.mark.damages_the_store
@pytest.mark.parametrize("stated", [2, 64])
def test_the_rank_is_what_a_module_has_whatever_the_config_states_for_others(
    tmp_path: Path, stated: int
) -> None:
    store = Store.init(tmp_path)
    pattern = {"q_proj": 4, "v_proj": 32}
    store.add(None, lora_folder(tmp_path / "a", rank=4, r=stated, rank_pattern=pattern))
    assert total_rank(store.repository, store.snapshot().composition) == 4
    assert read_json(tmp_path, "status")["rank"] == 4
    assert compact(store.repository, None, 4)[1] is None
    _, compaction = compact(store.repository, None, 3)
    assert compaction is not None
    assert (compaction.rank_before, compaction.rank) == (4, 3)
    store.revert(None, "HEAD")
    # In a clone whose tensors are not here yet, it is at most what the config states.
    for path, object_id in list(store.repository.objects.names()):
        assert object_id is not None
        path.unlink()
    composition = store.snapshot().composition
    assert total_rank(store.repository, composition) == max(stated, 32)
