"""Square weights, whose shape does not say whether they are kept as (in, out): models by peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from adapterstore import Store
from adapterstore.errors import NotLinear
from adapterstore.history.compacting import compact
from adapterstore.update.verification import verify

SIZES = {"vocab_size": 19, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 2}
GPT2 = GPT2LMHeadModel, GPT2Config(**SIZES, tie_word_embeddings=False)
BIGCODE = (
    GPTBigCodeForCausalLM,
    GPTBigCodeConfig(**SIZES, multi_query=False, tie_word_embeddings=False),
)
Kind = tuple[type[PreTrainedModel], PretrainedConfig]


def make(kind: Kind) -> Any:
    torch.manual_seed(0)
    return kind[0](kind[1]).double().eval()


def write_base(folder: Path, kind: Kind) -> Path:
    make(kind).save_pretrained(folder / "base")
    return folder / "base"


def write_adapter(folder: Path, kind: Kind, *modules: str, seed: int = 0) -> Path:
    model = get_peft_model(make(kind), LoraConfig(r=2, target_modules=list(modules)))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.arange(8)[None]).logits
    return found


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to")
@pytest.mark.parametrize("seen", [True, False])
def test_a_square_conv1d_layer_beside_a_linear_one_is_refused(tmp_path: Path, seen: bool) -> None:
    base = write_base(tmp_path, GPT2)
    store = Store.init(tmp_path / "store", base=base if seen else "org/base")
    both = write_adapter(tmp_path / "both", GPT2, "attn.c_proj", "lm_head")
    match = r"c_proj with fan_in_fan_out=False can't .* as \(in, out\).* can be saved as two"
    with pytest.raises(NotLinear, match=match):
        store.commit(None, both)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to")
@pytest.mark.parametrize(
    ("kind", "adapters"),
    [
        (GPT2, [("attn.c_proj",), ("lm_head",)]),
        (GPT2, [("attn.c_proj", "c_attn", "c_fc")]),
        (BIGCODE, [("attn.c_proj", "lm_head")]),
        (BIGCODE, [("attn.c_proj", "c_attn", "lm_head")]),
    ],
)
def test_what_is_taken_is_what_peft_makes_of_it(
    tmp_path: Path, kind: Kind, adapters: list[tuple[str, ...]]
) -> None:
    base = write_base(tmp_path, kind)
    store = Store.init(tmp_path / "store", base=base)
    expected = make(kind)
    for number, modules in enumerate(adapters):
        adapter = write_adapter(tmp_path / str(number), kind, *modules)
        store.add(None, adapter)
        expected = PeftModel.from_pretrained(expected, adapter).merge_and_unload()
    store.export("HEAD", tmp_path / "made", "model")
    made = kind[0].from_pretrained(tmp_path / "made", dtype=torch.float64).eval()
    assert float((logits(make(kind)) - logits(expected)).abs().max()) > 0.01
    torch.testing.assert_close(logits(made), logits(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to")
def test_terms_of_two_layouts_are_folded_one_layout_after_the_other(tmp_path: Path) -> None:
    store = Store.init(tmp_path / "store", base=write_base(tmp_path, GPT2))
    for seed, modules in enumerate([("attn.c_proj", "c_fc"), ("c_fc",), ("lm_head",)] * 2):
        adapter = write_adapter(tmp_path / str(seed), GPT2, *modules, seed=seed)
        store.add(None, adapter, coefficient="0.5")
    folded = []
    while (compaction := compact(store.repository, None)[1]) is not None:
        folded.append((compaction.rank_before, compaction.rank))
    assert folded == [(8, 8), (4, 4)]
    assert len(store.snapshot().composition) == 2
    assert verify(store).findings == []
    for revision in ("HEAD", "HEAD~2"):
        store.export(revision, tmp_path / revision, "model")
    made, sums = (GPT2[0].from_pretrained(tmp_path / r).eval() for r in ("HEAD", "HEAD~2"))
    assert float((logits(sums) - logits(make(GPT2).float())).abs().max()) > 0.01
    torch.testing.assert_close(logits(made), logits(sums), rtol=1e-5, atol=1e-5)
