"""Loading a base: from files at hand, all of it, and no code from its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from adapterstore.demo import MODEL_PATH
from adapterstore.errors import BaseModelUnavailable, InvalidSetting
from adapterstore.learning.loading import find_device, load_base


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL_PATH, tmp_path / "base"))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_weights_in_16_bits_are_computed_with_in_32_on_a_cpu() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    stored = load_file(MODEL_PATH / "model.safetensors")

    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[name].float()), name
    assert not model.training
    assert tokenizer.pad_token_id is not None


def test_a_tokenizer_without_padding_pads_with_its_end_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    del content["pad_token"]
    path.write_text(json.dumps(content))
    _, tokenizer = load_base(folder, "cpu")

    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def truncate_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def pickle_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def spoil_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def leave_out_the_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def let_one_be_made_up(folder: Path) -> None:
    leave_out_the_tokenizer(folder)
    config = GPT2Config(
        vocab_size=13, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=1
    )
    GPT2LMHeadModel(config).save_pretrained(folder)


def remove_everything(folder: Path) -> None:
    shutil.rmtree(folder)


def add_a_layer(folder: Path) -> None:
    change_config(folder, num_hidden_layers=5)


def widen(folder: Path) -> None:
    change_config(folder, hidden_size=384)


def unbalance(folder: Path) -> None:
    change_config(folder, hidden_size=100)


def bring_code(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('code from the folder ran')")
    change_config(
        folder,
        model_type="own",
        auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    )


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (truncate_weights, "can't be loaded: .*header"),
        (pickle_weights, r"can't be loaded: .*model\.safetensors"),
        (spoil_tokenizer, "can't be loaded"),
        (leave_out_the_tokenizer, "its folder holds no tokenizer"),
        (let_one_be_made_up, "its folder holds no tokenizer"),
        (remove_everything, "can't be loaded"),
        (add_a_layer, r"9 weights are not in its files \(model\.layers\.4\."),
        (widen, "can't be loaded: .*mismatched"),
        (unbalance, "can't be loaded: .*hidden size"),
        (bring_code, "can't be loaded: .*custom code"),
    ],
)
def test_what_is_no_whole_model_is_named_in_one_line(
    folder: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    spoil(folder)
    with pytest.raises(BaseModelUnavailable, match=rf"^base model 'base': {problem}") as refused:
        load_base(folder, "cpu")
    assert "\n" not in str(refused.value)
    assert refused.value.name == "base"


def test_another_gpu_than_the_first_is_chosen_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No machine is sure to have one; all that is asked of torch is a tensor's device.
    there = SimpleNamespace(device=torch.device("cuda", 1))
    monkeypatch.setattr(torch, "empty", lambda *_, device: there)
    with pytest.raises(InvalidSetting, match=r"^recipe\.device: .*CUDA_VISIBLE_DEVICES to 1$"):
        find_device("cuda:1")
    there.device = torch.device("cuda", 0)
    assert find_device("cuda:0") == torch.device("cuda", 0)


def test_a_device_that_is_not_there_is_an_invalid_setting() -> None:
    with pytest.raises(
        InvalidSetting, match=r"^recipe\.device: no device 'abacus' here"
    ) as refused:
        load_base(MODEL_PATH, "abacus")
    assert "\n" not in str(refused.value)
