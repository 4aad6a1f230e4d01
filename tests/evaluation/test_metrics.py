"""Scores and reports as values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterstore.evaluation.metrics import MOST_FAILURES, Failure, Report, Score
from adapterstore.knowledge.figures import FIGURES


def test_a_score_counts_right_answers_and_shows_the_others() -> None:
    score = Score.of(["p", "q", "r"], ["euro.", "kuna", "eurozone"], ["euro", "euro", "euro"])

    assert score == Score(1, 3, [Failure("q", "euro", "kuna"), Failure("r", "euro", "eurozone")])
    assert score.value == pytest.approx(1 / 3)


def test_forgetting_counts_prompts_without_their_old_answer() -> None:
    score = Score.of_forgetting(["p", "q"], ["kuna.", "euro"], ["kuna", "kuna"], ["euro", None])

    assert score == Score(1, 2, [Failure("p", "not kuna", "kuna.")])


def test_an_old_answer_with_which_the_new_one_begins_is_not_given_with_it() -> None:
    given = ["New York City.", "New York."]
    score = Score.of_forgetting(["p", "q"], given, ["New York"] * 2, ["New York City"] * 2)

    assert score == Score(1, 2, [Failure("q", "not New York", "New York.")])


def test_nothing_asked_is_no_score() -> None:
    assert Score.of([], [], []) is None
    assert Score.of_forgetting([], [], [], []) is None


def test_an_answer_that_no_word_compares_with_counts_if_it_is_the_same() -> None:
    # Before the update, too, the model may have said nothing at all.
    assert Score.of(["p"], [""], [""]) == Score(1, 1)


def test_only_the_first_failures_are_kept_by_name_but_all_are_counted() -> None:
    prompts = [f"prompt {number}" for number in range(MOST_FAILURES + 5)]
    score = Score.of(prompts, ["no"] * len(prompts), ["yes"] * len(prompts))

    assert score is not None
    assert (score.right, score.asked) == (0, len(prompts))
    assert [failure.prompt for failure in score.failures] == prompts[:MOST_FAILURES]


failures = st.lists(st.builds(Failure, st.text(), st.text(), st.text()), max_size=2)
scores = st.none() | st.builds(Score, st.integers(0, 9), st.integers(1, 9), failures)
reports = st.builds(
    Report,
    **dict.fromkeys(FIGURES, scores),
    token_accuracy=st.dictionaries(st.sampled_from(FIGURES), st.floats(0, 1)),
    log_probabilities=st.lists(st.floats(max_value=0, allow_infinity=False), max_size=3),
)


@given(reports)
def test_a_report_comes_back_from_its_json(report: Report) -> None:
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_the_summary_names_what_was_measured() -> None:
    report = Report(forgetting=Score(1, 2), reliability=Score(20, 20))

    assert list(report.scores()) == ["reliability", "forgetting"]
    assert report.summary() == ["reliability 1.00 (20 of 20)", "forgetting 0.50 (1 of 2)"]
