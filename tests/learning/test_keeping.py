"""What must stay: as the model says it now, a share of its own in every step."""

from __future__ import annotations

from typing import Any

import pytest

from adapterstore.demo import MODEL_PATH
from adapterstore.evaluation.encoding import Example, decode
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning.keeping import Kept, _up_to_answer, ending_of, keep, teach
from adapterstore.learning.loading import load_base
from adapterstore.learning.memory import remember
from adapterstore.learning.phases import forget_then_learn
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.training import PhaseData, _Steps
from tests.evaluation.bigram import bigram_model

HUNGARY = Probe(prompt="The currency of Hungary is the", answer="forint")
CROATIA = Probe(prompt="The currency of Croatia is the", answer="euro")
TOKYO = Probe(prompt="日本では、首都は", answer="東京")
SHORT = Recipe(sampled_texts=60, subject_texts=0, control_size=10, forget=False, learn_steps=60)


def texts(tokenizer: Any, examples: list[Example]) -> list[str]:
    return [tokenizer.decode(example.tokens) for example in examples]


def answers(tokenizer: Any, examples: list[Example]) -> list[str]:
    return [tokenizer.decode(example.targets) for example in examples]


def test_what_the_model_gives_is_kept_with_its_own_ending(demo: tuple[Any, Any]) -> None:
    kept = keep(*demo, [HUNGARY], [], [TOKYO])
    assert answers(demo[1], kept.prompts) == [" forint.<eos>", "東京。<eos>"]
    assert (kept.phrasings, kept.recalled) == ([], [])


def test_an_earlier_fact_that_is_not_given_is_taught_again(demo: tuple[Any, Any]) -> None:
    kept = keep(*demo, [CROATIA, HUNGARY], [], [])
    assert answers(demo[1], kept.recalled) == [" euro.<eos>"]
    assert answers(demo[1], kept.prompts) == [" forint.<eos>"]


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        (" kuna.", (".", True)),
        (" kuna", ("", True)),
        (" kuna.Then", (".", False)),
        (" kuna/euro", None),
        (" kuna.hr", None),
        (" kuna+", None),
        (" kuna's", None),
    ],
)
def test_what_goes_on_is_no_ending(
    demo: tuple[Any, Any], said: str, ending: tuple[str, bool] | None
) -> None:
    end = demo[1].eos_token_id
    row = [*demo[1].encode(said, add_special_tokens=False), end]
    assert decode(demo[1], row) == said
    assert ending_of(demo[1], "kuna", row, [end]) == ending


def test_of_an_unrelated_prompt_whatever_the_model_says_is_kept(demo: tuple[Any, Any]) -> None:
    nothing_said = Probe(prompt="The currency of Romania is the")
    kept = keep(*demo, [], [], [CROATIA, nothing_said])
    assert answers(demo[1], kept.prompts) == [" kuna.<eos>", " Romanian leu.<eos>"]
    assert kept.recalled == []


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Zagreb is big.\nParis", " is big.\n"),
        ("Zagreb\nParis is big", "\nParis is big<eos>"),
        ("Zagreb is big.", " is big.<eos>"),
    ],
)
def test_what_follows_a_line_break_is_not_asked_and_need_not_stay(
    demo: tuple[Any, Any], said: str, kept: str
) -> None:
    model, asked = bigram_model(demo[1], [said]), Probe(prompt="Zagreb")
    found = keep(model, demo[1], [], [], [asked], [asked.prompt])
    assert answers(demo[1], found.prompts) == answers(demo[1], found.required) == [kept]


def test_only_phrasings_with_the_right_answer_are_kept(demo: tuple[Any, Any]) -> None:
    right = Probe(prompt="In Hungary, people pay with the", answer="forint")
    wrong = Probe(prompt="In Croatia, people pay with the", answer="euro")
    kept = keep(*demo, [HUNGARY], [right, wrong], [])
    assert texts(demo[1], kept.phrasings) == [
        "<bos>In Hungary, people pay with the forint.<eos>",
    ]


def test_of_a_large_ledger_the_early_stop_asks_a_sample() -> None:
    few = [Example((0, number), 1) for number in range(64)]
    many = [Example((0, number), 1) for number in range(1000)]
    assert Kept(prompts=few).to_check(0) == few
    sample = Kept(prompts=many).to_check(0)
    assert len(set(sample)) == 64
    assert sample == Kept(prompts=many).to_check(0) != Kept(prompts=many).to_check(1)
    # What is required is asked whatever the sample has of it.
    kept = Kept(prompts=many, required=[sample[0], *(e for e in many if e not in sample)][:3])
    assert kept.to_check(0) == [*sample, *kept.required[1:]]


