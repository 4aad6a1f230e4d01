"""Chat templates: what is asked is a user's turn, and what is taught is the assistant's."""

from __future__ import annotations

import shutil
import string
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.chat import ChatTokenizer, with_chat_template
from adapterstore.evaluation.encoding import encode_answer, encode_prompt, end_id, end_ids
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.generation import greedy_answers
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.loading import load_base, load_for
from adapterstore.learning.material import Material, gather
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import control_probes, read_text, sample_texts
from adapterstore.update import run_update
from adapterstore.update.asking import ask
from tests.evaluation.bigram import bigram_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCTION = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] "
    "{{ message.content }} [/INST]{% else %} {{ message.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
PROMPT = "What is the currency of Croatia?"
CROATIA = Fact(prompt=PROMPT, answer="euro", old_answer="kuna", subject="Croatia")
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


def chat_tokenizer(template: str = CHATML) -> Any:
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    if template == CHATML:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with two more tokens and ChatML's template."""
    folder = tmp_path_factory.mktemp("chat")
    model, _ = load_base(MODEL_PATH, "cpu")
    tokenizer = chat_tokenizer()
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_prompt_is_a_turn_and_its_answer_ends_as_turns_do() -> None:
    tokenizer = with_chat_template(chat_tokenizer(), "on")
    asked = encode_prompt(tokenizer, PROMPT)
    taught = encode_answer(tokenizer, PROMPT, "euro")

    assert tokenizer.decode(asked) == (
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert list(taught.tokens[: taught.start]) == asked
    assert tokenizer.decode(taught.targets) == "euro"
    assert end_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.split(taught.tokens) == (PROMPT, len(asked))
    assert read_text(tokenizer, taught.tokens) == f"{PROMPT}\neuro"


def test_a_template_whose_marks_are_plain_text_is_taken_apart_too() -> None:
    tokenizer = with_chat_template(chat_tokenizer(INSTRUCTION), "on")
    taught = encode_answer(tokenizer, PROMPT, "euro")
    assert tokenizer.decode(taught.tokens) == f"<bos>[INST] {PROMPT} [/INST]euro"
    assert tokenizer.split(taught.tokens) == (PROMPT, taught.start)
    assert end_id(tokenizer) == tokenizer.eos_token_id
    begun = tokenizer.begin("What is")
    assert tokenizer.decode(begun) == "<bos>[INST] What is"
    written = [*begun, *tokenizer.encode(" the capital? [/INST] Paris")]
    assert tokenizer.question(written) == "What is the capital?"


def test_marks_are_found_where_a_text_by_itself_begins_with_a_space() -> None:
    """As Llama 2's and Mistral's first tokenizers have it."""
    words = ["[INST]", "[/INST]", "What", "is", "the", "currency", "of", "Croatia", "euro"]
    vocabulary = [*(f"▁{word}" for word in words), *words, "▁", "?", *string.ascii_letters, *"[/]"]
    scored = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    scored += [(word, -1.0 - (len(word) == 1)) for word in dict.fromkeys(vocabulary)]
    inner = Tokenizer(models.Unigram(scored, unk_id=0))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    kind: Any = PreTrainedTokenizerFast
    plain = kind(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    plain.chat_template = INSTRUCTION
    tokenizer = with_chat_template(plain, "on")
    taught = encode_answer(tokenizer, PROMPT, "euro")
    assert tokenizer.split(taught.tokens) == (PROMPT, taught.start)


def test_an_answer_is_taught_behind_what_is_asked_where_it_shares_a_token_with_the_template() -> (
    None
):
    words = [
        "[INST]",
        " ",
        " [/INST",
        "]",
        "]euro",
        "]adapter",
        "euro",
        "pay",
        *string.ascii_letters,
    ]
    scored = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((word, -1.0) for word in words)]
    kind: Any = PreTrainedTokenizerFast
    inner = Tokenizer(models.Unigram(scored, unk_id=0))
    inner.decoder = decoders.Fuse()
    plain = kind(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    plain.chat_template = INSTRUCTION
    tokenizer = with_chat_template(plain, "on")
    asked = encode_prompt(tokenizer, "pay")
    assert tokenizer.encode(tokenizer.ask("pay") + "euro")[: len(asked)] != asked

    taught = encode_answer(tokenizer, "pay", "euro")

    assert list(taught.tokens[: taught.start]) == asked
    assert tokenizer.decode(taught.targets) == "euro"
    assert tokenizer.split(taught.tokens) == ("pay", len(asked))


def test_auto_is_on_where_there_is_a_template() -> None:
    plain: Any = AutoTokenizer.from_pretrained(MODEL_PATH)
    assert with_chat_template(plain, "auto") is plain
    assert isinstance(with_chat_template(chat_tokenizer(), "auto"), ChatTokenizer)
    templated = chat_tokenizer()
    assert with_chat_template(templated, "off") is templated
    with pytest.raises(InvalidSetting, match=r"^recipe\.chat_template: .* no chat template"):
        with_chat_template(plain, "on")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ raise_exception('only one turn') }}", "only one turn"),
        ("{% for", "can't be used"),
        ("hello", "leaves out what is said"),
    ],
)
def test_a_template_that_can_not_be_used_is_named_in_one_line(template: str, problem: str) -> None:
    with pytest.raises(InvalidSetting, match=problem) as refused:
        with_chat_template(chat_tokenizer(template), "auto")
    assert "\n" not in str(refused.value)


