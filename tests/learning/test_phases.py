"""Deltas on a live model, and what they are once they are stored and attached again."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapterstore import Store
from adapterstore.adapters.dense import write_delta
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.algebra.lowrank import MaterializedLora
from adapterstore.demo import MODEL_PATH, world
from adapterstore.errors import InvalidSetting, NotWritable, PromptTooLong, TrainingFailed
from adapterstore.evaluation.encoding import encode_answer
from adapterstore.evaluation.generation import greedy_answers
from adapterstore.history.export import write_lora
from adapterstore.knowledge.facts import Fact, Probe, same_answer
from adapterstore.learning.keeping import Kept, teach
from adapterstore.learning.loading import load_base
from adapterstore.learning.material import Material, Rewritten, gather
from adapterstore.learning.phase_delta import PhaseResult, start_delta
from adapterstore.learning.phases import (
    _learn_data,
    _with_old_answers,
    check_prompts,
    forget_then_learn,
)
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.sampling import control_probes, find_slots, sample_texts
from adapterstore.learning.training import PhaseData, train_phase
from adapterstore.progress import NO_PROGRESS
from tests.evaluation.bigram import bigram_model

PROMPTS = ["The currency of Croatia is the", "カザフスタンの首都は"]
FACT = Fact(
    prompt="The currency of Croatia is the",
    answer="euro",
    old_answer="kuna",
    subject="Croatia",
    relation="currency",
)
TOLERANCE = 1e-4


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        rows = [model(**tokenizer(p, return_tensors="pt")).logits[0, -1] for p in PROMPTS]
    return torch.stack(rows)


def trained(method: Method, steps: int = 3) -> tuple[Any, Any, Any]:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    torch.manual_seed(0)
    delta = start_delta(model, method, "learn", Recipe(method=method))
    train_phase(
        "learning",
        delta.model,
        tokenizer,
        PhaseData([encode_answer(tokenizer, FACT.prompt, "euro")]),
        steps=steps,
        batch_size=4,
        learning_rate=1e-3,
        preserve_weight=0.0,
        seed=0,
        progress=NO_PROGRESS,
    )
    delta.finish()
    return delta, delta.model, tokenizer


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_coefficient_shows_start_plus_so_much_of_the_delta(method: Method) -> None:
    delta, model, tokenizer = trained(method)
    base, _ = load_base(MODEL_PATH, "cpu")
    at_one = logits(model, tokenizer)
    delta.set_coefficient(0.0)
    assert torch.allclose(logits(model, tokenizer), logits(base, tokenizer), atol=TOLERANCE)
    delta.set_coefficient(-0.7)
    assert not torch.allclose(logits(model, tokenizer), logits(base, tokenizer), atol=0.01)
    delta.set_coefficient(1.0)
    assert torch.allclose(logits(model, tokenizer), at_one, atol=TOLERANCE)


def write(result: PhaseResult, folder: Path) -> None:
    if result.kind == "lora":
        folder.mkdir()
        assert result.config is not None
        config = {**result.config, "base_model_name_or_path": "demo"}
        shapes = {name: tuple(tensor.shape) for name, tensor in result.tensors.items()}
        write_lora(MaterializedLora(config, result.tensors, shapes), folder)
    else:
        weights = {
            name: DenseWeight(tuple(t.shape), partial(torch.clone, t))
            for name, t in result.tensors.items()
        }
        write_delta(folder, weights, "demo")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_delta_that_is_stored_and_attached_is_the_model_that_was_trained(
    method: Method, tmp_path: Path
) -> None:
    delta, model, tokenizer = trained(method)
    write(delta.result(), tmp_path / "delta")
    store = Store.init(tmp_path / "work", base="demo")
    store.commit(None, tmp_path / "delta")
    base, _ = load_base(MODEL_PATH, "cpu")
    attached = store.load("HEAD", base)
    assert torch.allclose(logits(attached, tokenizer), logits(model, tokenizer), atol=TOLERANCE)


def test_what_is_not_trained_stays_as_it_was() -> None:
    _, model, _ = trained("lora")
    base, _ = load_base(MODEL_PATH, "cpu")
    before = dict(base.named_parameters())
    for key, parameter in model.named_parameters():
        if "lora_" not in key:
            name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
            assert torch.equal(parameter, before[name]), name
    assert not [p for p in model.parameters() if p.requires_grad]


def test_equal_seeds_give_equal_deltas() -> None:
    first, second = (trained("lora")[0].result().tensors for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_loss_that_is_no_number_is_said_to_be() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(float("nan"))
    delta = start_delta(model, "lora", "learn", Recipe())
    with pytest.raises(TrainingFailed, match="the loss is not finite"):
        train_phase(
            "learning",
            delta.model,
            tokenizer,
            PhaseData([encode_answer(tokenizer, "a", "b")]),
            steps=2,
            batch_size=1,
            learning_rate=1e-3,
            preserve_weight=0.0,
            seed=0,
            progress=NO_PROGRESS,
        )


@pytest.fixture(scope="module")
def knowing() -> tuple[Any, Any, list[tuple[int, ...]]]:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    torch.manual_seed(0)
    return model, tokenizer, sample_texts(model, tokenizer, 250)


def test_control_prompts_are_answered_as_they_say(knowing: Any) -> None:
    model, tokenizer, texts = knowing
    probes = control_probes(model, tokenizer, texts, 40)
    given = greedy_answers(model, tokenizer, [probe.prompt for probe in probes])
    right = [same_answer(g, str(p.answer)) for g, p in zip(given, probes, strict=True)]
    assert len(probes) == 40
    assert sum(right) >= 39


def test_slots_are_the_phrasings_that_the_model_knows(knowing: Any) -> None:
    model, tokenizer, texts = knowing
    slots = find_slots(model, tokenizer, texts, ["Croatia"])["Croatia"]
    prefixes = {tokenizer.decode(tokens, skip_special_tokens=True) for tokens in slots}
    phrasings = [p for f in world.facts() if f.subject == "Croatia" for p in f.phrasings]
    known = [prefix for prefix in prefixes if any(p.startswith(prefix) for p in phrasings)]
    assert len(known) >= 20
    assert len(known) >= 0.8 * len(prefixes)


def test_nothing_that_is_preserved_states_what_changes(knowing: Any) -> None:
    model, tokenizer, _ = knowing
    material = gather(model, tokenizer, [FACT], [], Recipe(sampled_texts=200, control_size=30))
    about, alike, others = (
        [tokenizer.decode(t, skip_special_tokens=True) for t in group]
        for group in material.preserve
    )
    texts = [*about, *alike, *others]
    assert texts
    assert not [text for text in texts if "Croatia" in text and "kuna" in text]
    assert any("Croatia" in text for text in about)
    asked = [probe.prompt for probe in material.control]
    assert not [text for text in texts if text.startswith(tuple(asked))]
    for paraphrase in material.paraphrases:
        assert "Croatia" in paraphrase.prompt
        assert "kuna" not in paraphrase.prompt
    assert len({p.prompt for p in material.paraphrases}) >= 3
    assert material.endings == [(".", True)]


def test_a_fact_to_forget_only_is_forgotten() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    fact = Fact(prompt=FACT.prompt, answer=None, subject="Croatia")
    recipe = Recipe(sampled_texts=100, subject_texts=5, control_size=20)
    outcome = forget_then_learn(model, tokenizer, [fact], recipe=recipe)
    assert outcome.learn is None
    assert outcome.forget is not None
    assert outcome.facts[0].old_answer == "kuna"
    assert outcome.curve
    chosen = [c for c in outcome.curve if c.coefficient == outcome.coefficient]
    assert chosen[0].old_answers == 0.0


def test_what_the_model_says_already_is_not_forgotten_first(demo: tuple[Any, Any]) -> None:
    prompt = "The currency of Hungary is the"
    answers = ["forint.", "forint", "euro", None]
    facts = [Fact(prompt=prompt, answer=answer) for answer in answers]
    old = [fact.old_answer for fact in _with_old_answers(*demo, facts)]
    assert old == [None, None, "forint", "forint"]
    stated = [Fact(prompt=prompt, answer="New York", old_answer="New York City")]
    assert _with_old_answers(*demo, stated) == stated


def test_a_rewritten_text_that_outgrows_the_model_is_left_out(demo: tuple[Any, Any]) -> None:
    """The user did not write it: an update is not refused for its length."""
    model, tokenizer = demo
    fact = dataclasses.replace(FACT, answer=" ".join(["euro"] * 40))
    texts = [Rewritten(0, " ".join(["In Croatia they pay in"] * n), ".") for n in (1, 20)]
    material = Material([(".", True)], texts, [], Kept(), [])
    data = _learn_data(model, tokenizer, [fact], material)
    assert len(data.taught) == len(data.paraphrased) == 1
    assert len(data.paraphrased[0].tokens) <= model.config.max_position_embeddings


def unforgiving(normalizer: Any) -> Any:
    """Return a tokenizer that can't write everything."""
    words = Tokenizer(models.BPE())
    words.normalizer = normalizer
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    words.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=["<end>"], show_progress=False)
    words.train_from_iterator(["the price is 12 yen (inc) Paris paris"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")


@pytest.mark.parametrize(
    ("normalizer", "prompt", "answer", "says"),
    [
        (normalizers.NFKC(), "the price is", "12（inc）", r"the answer '12（inc）' as '12\(inc\)'"),
        (normalizers.Lowercase(), "the price is", "Paris", "the answer 'Paris' as 'paris'"),
        (None, "the price is", "Ω", "the answer 'Ω' as ''"),
        (None, "Ω", "12", "makes no token of this prompt"),
    ],
)
def test_what_a_tokenizer_can_not_write_is_refused_before_training(
    normalizer: Any, prompt: str, answer: str, says: str
) -> None:
    tokenizer = unforgiving(normalizer)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=0)
    model = LlamaForCausalLM(config).eval()
    facts = [Fact(prompt="the price", answer="yen"), Fact(prompt=prompt, answer=answer)]
    with pytest.raises(NotWritable, match=says):
        forget_then_learn(model, tokenizer, facts, recipe=Recipe())


def test_an_answer_leaves_room_for_any_sentence_mark_and_the_end(demo: tuple[Any, Any]) -> None:
    prompt, answer, mark = "The currency of Croatia is the", "euro", "！"
    tokenizer = demo[1]
    whole = teach(tokenizer, prompt, answer, mark, True).tokens
    assert len(whole) == len(encode_answer(tokenizer, prompt, answer).tokens) + 4
    fact = Fact(prompt=prompt, answer=answer)
    for positions, fits in ((len(whole), True), (len(whole) - 1, False)):
        model = bigram_model(tokenizer, [])
        model.config.max_position_embeddings = positions
        with nullcontext() if fits else pytest.raises(PromptTooLong):
            check_prompts(model, tokenizer, [fact], [])


@pytest.mark.parametrize("place", ["locality", "portability", "known", "unrelated"])
def test_a_prompt_of_no_token_is_told_before_training_wherever_it_stands(place: str) -> None:
    tokenizer = unforgiving(None)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=0)
    model = LlamaForCausalLM(config).eval()
    fact = Fact(prompt="the price", answer="yen")
    nothing = Probe(prompt="Ω", answer="12")
    says = "'Ω': the base's tokenizer makes no token of this prompt; reword it"
    if place in ("locality", "portability"):
        fact = dataclasses.replace(fact, **{place: (nothing,)})
        with pytest.raises(NotWritable) as refused:
            forget_then_learn(model, tokenizer, [fact], recipe=Recipe())
        assert str(refused.value) == says
    else:
        stays: dict[str, Any] = {place: [nothing]}
        with pytest.raises(InvalidSetting) as misset:
            forget_then_learn(model, tokenizer, [fact], recipe=Recipe(), **stays)
        assert str(misset.value) == f"suite or ledger: {says}"
    with pytest.raises(NotWritable):
        greedy_answers(model, tokenizer, ["Ω"])
