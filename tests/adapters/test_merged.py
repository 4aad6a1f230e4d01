"""A merged model: the base's folder with its weights changed, each rounded once."""

import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from adapterstore.adapters.dense import dense_leaf, difference, write_delta
from adapterstore.adapters.lora import lora_leaf, read_lora
from adapterstore.adapters.merged import merge_into_base
from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.algebra.coefficient import ONE
from adapterstore.algebra.dense import Leaf
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import BaseModelMismatch, CannotExport, ShapeMismatch
from tests.adapters.writing import embedding_tensors, lora_tensors, write_lora, write_model

NAME = "model.q_proj"
WEIGHT = f"{NAME}.weight"


def lora(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **options: Any) -> Leaf:
    return lora_leaf(read_lora(write_lora(folder, tensors, **options)))


def merge(folder: Path, *terms: tuple[Decimal, Leaf]) -> dict[str, torch.Tensor]:
    (folder / "merged").mkdir()
    merge_into_base(folder / "base", terms, folder / "merged")
    return {
        name: tensor
        for path in (folder / "merged").glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def test_a_weight_is_summed_in_float64_and_rounded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4).bfloat16()
    write_model(tmp_path / "base", {WEIGHT: weight, "norm.weight": torch.ones(4)})
    # Each of these alone is under half of bfloat16's last place, and would be rounded away.
    terms = [
        (Decimal("0.001"), lora(tmp_path / str(seed), lora_tensors(NAME, seed=seed)))
        for seed in range(3)
    ]
    exact = weight.double()
    for seed in range(3):
        a, b = lora_tensors(NAME, seed=seed).values()
        exact = exact + 0.001 * 2.0 * (b.double() @ a.double())
    found = merge(tmp_path, *terms)
    assert torch.equal(found[WEIGHT], exact.bfloat16())
    assert torch.equal(found["norm.weight"], torch.ones(4))


def test_shards_and_other_files_are_those_of_the_base(tmp_path: Path) -> None:
    shards = {WEIGHT: torch.zeros(3, 4)}, {"norm.weight": torch.ones(4)}
    base = write_model(tmp_path / "base", *shards)
    (base / "tokenizer.json").write_text("{}")
    for stale in ("pytorch_model.bin", "pytorch_model.bin.index.json", "old.safetensors"):
        (base / stale).write_bytes(b"stale")
    merge(tmp_path, (ONE, lora(tmp_path / "adapter")))
    assert sorted(p.name for p in (tmp_path / "merged").iterdir()) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    placed = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    for name, file in placed["weight_map"].items():
        assert name in load_file(tmp_path / "merged" / file)


def test_merging_nothing_gives_the_base_and_merging_the_delta_the_tuned_model(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    base = {WEIGHT: torch.randn(3, 4).half(), "ids": torch.arange(5), "mask": torch.ones(2).bool()}
    write_model(tmp_path / "base", base)
    tuned = write_model(tmp_path / "tuned", {**base, WEIGHT: torch.randn(3, 4).half()})
    delta = dense_leaf(difference(tmp_path / "base", tuned, tmp_path / "delta", None))
    for name, terms in (("base", []), ("tuned", [(ONE, delta)])):
        (tmp_path / f"{name} again").mkdir()
        merge_into_base(tmp_path / "base", terms, tmp_path / f"{name} again")
        expected = load_file(tmp_path / name / "model.safetensors")
        found = load_file(tmp_path / f"{name} again" / "model.safetensors")
        assert set(found) == set(expected)
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor)


def test_a_conv1d_weight_and_an_embedding_change_by_the_transpose(tmp_path: Path) -> None:
    conv1d, embedding = lora_tensors("h.c_attn"), embedding_tensors("wte", rows=5, dimensions=3)
    write_model(
        tmp_path / "base", {"h.c_attn.weight": torch.zeros(4, 3), "wte.weight": torch.zeros(5, 3)}
    )
    leaf = lora(tmp_path / "adapter", {**conv1d, **embedding}, fan_in_fan_out=True)
    found = merge(tmp_path, (ONE, leaf))
    for name, (a, b) in (
        ("h.c_attn.weight", conv1d.values()),
        ("wte.weight", embedding.values()),
    ):
        expected = 2.0 * (b.double() @ a.double()).T
        assert torch.equal(found[name], expected.float())


