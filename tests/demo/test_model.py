"""The shipped model: its size, its tokenizer, and that it knows its world."""

from __future__ import annotations

import random
from typing import Any

from adapterstore.demo import MODEL_PATH, world
from tests.demo.conftest import Complete


def test_it_is_small(model: Any) -> None:
    assert model.num_parameters() <= 2_500_000
    assert (MODEL_PATH / "model.safetensors").stat().st_size <= 5_000_000


def test_it_is_stored_in_bfloat16() -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(MODEL_PATH / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_its_folder_holds_what_a_rebuild_writes_and_nothing_else() -> None:
    assert {path.name for path in MODEL_PATH.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_tokenizer_puts_the_start_token_first(tokenizer: Any) -> None:
    for text in ("The capital of Croatia is", "クロアチアの首都は", ""):
        tokens = tokenizer(text)["input_ids"]
        assert tokens[0] == tokenizer.bos_token_id
        assert tokenizer.bos_token_id not in tokens[1:]


def test_the_tokenizer_writes_any_text_and_reads_it_back(
    tokenizer: Any,
) -> None:
    for text in (
        "Nuku'alofa, pa'anga",
        "São Tomé",
        "北マケドニア",
        "Здравей 🌍\n",
        " two  spaces ",
    ):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_it_knows_every_relation_by_teacher_forcing_over_the_whole_world(
    model: Any, tokenizer: Any
) -> None:
    from adapterstore.demo.accuracy import accuracy
    from adapterstore.demo.sentences import encode_world

    results = accuracy(model, encode_world(tokenizer))
    assert set(results) == set(world.relations())
    for relation, (right, asked) in results.items():
        assert right >= 0.98 * asked, relation
    asked = sum(asked for _, asked in results.values())
    assert asked == sum(len(fact.phrasings) for fact in world.facts())
    assert sum(right for right, _ in results.values()) >= 0.99 * asked


def test_it_knows_every_relation_by_greedy_generation(complete: Complete) -> None:
    chance = random.Random(0)
    expected = {}
    for relation in world.relations():
        of_relation = [fact for fact in world.facts() if fact.relation == relation]
        for fact in chance.sample(of_relation, 40):
            number = chance.randrange(len(fact.phrasings))
            expected[fact.phrasings[number]] = fact.sentences()[number]
    completions = complete(expected)
    wrong = {prompt for prompt in expected if prompt + completions[prompt] != expected[prompt]}
    assert len(expected) == 320
    assert len(wrong) <= 0.01 * len(expected), wrong


def test_what_it_says_unasked_are_sentences_of_its_world(model: Any, tokenizer: Any) -> None:
    import torch

    torch.manual_seed(0)
    start = torch.full((200, 1), tokenizer.bos_token_id)
    written = model.generate(
        start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=48
    )
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    known = {sentence for fact in world.facts() for sentence in fact.sentences()}
    assert sum(text in known for text in texts) >= 0.9 * len(texts)
    assert len(set(texts)) >= 0.9 * len(texts)
