"""`Store.load` and its neighbours on models and arguments that users really pass."""

from __future__ import annotations

import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from adapterstore import Store
from adapterstore.adapters.dense import write_delta
from adapterstore.adapters.live_weights import LiveWeights
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import (
    BaseModelMismatch,
    CannotExport,
    InvalidCoefficient,
    NotLinear,
    ShapeMismatch,
    UnreadableFile,
)
from adapterstore.history.attach import _find_changed, attach_composition, attached
from adapterstore.history.leaves import open_leaves
from adapterstore.store.objects import ObjectStore
from tests.adapters.writing import lora_tensors, write_lora
from tests.cli.running import lora_folder


def base(hidden: int = 16, layers: int = 2, kind: Any = LlamaForCausalLM) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return kind(config).eval()


def adapter(folder: Path, seed: int, targets: tuple[str, ...], kind: Any = LlamaForCausalLM) -> str:
    model = get_peft_model(
        base(kind=kind),
        LoraConfig(
            r=2,
            target_modules=list(targets),
            task_type=TaskType.CAUSAL_LM if kind is LlamaForCausalLM else None,
            base_model_name_or_path="example/base",
        ),
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return str(folder)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(8)[None]).logits


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[n].equal(right[n]) for n in left)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two branches of different adapters, and a third with a full fine-tune."""
    store = Store.init(tmp_path / "store", base="example/base")
    store.commit(None, adapter(tmp_path / "a", 1, ("q_proj", "v_proj")))
    for branch in ("other", "dense"):
        store.create_branch(branch)
    store.commit("other", adapter(tmp_path / "b", 2, ("q_proj",)))
    store.export("main", tmp_path / "delta", "delta")
    store.commit("dense", str(tmp_path / "delta"))
    return store


def test_a_model_in_a_state_is_not_taken_for_a_base(store: Store) -> None:
    """Its adapter would be overwritten in part, and both models be neither state."""
    expected = {branch: logits(store.load(branch, base())) for branch in ("main", "other")}
    assert not expected["main"].allclose(expected["other"])
    model = base()
    first = store.load("main", model)
    for again in (model, first):
        with pytest.raises(BaseModelMismatch, match=r"has an adapter on .*unload"):
            store.load("other", again)
        assert logits(first).equal(expected["main"])
    second = store.load("other", first.unload())
    assert logits(second).equal(expected["other"])


def test_a_model_with_a_state_merged_into_it_is_not_taken_for_a_base(
    tmp_path: Path, store: Store
) -> None:
    base().save_pretrained(tmp_path / "base", max_shard_size="5KB")
    store.settings.with_value("base.path", str(tmp_path / "base")).write()
    merged = store.load("main", base()).merge_and_unload()
    before = weights(merged)
    for branch in ("main", "dense"):
        with pytest.raises(BaseModelMismatch, match=r"not the one of the base in .*merged into"):
            store.load(branch, merged)
    assert same(weights(merged), before)
    # Rounding alone is no other model.
    store.load("main", base().bfloat16().float())
    shutil.rmtree(tmp_path / "base")
    store.load("main", merged)


def test_a_model_without_values_is_refused(store: Store) -> None:
    for branch in ("main", "dense"):
        with pytest.raises(
            BaseModelMismatch, match=r"has no values \('model.*' is on the meta dev"
        ):
            store.load(branch, base().to("meta"))


def test_dense_terms_are_not_added_twice(store: Store) -> None:
    model = base()
    assert store.load("dense", model) is model
    tuned = weights(model)
    for branch in ("dense", "main"):
        with pytest.raises(BaseModelMismatch, match="a state with dense terms"):
            store.load(branch, model)
    assert same(weights(model), tuned)


@pytest.mark.parametrize("branch", ["main", "dense"])
def test_a_model_that_does_not_fit_is_left_as_it_was(store: Store, branch: str) -> None:
    for model, error in (
        (base(hidden=8), ShapeMismatch),
        (base(layers=1), BaseModelMismatch),
        (torch.nn.Linear(4, 4), (BaseModelMismatch, ShapeMismatch)),
    ):
        before = weights(model)
        with pytest.raises(error):
            store.load(branch, model)
        assert same(weights(model), before)
    for nothing in (None, "gpt2"):
        with pytest.raises(BaseModelMismatch, match="as a transformers model"):
            store.load(branch, nothing)


@pytest.mark.parametrize("branch", ["main", "dense"])
def test_an_update_does_not_half_change_a_model_either(store: Store, branch: str) -> None:
    """Of a delta, one weight may fit and the next may not."""
    composition = store.snapshot(branch).composition
    model = base(layers=1)
    before = weights(model)
    with pytest.raises(BaseModelMismatch, match=r"no (weight|module) 'model\.layers\.1\."):
        attach_composition(store.repository, composition, model)
    assert same(weights(model), before)
    with (
        pytest.raises(BaseModelMismatch),
        attached(store.repository, composition, model),
    ):
        pass
    assert same(weights(model), before)


@pytest.mark.parametrize("branch", ["main", "dense"])
def test_a_delta_is_verified_once(
    store: Store, branch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are hashed, which of a full fine-tune takes long."""
    verified = []
    verify = ObjectStore.verify
    monkeypatch.setattr(
        ObjectStore, "verify", lambda *args: verified.append(args[1]) or verify(*args)
    )
    store.load(branch, base())
    assert len(verified) == 1