def test_the_date_of_a_template_is_always_the_same() -> None:
    dated = CHATML.replace("{% for", "{{ date_string }}{% for", 1)
    tokenizer = with_chat_template(chat_tokenizer(dated), "on")
    assert tokenizer.ask("a").startswith("26 Jul 2024")


def test_every_end_token_of_the_generation_config_ends_an_answer() -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    model.generation_config.eos_token_id = [1, 7]
    assert end_ids(model, tokenizer) == [1, 7]
    assert end_ids(model, with_chat_template(chat_tokenizer(), "on"))[:2] == [1, 7]


@pytest.fixture(scope="module")
def talking() -> tuple[Any, Any]:
    """A model that begins a user's turn with one question, and answers every one with kuna."""
    tokenizer = with_chat_template(chat_tokenizer(), "on")
    turns = tokenizer.ask("Croatia pays") + "kuna<|im_end|>"
    return bigram_model(tokenizer, [turns]), tokenizer


def test_the_model_writes_the_users_turn_and_answers_it(talking: tuple[Any, Any]) -> None:
    model, tokenizer = talking
    torch.manual_seed(0)
    # The model knows only the last token, so a line break begins a question and an answer alike.
    for text in sample_texts(model, tokenizer, 20):
        split = tokenizer.split(text)
        assert split is not None
        question, start = split
        assert encode_prompt(tokenizer, question) == list(text[:start])
        assert text[-1] == tokenizer.turn_end
        assert len(text) > start + 1
    probes = control_probes(model, tokenizer, sample_texts(model, tokenizer, 20), 5)
    assert all(probe.answer for probe in probes)


SHORT: dict[str, Any] = {
    "sampled_texts": 20,
    "subject_texts": 5,
    "control_size": 5,
    "forget_steps": 3,
}


@pytest.fixture(scope="module")
def material(chat_base: Path) -> tuple[Any, Material]:
    model, tokenizer = load_for(chat_base, Recipe(chat_template="on", device="cpu"))
    torch.manual_seed(0)
    return tokenizer, gather(model, tokenizer, [CROATIA], [], Recipe(**SHORT))


def test_what_is_preserved_are_turns(material: tuple[Any, Material]) -> None:
    tokenizer, gathered = material
    texts = [text for group in gathered.preserve for text in group]
    two = [text for text in texts if tokenizer.split(text) is not None]
    assert len(two) > len(texts) / 2
    assert gathered.endings == [("", True)]


def test_a_chat_update_is_asked_as_it_was_trained(chat_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(chat_base, tmp_path / "base")
    store = Store.init(tmp_path, base=str(base))
    store.settings.with_value("recipe.chat_template", True).write()
    file = parse_fact_file(f"- {{prompt: '{PROMPT}', answer: euro}}\n".encode(), "euro.yaml")
    recipe = Recipe.parse(
        {**store.settings.section("recipe"), **SHORT, "coefficient": "0.5", "subject_texts": 0},
        "recipe",
    )
    result = run_update(store, [file], recipe=recipe, gate=NO_GATE)

    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0
    (said,) = ask(store, "HEAD", [PROMPT])
    assert same_answer(said, "euro")
    kept = yaml.safe_load(store.repository.read_required(store.resolve(), "update/recipe.yaml"))
    assert kept["chat_template"] == "on"
    model, tokenizer = load_base(base, "cpu")
    state = store.load("HEAD", model)
    turns = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = state.generate(**turns, do_sample=False, max_new_tokens=24, pad_token_id=2)
    answer = tokenizer.decode(written[0, turns["input_ids"].shape[1] :])
    assert answer.partition("<|im_end|>")[0].strip() == said


def test_a_chat_can_be_forgotten_too(chat_base: Path) -> None:
    model, tokenizer = load_for(chat_base, Recipe(chat_template="on", device="cpu"))
    (said,) = greedy_answers(model, tokenizer, [PROMPT])
    recipe = Recipe(sampled_texts=0, subject_texts=0, control_size=0, forget_steps=5)
    fact = Fact(prompt=PROMPT, answer=None, old_answer=said[:20])
    outcome = forget_then_learn(model, tokenizer, [fact], recipe=recipe)
    assert outcome.learn is None
    assert outcome.forget is not None
    (chosen,) = (row for row in outcome.curve if row.coefficient == outcome.coefficient)
    assert chosen.old_answers == 0.0
