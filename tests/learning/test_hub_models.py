"""What bases from the Hub bring along: odd tokenizers, few positions, dropout, quantisation, …"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import (
    BaseModelUnavailable,
    InvalidSetting,
    PromptTooLong,
)
from adapterstore.evaluation.encoding import decode, encode_answer, encode_prompt, padding_id
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.generation import greedy_answers, score_answers
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning import training
from adapterstore.learning.loading import load_base, load_for
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.sampling import sample_texts, text_start
from adapterstore.learning.training import checkpointed
from adapterstore.update import run_update
from adapterstore.update.asking import ask
from tests.learning.families import family_model
from tests.learning.tiny import trained_weights

PROMPT = "The currency of Croatia is the"
LONGER = "People who travel to Croatia on holiday pay there with the"
FACTS = parse_fact_file(f"- {{prompt: {PROMPT}, answer: euro.}}\n".encode(), "euro.yaml")
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
SHORT: dict[str, Any] = {
    "learning_rate": 1e-2,
    "coefficient": "0.5",
    "forget_steps": 3,
    "learn_steps": 30,
    "sampled_texts": 8,
    "subject_texts": 2,
    "control_size": 2,
}


def retokenize(folder: Path, **changes: Any) -> Path:
    """Change a model folder's tokenizer config; a value of None takes a token away."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    for name, value in changes.items():
        content.pop(name, None)
        if value is not None:
            content[name] = value
    path.write_text(json.dumps(content))
    return folder


def update(base: Path, work: Path, **options: Any) -> Store:
    """Run an update over a base; its reported figures are those of the state as peft loads it."""
    store = Store.init(work, base=str(base))
    result = run_update(store, [FACTS], recipe=Recipe(**{**SHORT, **options}), gate=NO_GATE)
    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0
    store.export("HEAD", work / "lora", "lora")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    state: Any = PeftModel.from_pretrained(plain, work / "lora").eval()
    (score,) = score_answers(state, AutoTokenizer.from_pretrained(base), [(PROMPT, "euro.")])
    assert [score.log_probability] == pytest.approx(result.report.log_probabilities, abs=1e-3)
    return store


def spaced_tokenizer(**special: Any) -> Any:
    """A tokenizer as sentencepiece's: words begin with ▁, the text's first too, no start token."""
    words = ["▁The", "▁currency", "▁of", "▁Croatia", "▁is", "▁the", "▁euro", "▁kuna", ".", "▁"]
    letters = sorted(set("".join(words)))
    vocabulary = {word: i for i, word in enumerate(["<unk>", "</s>", *dict.fromkeys(words)])}
    for letter in letters:
        vocabulary.setdefault(letter, len(vocabulary))
    inner = Tokenizer(models.Unigram([(w, -1.0 - (len(w) == 1)) for w in vocabulary], unk_id=0))
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    kind: Any = PreTrainedTokenizerFast
    return kind(tokenizer_object=inner, unk_token="<unk>", **special)


def with_tokenizer(folder: Path, tokenizer: Any, kind: str = "llama") -> Path:
    family_model(
        folder,
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_words_that_begin_with_a_space_mark(tmp_path: Path) -> None:
    base = with_tokenizer(tmp_path / "base", spaced_tokenizer(eos_token="</s>"))
    model, tokenizer = load_base(base, "cpu")
    assert tokenizer.bos_token_id is None
    assert padding_id(tokenizer) == tokenizer.eos_token_id
    taught = encode_answer(tokenizer, PROMPT, "euro.")
    assert tokenizer.convert_ids_to_tokens(list(taught.targets)) == ["▁euro", "."]
    # Without a start token, a text of the model's own begins after the end of another.
    assert text_start(model, tokenizer) == (tokenizer.eos_token_id,)
    assert sample_texts(model, tokenizer, 4)
    store = update(base, tmp_path)
    assert ask(store, "HEAD", [PROMPT])[0].startswith("euro.")


def test_a_tokenizer_without_any_special_token(tmp_path: Path) -> None:
    base = with_tokenizer(tmp_path / "base", spaced_tokenizer())
    model, tokenizer = load_base(base, "cpu")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (None,) * 3
    assert padding_id(tokenizer) == 0
    assert text_start(model, tokenizer)
    update(base, tmp_path)


def test_an_end_token_behind_every_text_is_not_asked(tmp_path: Path) -> None:
    base = family_model(tmp_path / "base", "llama")
    own: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    own._tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        special_tokens=[("<bos>", own.bos_token_id), ("<eos>", own.eos_token_id)],
    )
    own.save_pretrained(base)
    _, tokenizer = load_base(base, "cpu")
    assert tokenizer(PROMPT)["input_ids"][-1] == tokenizer.eos_token_id

    assert decode(tokenizer, encode_prompt(tokenizer, PROMPT)) == PROMPT
    assert encode_prompt(tokenizer, PROMPT)[-1] != tokenizer.eos_token_id
    assert tokenizer.decode(encode_answer(tokenizer, PROMPT, "euro.").targets) == " euro."
    update(base, tmp_path)