@pytest.mark.parametrize("branch", ["empty", "main", "dense"])
def test_a_state_is_frozen_and_in_eval_mode_whatever_its_terms_are(
    store: Store, branch: str
) -> None:
    store.create_branch("empty", "main~1")
    model = store.load(branch, base().train())
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_saved_state_is_one_adapter(tmp_path: Path, store: Store) -> None:
    model = store.load("main", base())
    model.save_pretrained(tmp_path / "saved")
    again = PeftModel.from_pretrained(base(), tmp_path / "saved")
    assert logits(again).equal(logits(model))


@pytest.mark.parametrize("trained_on", ["../models/llama", "{}/models/llama"])
def test_peft_finds_the_local_base_of_an_export_and_the_store_that_of_an_adapter(
    tmp_path: Path, trained_on: str
) -> None:
    folder = tmp_path / "models" / "llama"
    base().save_pretrained(folder)
    store = Store.init(tmp_path / "work")
    store.commit(None, write_lora(tmp_path / "first", base_model_name_or_path="own-llama"))
    store.settings.with_value("base.path", str(folder)).write()
    path = write_lora(
        tmp_path / "second",
        lora_tensors("model.layers.0.self_attn.q_proj", rows=16, columns=16),
        base_model_name_or_path=trained_on.format(tmp_path),
        task_type="CAUSAL_LM",
    )
    store.commit(None, path)
    store.export("HEAD", tmp_path / "out")
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(model), logits(store.load("main", base())))
    store.add(None, tmp_path / "out")


def test_another_adapter_stacks_on_a_state(tmp_path: Path, store: Store) -> None:
    other = adapter(tmp_path / "c", 3, ("k_proj", "q_proj"))
    model = store.load("main", base())
    model.load_adapter(other, "other")
    model.base_model.set_adapter([*model.active_adapters, "other"])
    store.add("main", other)
    torch.testing.assert_close(logits(model), logits(store.load("main", base())))


def test_adapters_of_two_classes_of_a_model_are_not_summed_silently(
    tmp_path: Path, store: Store
) -> None:
    """One calls a module model.layers.0…, the other layers.0…; peft would drop the second."""
    store.add("main", adapter(tmp_path / "headless", 3, ("q_proj",), LlamaModel))
    with pytest.raises(NotLinear, match="one module, of adapters made for two classes"):
        store.export("main", tmp_path / "out", "lora")
    # In a live model there is no doubt.
    both = store.load("main", base())
    alone = logits(store.load("HEAD~1", base()))
    assert not logits(both).allclose(alone)
    names = {name for name, _ in both.named_modules() if name.endswith("lora_A.default")}
    assert len(names) == 4
    assert max(both.get_submodule(name).weight.shape[0] for name in names) == 4


def test_two_names_of_one_module_in_one_adapter_are_not_taken_for_one(
    tmp_path: Path, store: Store
) -> None:
    shape = {"rows": 16, "columns": 16}
    twice = lora_tensors("model.layers.0.self_attn.k_proj", **shape)
    twice |= lora_tensors("layers.0.self_attn.k_proj", **shape)
    store.add("main", write_lora(tmp_path / "twice", twice, base_model_name_or_path=None))
    with pytest.raises(NotLinear, match="they seem to be one module"):
        store.load("main", base())


def test_a_store_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = lora_folder(tmp_path / "a")
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "p2")
    Store.init(Path())
    monkeypatch.chdir(tmp_path / "p1")
    store = Store.init(Path(), base="example/base")
    os.chdir(tmp_path / "p2")
    store.commit(None, source)
    objects = [path for path in (tmp_path / "p1").rglob("lfs/objects/*/*/*") if path.is_file()]
    assert len(objects) == 1
    assert not [path for path in (tmp_path / "p2").rglob("lfs/objects/*/*/*") if path.is_file()]


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    """A base whose output layer is its embedding."""
    model = base(hidden=24)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "tied")
    return tmp_path / "tied"


def test_a_change_of_one_of_two_tied_layers_is_not_written_as_one_of_both(
    tmp_path: Path, tied: Path
) -> None:
    """As a LoRA it stands beside one layer; as a weight difference it would be in both."""
    store = Store.init(tmp_path / "store", base=tied)
    store.commit(None, lora_folder(tmp_path / "q", base=None, width=24))
    store.export("HEAD", tmp_path / "dense", "delta")
    store.commit(None, tmp_path / "dense")
    head = lora_tensors("lm_head", rows=32, columns=24)
    store.add(None, write_lora(tmp_path / "head", head, base_model_name_or_path=None))
    for kind in ("delta", "model", None):
        with pytest.raises(CannotExport, match=r"adapts lm_head alone, .* one weight"):
            store.export("HEAD", tmp_path / "out", kind)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    assert isinstance(store.load("HEAD", LlamaForCausalLM.from_pretrained(tied)), PeftModel)