def test_a_weight_that_model_and_files_name_differently_gets_every_change(tmp_path: Path) -> None:
    base = {"h.c_attn.weight": torch.ones(3, 4)}
    write_model(tmp_path / "base", base)
    tuned = write_model(tmp_path / "tuned", {"h.c_attn.weight": torch.full((3, 4), 3.0)})
    delta = dense_leaf(difference(tmp_path / "base", tuned, tmp_path / "delta", None))
    tensors = lora_tensors("transformer.h.c_attn")
    a, b = tensors.values()
    found = merge(tmp_path, (ONE, delta), (ONE, lora(tmp_path / "adapter", tensors)))
    expected = 3.0 + 2.0 * (b.double() @ a.double())
    assert torch.allclose(found["h.c_attn.weight"].double(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("base", "error", "problem"),
    [
        ({"other.weight": torch.ones(3, 4)}, BaseModelMismatch, f"no weight '{WEIGHT}'"),
        ({WEIGHT: torch.ones(4, 3)}, ShapeMismatch, r"\(4, 3\), but the state has \(3, 4\)"),
        ({WEIGHT: torch.ones(3, 4).to(torch.int8)}, CannotExport, "stores it as I8"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    tmp_path: Path, base: dict[str, torch.Tensor], error: type[Exception], problem: str
) -> None:
    write_model(tmp_path / "base", base)
    with pytest.raises(error, match=problem):
        merge(tmp_path, (ONE, lora(tmp_path / "adapter")))


def test_factors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = {key: tensor * torch.inf for key, tensor in lora_tensors().items()}
    write_model(tmp_path / "base", {WEIGHT: torch.ones(3, 4)})
    with pytest.raises(CannotExport, match=f"weight {WEIGHT}: .* not finite"):
        merge(tmp_path, (ONE, lora(tmp_path / "adapter", tensors)))


@pytest.mark.parametrize("module", ["model.embed_tokens", "lm_head"])
def test_lora_on_one_of_two_layers_that_share_a_weight_is_not_merged(
    tmp_path: Path, module: str
) -> None:
    write_model(
        tmp_path / "base",
        {"model.embed_tokens.weight": torch.zeros(5, 3)},
        tie_word_embeddings=True,
        vocab_size=5,
    )
    tensors = (
        embedding_tensors(module)
        if module != "lm_head"
        else lora_tensors(module, rows=5, columns=3)
    )
    with pytest.raises(CannotExport, match=f"adapts {module} alone, .* one weight; export lora"):
        merge(tmp_path, (ONE, lora(tmp_path / "adapter", tensors)))


@pytest.mark.parametrize("other", [None, 2.0, 1.0])
def test_a_dense_change_of_a_tied_output_layer_is_that_of_the_embedding(
    tmp_path: Path, other: float | None
) -> None:
    """Loaded again, the two are one weight: a change of one alone would be lost or doubled."""
    names = ("lm_head.weight", "model.embed_tokens.weight")
    start = {name: torch.zeros(5, 3) for name in names}
    write_model(tmp_path / "base", start, tie_word_embeddings=True, vocab_size=5)
    changed = {names[0]: torch.ones(5, 3)}
    if other is not None:
        changed[names[1]] = torch.full((5, 3), other)
    weights = {name: DenseWeight((5, 3), partial(changed.__getitem__, name)) for name in changed}
    delta = dense_leaf(write_delta(tmp_path / "delta", weights, None))
    if other == 1.0:
        assert all(tensor.eq(1).all() for tensor in merge(tmp_path, (ONE, delta)).values())
    else:
        with pytest.raises(CannotExport, match=r"lm_head.weight: .* differently, .* one weight"):
            merge(tmp_path, (ONE, delta))


def test_a_shared_weight_that_the_files_hold_twice_stays_one(tmp_path: Path) -> None:
    """Qwen3's smaller models are laid out so; two that differ would be loaded as two."""
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    base = tmp_path / "base"
    model.save_pretrained(base)
    stored = load_file(base / "model.safetensors")
    twice = {**stored, "lm_head.weight": stored["model.embed_tokens.weight"].clone()}
    save_file(twice, base / "model.safetensors", {"format": "pt"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "tuned")
    delta = dense_leaf(difference(base, tmp_path / "tuned", tmp_path / "delta", None))
    (tmp_path / "made").mkdir()
    merge_into_base(base, [(ONE, delta)], tmp_path / "made")
    made = LlamaForCausalLM.from_pretrained(tmp_path / "made")
    assert made.lm_head.weight is made.model.embed_tokens.weight
    tokens = torch.arange(11)[None]
    with torch.inference_mode():
        assert torch.equal(made(tokens).logits, model.eval()(tokens).logits)


def test_a_tie_is_seen_beside_weights_of_as_many_rows(tmp_path: Path) -> None:
    shapes = {"model.embed_tokens.weight": (4, 4), "model.layers.0.mlp.up_proj.weight": (4, 4)}
    folder = write_model(
        tmp_path,
        {name: torch.zeros(shape) for name, shape in shapes.items()},
        tie_word_embeddings=True,
        vocab_size=4,
    )
    assert read_model_folder(folder).tied_embedding == "model.embed_tokens.weight"


def test_a_sum_beyond_the_dtype_of_the_base_is_refused(tmp_path: Path) -> None:
    """float16 ends at 65504: infinities must not be written in silence."""
    write_model(tmp_path / "base", {WEIGHT: torch.zeros(3, 4, dtype=torch.float16)})
    with pytest.raises(CannotExport, match=r"the sum has values beyond torch\.float16"):
        merge(tmp_path, (Decimal(10) ** 7, lora(tmp_path / "adapter", lora_tensors(NAME))))