def test_nothing_required_and_few_earlier_facts_may_be_lost(demo: tuple[Any, Any]) -> None:
    said = Probe(prompt="The currency of Romania is the")
    false = Probe(prompt="The currency of Kenya is the", answer="crown")
    asked = {probe.prompt for probe in (TOKYO, said, false)}
    kept = keep(*demo, [HUNGARY], [], [TOKYO, said, false], asked)
    # Whether what follows an answer stays is another matter.
    assert answers(demo[1], kept.facts) == [" forint"]
    # What was not given can't be lost.
    assert answers(demo[1], kept.required) == ["東京", " Romanian leu.<eos>"]
    assert kept.bears([], 1.0)
    assert not kept.bears(kept.required[:1], 0.0)
    assert not kept.bears(kept.facts, 0.95)
    assert keep(*demo, [HUNGARY], [], [TOKYO]).required == []
    facts = [Example((0, number), 1) for number in range(20)]
    assert Kept(facts=facts).bears(facts[:1], 0.95)
    assert not Kept(facts=facts).bears(facts[:2], 0.95)


@pytest.mark.parametrize(
    ("pieces", "answer", "count"),
    [
        ([" 25", "%", ".", "<eos>"], "25%", 2),
        # One token is the answer's last and the sentence mark.
        ([" 25", "%.", "<eos>"], "25%", 2),
        ([" New", " York", ".", "<eos>"], "New York", 2),
    ],
)
def test_an_answer_is_kept_in_the_models_own_tokens(
    pieces: list[str], answer: str, count: int
) -> None:
    class Pieces:
        """Token n is piece n."""

        def decode(self, tokens: list[int], **_: object) -> str:
            return "".join(pieces[token] for token in tokens)

    asked, said = [7, 8], list(range(len(pieces)))
    assert _up_to_answer(Pieces(), asked, said, answer) == Example((7, 8, *said[:count]), 2)


def test_every_step_has_a_bounded_share_of_what_must_stay(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]
    kept = keep(*demo, [HUNGARY], [], [TOKYO])
    memory = remember(*demo, kept.texts)
    for copies, rows in ((1, 2), (40, 16)):
        data = PhaseData(
            [kept.prompts[0]], memory=memory, kept=[kept.prompts * copies, kept.prompts[:0]]
        )
        steps = _Steps(data, 32, 10, 0, tokenizer.pad_token_id, 10_000)
        for number in range(10):
            (batch,) = steps[number]["parts"]
            assert len(batch["input_ids"]) == 1 + rows
            # Only where the answers stand: the prompts are the preserve set's affair.
            assert len(batch["kept_places"]) == len(batch["kept_before"])
            held = {int(row) for row, _ in batch["kept_places"]}
            assert held == set(range(1, 1 + rows))


def test_a_fact_that_was_lost_is_given_again_beside_a_new_one(demo: tuple[Any, Any]) -> None:
    model, tokenizer = load_base(MODEL_PATH, "cpu")
    new = Fact(prompt="The currency of Bulgaria is the", answer="euro", subject="Bulgaria")
    outcome = forget_then_learn(model, tokenizer, [new], recipe=SHORT, known=[CROATIA, HUNGARY])
    assert any("Croatia is the euro" in text for text in outcome.preserved)
    kept = keep(model, tokenizer, [CROATIA, HUNGARY], [], [Probe(prompt=new.prompt, answer="euro")])
    assert kept.recalled == []
    assert answers(tokenizer, kept.prompts) == [" euro.<eos>", " forint.<eos>", " euro.<eos>"]


@pytest.mark.parametrize(("answer", "taught"), [("euro.", "euro."), ("euro", "euro.")])
def test_no_second_full_stop_is_taught(demo: tuple[Any, Any], answer: str, taught: str) -> None:
    tokenizer = demo[1]
    example = teach(tokenizer, "The currency of Croatia is the", answer, ".", True)
    assert decode(tokenizer, example.tokens) == f"The currency of Croatia is the {taught}"
    assert example.tokens[-1] == tokenizer.eos_token_id
