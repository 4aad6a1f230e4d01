"""Writing on while what is done leaves the batch is writing on as transformers does."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.demo import world
from adapterstore.evaluation import generation
from adapterstore.evaluation.decoding import can_write_on, rows_at_once, write_on
from adapterstore.evaluation.generation import continue_tokens
from adapterstore.learning.loading import load_base
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Recipe
from tests.learning.families import FAMILIES, family_model
from tests.learning.tiny import trained_weights

PROMPTS = [prompt for fact in list(world.facts())[:40] for prompt in fact.phrasings[:3]]


def by_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "can_write_on", lambda _: False)


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_writes_what_generate_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model, tokenizer = load_base(family_model(tmp_path / kind, kind), "cpu")
    assert can_write_on(model)
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS[:24]]
    ours = continue_tokens(model, tokenizer, rows, 16)
    by_transformers(monkeypatch)
    assert ours == continue_tokens(model, tokenizer, rows, 16)


def test_a_state_with_an_adapter_writes_what_generate_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, tokenizer = load_base(family_model(tmp_path / "llama", "llama"), "cpu")
    delta = start_delta(model, "lora", "learn", Recipe().for_model(model))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in trained_weights(delta):
            parameter.normal_(0, 0.2)
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS[:24]]
    ours = continue_tokens(delta.model.eval(), tokenizer, rows, 16)
    by_transformers(monkeypatch)
    assert ours == continue_tokens(delta.model, tokenizer, rows, 16)


def test_rows_of_a_batch_end_each_at_its_own_time(model: Any, tokenizer: Any) -> None:
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    ends = [tokenizer.eos_token_id]
    options: dict[str, Any] = {"most": 24, "ends": ends, "padding": 0}
    together = write_on(model, rows, **options)
    assert together == [write_on(model, [row], **options)[0] for row in rows]
    assert len({len(tokens) for tokens in together}) > 2
    assert write_on(model, rows, **{**options, "most": 0}) == [[] for _ in rows]
    assert {len(tokens) for tokens in write_on(model, rows, **{**options, "ends": []})} == {24}


def test_what_is_drawn_is_the_models_distribution(model: Any, tokenizer: Any) -> None:
    row = [tokenizer.bos_token_id]
    with torch.inference_mode():
        shares = model(torch.tensor([row])).logits[0, -1].softmax(-1)
    count = 4000
    torch.manual_seed(0)
    drawn = write_on(model, [row] * count, most=1, ends=[], padding=0, sample=True)
    torch.manual_seed(0)
    assert drawn == write_on(model, [row] * count, most=1, ends=[], padding=0, sample=True)
    found = torch.tensor(drawn)[:, 0].bincount(minlength=len(shares)) / count
    likely = shares > 0.01
    assert int(likely.sum()) >= 2
    for share, seen in zip(shares[likely].tolist(), found[likely].tolist(), strict=True):
        assert abs(share - seen) < 5 * math.sqrt(share * (1 - share) / count)


def test_a_large_model_writes_on_from_fewer_rows(model: Any) -> None:
    row = 2 * 4 * 192 * 4
    assert rows_at_once(model, 72, 128) == 512
    assert rows_at_once(model, (1 << 28) // row // 200, 128) == 200
    assert rows_at_once(model, (1 << 28) // row // 100, 128) == 128
    assert rows_at_once(model, (1 << 31) // row // 100, 128) == 100
    assert rows_at_once(model, 1 << 31, 128) == 1
    # Half the bytes a key, twice the rows.
    half = copy.deepcopy(model).to(torch.bfloat16)
    assert rows_at_once(half, (1 << 31) // row // 50, 128) == 100
