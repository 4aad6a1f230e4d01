"""Measuring a state, on a model of which every answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapterstore.evaluation.generation import score_answers
from adapterstore.evaluation.measure import answers_before, evaluate
from adapterstore.evaluation.metrics import Failure, Report, Score
from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning.keeping import keep
from adapterstore.learning.material import own_answers
from tests.evaluation.bigram import bigram_model

CROATIA = Fact(
    prompt="The currency of Croatia is the",
    answer="euro",
    old_answer="kuna",
    paraphrases=("In Croatia, people pay with the",),
    portability=(
        Probe(prompt="Currency of Croatia:", answer="kuna"),
        Probe(prompt="Wages in Croatia are paid in the"),
    ),
)
MALI = Fact(
    prompt="The official language of Mali is",
    answer="French",
    paraphrases=("The state language of Mali is", "Official language of Mali:"),
)


def test_each_figure_is_what_greedy_generation_says(model: Any, tokenizer: Any) -> None:
    before = {
        "The currency of Hungary is the": "forint",
        "The capital of Croatia is": "Split",
    }
    earlier = [
        Probe(prompt="The capital of Kazakhstan is", answer="Nur-Sultan"),
        Probe(prompt="日本では、首都は", answer="東京"),
        Probe(prompt="The capital of Mongolia is"),
    ]
    report = evaluate(model, tokenizer, [CROATIA, MALI], retention=earlier, before=before)

    still_old = Failure(CROATIA.prompt, "euro", "kuna.")
    assert report.reliability == Score(1, 2, [still_old])
    assert report.generality == Score(2, 3, [Failure(CROATIA.paraphrases[0], "euro", "kuna.")])
    assert report.locality == Score(
        1, 2, [Failure("The capital of Croatia is", "Split", "Zagreb.")]
    )
    assert report.retention == Score(
        1, 2, [Failure("The capital of Kazakhstan is", "Nur-Sultan", "Astana.")]
    )
    assert report.forgetting == Score(0, 1, [Failure(CROATIA.prompt, "not kuna", "kuna.")])
    assert report.portability == Score(1, 1)


def test_a_paraphrase_that_is_the_prompt_or_another_one_shows_no_generality(
    model: Any, tokenizer: Any
) -> None:
    prompt, (first, second) = MALI.prompt, MALI.paraphrases
    repeated = replace(MALI, paraphrases=(f" {prompt}", first, prompt, second, f"{first} ", second))
    assert evaluate(model, tokenizer, [repeated]).generality == Score(2, 2)


def test_what_is_not_asked_is_not_in_the_report(model: Any, tokenizer: Any) -> None:
    forget_only = Fact(prompt=CROATIA.prompt, answer=None, old_answer="dinar")
    report = evaluate(model, tokenizer, [forget_only])

    assert report == Report(forgetting=Score(1, 1))
    assert evaluate(model, tokenizer, []) == Report()


def test_teacher_forcing_stands_beside_it(model: Any, tokenizer: Any) -> None:
    report = evaluate(model, tokenizer, [CROATIA, MALI])
    asked = [(fact.prompt, str(fact.answer)) for fact in (CROATIA, MALI)]
    scores = score_answers(model, tokenizer, asked)

    assert report.log_probabilities == [score.log_probability for score in scores]
    assert report.token_accuracy["reliability"] == pytest.approx(
        sum(score.token_accuracy for score in scores) / 2
    )
    assert set(report.token_accuracy) == {"reliability", "generality", "portability"}


def test_before_is_the_probes_answer_where_the_model_gives_it(model: Any, tokenizer: Any) -> None:
    probes = [
        Probe(prompt="The currency of Hungary is the", answer="forint"),
        Probe(prompt="The capital of Croatia is", answer="Split"),
        Probe(prompt="The capital of Mali is"),
    ]
    assert answers_before(model, tokenizer, probes) == {
        "The currency of Hungary is the": "forint",
        "The capital of Croatia is": "Zagreb.",
        "The capital of Mali is": "Bamako.",
    }


def test_a_state_agrees_with_its_own_answers_before(tokenizer: Any) -> None:
    before_model = bigram_model(tokenizer, ["Zagreb is big", "Paris"])
    after_model = bigram_model(tokenizer, ["Zagreb is big", "Paris in"])
    probes = [Probe(prompt="Zagreb"), Probe(prompt="Paris")]
    before = answers_before(before_model, tokenizer, probes)

    assert before == {"Zagreb": "is big", "Paris": ""}
    assert evaluate(before_model, tokenizer, [], before=before).locality == Score(2, 2)
    assert evaluate(after_model, tokenizer, [], before=before).locality == Score(
        1, 2, [Failure("Paris", "", "in")]
    )


def test_a_long_answer_is_measured_to_its_end(tokenizer: Any) -> None:
    words = [word[1:] for word in sorted(tokenizer.get_vocab()) if word[0] == "Ġ"]
    answer = " ".join(["is", *[w for w in words if w.isalpha() and w.isascii() and w != "is"][:40]])
    model = bigram_model(tokenizer, [f"Zagreb {answer}"])
    prompt, another = "Zagreb", answer.rpartition(" ")[0]

    report = evaluate(model, tokenizer, [Fact(prompt=prompt, answer=answer, old_answer=another)])
    assert report.reliability == Score(1, 1)
    # It begins with what it was before, but says the new answer.
    assert report.forgetting == Score(1, 1)
    report = evaluate(model, tokenizer, [Fact(prompt=prompt, answer=None, old_answer=answer)])
    assert report.forgetting is not None
    assert report.forgetting.value == 0.0
    probe = Probe(prompt=prompt, answer=answer)
    assert answers_before(model, tokenizer, [probe]) == {prompt: answer}
    assert keep(model, tokenizer, [probe], [], []).recalled == []
    # What is right already is not taken for another answer that has to go.
    assert own_answers(model, tokenizer, [Fact(prompt=prompt, answer=answer)]) == [answer]