def test_a_dense_change_of_a_tied_output_layer_alone_is_not_loaded(
    tmp_path: Path, tied: Path
) -> None:
    weight = DenseWeight((32, 24), lambda: torch.ones(32, 24))
    write_delta(tmp_path / "delta", {"lm_head.weight": weight}, "tied")
    store = Store.init(tmp_path / "store", base=tied)
    store.commit(None, tmp_path / "delta")
    model = LlamaForCausalLM.from_pretrained(tied)
    before = weights(model)
    with pytest.raises(CannotExport, match=r"one weight with model\.embed_tokens\.weight"):
        store.load("HEAD", model)
    assert same(weights(model), before)


@pytest.mark.parametrize("message", [" ", "\n", "\0", "\t\n"])
def test_a_blank_message_does_not_hide_what_a_commit_did(tmp_path: Path, message: str) -> None:
    store = Store.init(tmp_path, base="example/base")
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    added = store.add(None, lora_folder(tmp_path / "b", seed=2), message=message).commit
    entry = store.entry(added)
    assert (entry.operation, entry.subject) == ("add", "Add")
    reverted = store.revert(None, added, message=message)
    assert store.entry(reverted.commit).operation == "revert"
    assert not store.revert(None, added).changed
    assert store.snapshot("main").composition == store.snapshot("main~2").composition


def test_a_path_is_never_taken_for_a_revision(tmp_path: Path, store: Store) -> None:
    tip = store.resolve("main")
    with pytest.raises(UnreadableFile):
        store.add("main", Path("other"))
    assert store.resolve("main") == tip
    assert store.add("main", "other").changed


@pytest.mark.parametrize("coefficient", [Decimal("0.50"), 2, "0.5"])
def test_a_coefficient_is_text_or_an_exact_number(
    tmp_path: Path, store: Store, coefficient: Any
) -> None:
    store.add("main", "other", coefficient=coefficient)
    (term,) = (
        t
        for t in store.snapshot("main").composition
        if t not in store.snapshot("main~1").composition
    )
    assert term.coefficient == Decimal(coefficient)


@pytest.mark.parametrize("coefficient", [0.5, True, None, Decimal("NaN")])
def test_what_is_not_exact_is_no_coefficient(store: Store, coefficient: Any) -> None:
    with pytest.raises(InvalidCoefficient, match=r"write it like -0\.7"):
        store.add("main", "other", coefficient=coefficient)


@pytest.mark.parametrize("rank", [0, -1, 2.5, "2", True])
def test_a_rank_is_a_whole_number(tmp_path: Path, store: Store, rank: Any) -> None:
    with pytest.raises(CannotExport, match="a whole number of at least 1"):
        store.export("main", tmp_path / "out", rank=rank)
    assert not (tmp_path / "out").exists()


def test_an_unknown_form_of_export_is_told_with_those_there_are(
    tmp_path: Path, store: Store
) -> None:
    kind: Any = "dense"
    with pytest.raises(CannotExport, match="choose one of lora, delta, model"):
        store.export("main", tmp_path / "out", kind)


def test_a_sum_that_can_not_be_loaded_leaves_the_model_as_it_was(
    tmp_path: Path, store: Store
) -> None:
    store.add("dense", adapter(tmp_path / "a2", 4, ("k_proj",)))
    deeper = lora_tensors("model.layers.7.self_attn.k_proj", rows=16, columns=16)
    store.add("dense", write_lora(tmp_path / "deeper", deeper, base_model_name_or_path=None))
    model = base()
    before = weights(model)
    with pytest.raises(BaseModelMismatch, match=r"no module 'model\.layers\.7"):
        store.load("dense", model)
    assert same(weights(model), before)
    expected = logits(store.load("main", base()))
    assert logits(store.load("main", model)).equal(expected)


def test_after_a_sum_beyond_the_weights_dtype_no_other_comes_on_top(
    tmp_path: Path, store: Store
) -> None:
    """The weights before the one at fault have changed then."""
    store.add("dense", str(tmp_path / "delta"), coefficient=30000)
    model = base().half()
    model.model.layers[1].self_attn.v_proj.weight.data.fill_(65504)
    before = weights(model)
    with pytest.raises(CannotExport, match="values beyond"):
        store.load("dense", model)
    assert not same(weights(model), before)
    with pytest.raises(BaseModelMismatch, match="load it anew"):
        store.load("main", model)


def test_a_layer_that_keeps_its_weight_under_another_name_is_left_to_peft(store: Store) -> None:
    """As quantised layers do: their shapes can't be compared, and are not a reason to refuse."""

    class Packed(torch.nn.Linear):
        def __init__(self, layer: torch.nn.Linear):
            super().__init__(layer.in_features, layer.out_features, bias=False)
            self.qweight = layer.weight
            del self._parameters["weight"]

    model = base()
    attention = model.model.layers[0].self_attn
    attention.q_proj = Packed(attention.q_proj)
    with pytest.raises(AttributeError):
        _ = attention.q_proj.weight
    with open_leaves(store.repository, store.snapshot("main").composition) as leaves:
        assert _find_changed(model, LiveWeights(model), leaves.lora, []) == {}
