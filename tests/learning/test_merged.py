"""Merging for a while changes what is computed by rounding only, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from adapterstore.learning import merged as merging
from adapterstore.learning.loading import load_base
from adapterstore.learning.merged import merged
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.prepared import state_digest
from adapterstore.learning.recipe import Recipe
from tests.learning.tiny import Architecture, tiny_model, trained_weights

TOKENS = torch.arange(12)[None]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("small", [True, False])
def test_a_merged_state_computes_the_same_and_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Architecture, small: bool
) -> None:
    if not small:
        monkeypatch.setattr(merging, "MOST_BYTES", 0)
    model, _ = load_base(tiny_model(tmp_path / "model", architecture, torch.float32), "cpu")
    delta = start_delta(model, "lora", "state", Recipe().for_model(model))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained_weights(delta):
            parameter.normal_(0, 0.1)
    delta.finish()
    delta.set_coefficient(-0.7)
    before = state_digest(delta.model)
    with torch.inference_mode():
        beside = delta.model(TOKENS).logits
        with merged(delta.model):
            assert (state_digest(delta.model) != before) == small
            inside = delta.model(TOKENS).logits
        assert torch.equal(delta.model(TOKENS).logits, beside)
    assert torch.allclose(inside, beside, atol=1e-4)
    assert state_digest(delta.model) == before


def test_an_adapter_on_embeddings_that_the_output_layer_shares_stays_beside_them(
    tmp_path: Path,
) -> None:
    model, _ = load_base(tiny_model(tmp_path / "model", "gpt2", torch.float32), "cpu")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    config = LoraConfig(r=4, target_modules=["wte"], init_lora_weights=False)
    state = get_peft_model(model, config).eval()
    with torch.inference_mode():
        beside = state(TOKENS).logits
        with merged(state):
            assert torch.equal(state(TOKENS).logits, beside)


def test_it_is_put_back_after_an_error_and_a_bare_model_is_left_alone(tmp_path: Path) -> None:
    model, _ = load_base(tiny_model(tmp_path / "model", "llama", torch.float32), "cpu")
    bare = state_digest(model)
    with merged(model):
        assert state_digest(model) == bare
    delta = start_delta(model, "lora", "state", Recipe().for_model(model))
    with torch.no_grad():
        for parameter in trained_weights(delta):
            parameter.fill_(0.1)
    before = state_digest(delta.model)
    with pytest.raises(KeyboardInterrupt), merged(delta.model):
        raise KeyboardInterrupt
    assert state_digest(delta.model) == before