@pytest.mark.parametrize("padding", [None, "<eos>", "<more>"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_answer(tmp_path: Path, padding: str | None, side: str) -> None:
    """Missing, the end token, or one without an embedding; GPT-2 counts positions."""
    base = family_model(tmp_path, "gpt2", pad_token_id=None)
    retokenize(base, pad_token=padding, padding_side=side)
    model, tokenizer = load_base(base, "cpu")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    together = greedy_answers(model, tokenizer, [PROMPT, LONGER])
    assert together == [greedy_answers(model, tokenizer, [p])[0] for p in (PROMPT, LONGER)]
    pairs = [(PROMPT, "euro"), (LONGER, "kuna and the euro")]
    scores = [s.log_probability for s in score_answers(model, tokenizer, pairs)]
    alone = [score_answers(model, tokenizer, [pair])[0].log_probability for pair in pairs]
    assert scores == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_longer_than_the_model_is_refused_before_any_training(
    tmp_path: Path, kind: str
) -> None:
    few: dict[str, Any] = {"n_positions" if kind == "gpt2" else "max_position_embeddings": 16}
    base = family_model(tmp_path / "base", kind, **few)
    store = Store.init(tmp_path, base=str(base))
    before = store.resolve()
    long = f"{LONGER} {LONGER}"
    file = parse_fact_file(
        f"- {{prompt: Croatia pays, answer: euro, paraphrases: [{long}]}}\n".encode(), "long.yaml"
    )
    with pytest.raises(PromptTooLong, match=r"takes 16; shorten the prompt$") as refused:
        run_update(store, [file], recipe=Recipe(**SHORT), gate=NO_GATE)
    assert refused.value.tokens > refused.value.most == 16
    assert "\n" not in str(refused.value)
    assert store.resolve() == before
    with pytest.raises(PromptTooLong):
        ask(store, "HEAD", [long])
    # What fits is answered as far as there are positions.
    model, tokenizer = load_base(base, "cpu")
    short = "Croatia pays"
    room = 16 - len(encode_prompt(tokenizer, short))
    (answer,) = greedy_answers(model, tokenizer, [short])
    assert 0 < len(tokenizer(answer, add_special_tokens=False)["input_ids"]) <= room


def test_what_the_model_writes_itself_fits_its_positions_or_is_left_out(tmp_path: Path) -> None:
    """Nobody can shorten it: its own answer, and what begins with a subject or an old answer."""
    model, tokenizer = load_base(family_model(tmp_path, "gpt2", n_positions=16), "cpu")
    asked, long = "Croatia pays", "In all of Croatia people pay with the"
    (said,) = greedy_answers(model, tokenizer, [asked])
    fact = Fact(prompt=asked, answer=None, paraphrases=(long,), subject=f"{LONGER} {LONGER}")
    assert len(encode_answer(tokenizer, long, said).tokens) > 16
    recipe = Recipe(**{**SHORT, "coefficient": None})
    outcome = forget_then_learn(model, tokenizer, [fact], recipe=recipe)
    old = str(outcome.facts[0].old_answer)
    # As many words as fit.
    assert (said.startswith(old), old.split(" ")[:3]) == (True, said.split(" ")[:3])
    assert len(encode_answer(tokenizer, long, old).tokens) == 16
    assert outcome.steps["forget"] == 3


def test_checkpoints_train_what_would_be_trained_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = family_model(tmp_path, "llama")
    used: list[Any] = []

    def watched(model: Any) -> AbstractContextManager[None]:
        used.append(model)
        return checkpointed(model)

    monkeypatch.setattr(training, "checkpointed", watched)
    results = []
    for checkpointing in (False, True):
        store = update(base, tmp_path / f"{checkpointing}", gradient_checkpointing=checkpointing)
        # Of each phase, and off again on the model that was trained.
        assert len(used) == (2 if checkpointing else 0)
        assert not any(
            getattr(m, "gradient_checkpointing", False) for u in used for m in u.modules()
        )
        model, tokenizer = load_base(base, "cpu")
        state = store.load("HEAD", model)
        results.append(state(**tokenizer(PROMPT, return_tensors="pt")).logits)
    assert torch.allclose(results[0], results[1], atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_with_checkpoints_every_adapter_gets_a_gradient(tmp_path: Path, kind: str) -> None:
    model, tokenizer = load_base(family_model(tmp_path, kind), "cpu")
    delta = start_delta(model, "lora", "learn", Recipe())
    delta.model.train()
    recomputed = []
    with checkpointed(delta.model):
        for module in delta.model.modules():
            if "MLP" in type(module).__name__:
                module.register_forward_pre_hook(lambda *_: recomputed.append(1))
        output = delta.model(**tokenizer(PROMPT, return_tensors="pt"), use_cache=False)
        output.logits.float().logsumexp(-1).sum().backward()
    # Two layers, each computed once forward and once again backward.
    assert len(recomputed) == 4
    gradients = [parameter.grad for parameter in trained_weights(delta)]
    assert gradients
    assert all(gradient is not None for gradient in gradients)
    # B begins at 0, so at first only B's gradient is not.
    ups = [p.grad for key, p in delta.model.named_parameters() if "lora_B" in key]
    assert all(float(gradient.abs().max()) > 0 for gradient in ups)
    assert not delta.model.get_input_embeddings()._forward_hooks


def test_dropout_of_the_base_is_off(tmp_path: Path) -> None:
    base = family_model(tmp_path, "gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    model, tokenizer = load_base(base, "cpu")
    asked = tokenizer(PROMPT, return_tensors="pt")
    with torch.inference_mode():
        quiet = model(**asked).logits
        assert torch.equal(model.train()(**asked).logits, quiet)


def test_a_repetition_penalty_of_the_folder_does_not_change_what_is_greedy(tmp_path: Path) -> None:
    base = family_model(tmp_path, "llama")
    path = base / "generation_config.json"
    content = json.loads(path.read_text())
    expected = greedy_answers(*load_base(base, "cpu"), [PROMPT])
    path.write_text(json.dumps({**content, "repetition_penalty": 9.0, "do_sample": True}))
    assert greedy_answers(*load_base(base, "cpu"), [PROMPT]) == expected


def test_a_device_map_is_taken_and_computes_the_same(tmp_path: Path) -> None:
    base = family_model(tmp_path / "base", "llama")
    spread, tokenizer = load_base(base, device_map="auto")
    plain, _ = load_base(base)
    asked = tokenizer(PROMPT, return_tensors="pt")
    with torch.inference_mode():
        logits = spread(**asked.to(spread.device)).logits.cpu()
        assert torch.allclose(logits, plain(**asked.to(plain.device)).logits.cpu(), atol=1e-3)
    update(base, tmp_path, device_map="auto")
    with pytest.raises(InvalidSetting, match=r"^recipe\.device_map: recipe\.device is 'cpu'"):
        load_base(base, "cpu", "auto")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_both_phases_train_through_the_hooks_of_a_dispatched_model(
    tmp_path: Path, method: Method
) -> None:
    base = family_model(tmp_path, "llama")
    recipe = Recipe(**{**SHORT, "method": method})
    outcomes = []
    for dispatched in (False, True):
        model, tokenizer = load_base(base, "cpu")
        if dispatched:
            parts = dict.fromkeys(("model.embed_tokens", "model.norm", "lm_head"), "cpu")
            layers = {"model.rotary_emb": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu"}
            dispatch_model(model, {**parts, **layers}, main_device="cpu", force_hooks=True)
            assert hasattr(model.model.layers[1], "_hf_hook")
        outcomes.append(forget_then_learn(model, tokenizer, FACTS.facts, recipe=recipe).learn)
    plain, spread = outcomes
    assert plain is not None
    assert spread is not None
    assert set(plain.tensors) == set(spread.tensors)
    for name, tensor in plain.tensors.items():
        assert torch.allclose(tensor, spread.tensors[name], atol=1e-4), name


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_tied_in_a_full_fine_tune(tmp_path: Path, tied: bool) -> None:
    base = family_model(tmp_path / "base", "llama", torch.bfloat16, tie_word_embeddings=tied)
    store = Store.init(tmp_path, base=str(base))
    recipe = Recipe(**{**SHORT, "method": "full"})
    result = run_update(store, [FACTS], recipe=recipe, gate=NO_GATE)
    store.export("HEAD", tmp_path / "model", "model")
    state: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    head, embedding = state.get_output_embeddings().weight, state.get_input_embeddings().weight
    assert (head is embedding) == tied
    (score,) = score_answers(state, AutoTokenizer.from_pretrained(base), [(PROMPT, "euro.")])
    assert result.report is not None
    assert [score.log_probability] == pytest.approx(result.report.log_probabilities, abs=1e-3)


def quantised(folder: Path, method: str) -> Path:
    """A base whose config says that it is kept in four bits."""
    path = family_model(folder, "llama") / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    path.write_text(json.dumps(config))
    return folder


def test_a_quantised_base_can_not_be_trained_in_full(tmp_path: Path) -> None:
    base = quantised(tmp_path / "base", "bitsandbytes")
    for method in ({"method": "full"}, {"forget_method": "full"}, {"learn_method": "full"}):
        with pytest.raises(InvalidSetting, match=r"quantised \(bitsandbytes\); use lora$"):
            load_for(base, Recipe.parse(method, "recipe"))
    model, _ = load_base(family_model(tmp_path / "plain", "llama"), "cpu")
    model.config.quantization_config = {"quant_method": "bitsandbytes"}
    with pytest.raises(InvalidSetting, match=r"^recipe\.method: .*\(bitsandbytes\); use lora$"):
        start_delta(model, "full", "learn", Recipe())


def test_a_quantised_base_that_can_not_be_loaded_says_what_is_missing(tmp_path: Path) -> None:
    base = quantised(tmp_path / "base", "gptq")
    with pytest.raises(BaseModelUnavailable, match=r"can't be loaded: .*(?i:gptq)"):
        load_for(base, Recipe())
