from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from adapterstore.demo import MODEL_PATH

Complete = Callable[[Iterable[str]], dict[str, str]]


@pytest.fixture(scope="package")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL_PATH)


@pytest.fixture(scope="package")
def model() -> Any:
    """The shipped bfloat16 weights, computed in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32)


@pytest.fixture(scope="package")
def complete(model: Any, tokenizer: Any) -> Complete:
    """Greedy generation: prompts → what the model writes after each, up to its end token."""
    import torch

    def complete(prompts: Iterable[str]) -> dict[str, str]:
        by_length = defaultdict(list)
        for prompt in prompts:
            by_length[len(tokenizer(prompt)["input_ids"])].append(prompt)
        completions: dict[str, str] = {}
        for length, group in by_length.items():
            tokens = torch.tensor([tokenizer(prompt)["input_ids"] for prompt in group])
            written = model.generate(tokens, attention_mask=torch.ones_like(tokens))[:, length:]
            texts = tokenizer.batch_decode(written, skip_special_tokens=True)
            completions.update(zip(group, texts, strict=True))
        return completions

    return complete
