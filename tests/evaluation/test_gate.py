"""The gate: least shares, each of which an update has to reach."""

from __future__ import annotations

from typing import Any

import pytest

from adapterstore.errors import CorruptStore, InvalidSetting
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.metrics import Failure, Report, Score
from adapterstore.knowledge.figures import FIGURES
from adapterstore.update.result import broken_prompts


def with_scores(score: Score, *names: str) -> Report:
    scores: dict[str, Any] = dict.fromkeys(names, score)
    return Report(**scores)


ALL_RIGHT = with_scores(Score(10, 10), *FIGURES)


def test_what_is_all_right_passes() -> None:
    assert Gate().check(ALL_RIGHT) == []


def test_nothing_measured_passes() -> None:
    assert Gate.parse(dict.fromkeys(FIGURES, 1.0), "gate").check(Report()) == []


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_has_a_threshold_of_its_own(name: str) -> None:
    gate = Gate.parse({**dict.fromkeys(FIGURES), name: 0.8}, "gate")
    assert gate.check(with_scores(Score(8, 10), name)) == []
    (reason,) = gate.check(with_scores(Score(7, 10), name))
    assert reason == f"{name} 0.70 is below 0.8 by 0.1 (7 of 10)"
    assert (
        gate.check(with_scores(Score(0, 10), *(other for other in FIGURES if other != name))) == []
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_threshold_of_none_does_not_look(name: str) -> None:
    gate = Gate.parse({name: None}, "gate")
    assert gate.check(with_scores(Score(0, 10), name)) == []


def test_a_refusal_carries_threshold_distance_and_what_broke() -> None:
    broken = Failure("日本の首都は", "東京", "京都。", "東京。")
    report = with_scores(Score(999, 1000, [broken]), "suite")
    (refusal,) = Gate().refusals(report)
    assert refusal.reason == "suite 0.9990 is below 1 by 0.001 (999 of 1000)"
    row = refusal.to_dict()
    assert (row["metric"], row["threshold"], row["prompts"]) == (
        "suite",
        1.0,
        [{"prompt": "日本の首都は", "expected": "東京", "given": "京都。", "before": "東京。"}],
    )
    assert broken_prompts([row]) == ["suite: '日本の首都は': '東京。' → '京都。'"]
    with pytest.raises(CorruptStore):
        broken_prompts([{"metric": "suite"}])


def test_drift_is_measured_but_refused_only_where_a_threshold_is_set() -> None:
    report = with_scores(Score(1, 10), "locality_base")
    assert Gate().check(report) == []
    assert Gate.parse({"locality_base": 0.8}, "gate").check(report) == [
        "locality_base 0.10 is below 0.8 by 0.7 (1 of 10)"
    ]


def test_all_reasons_are_given() -> None:
    report = Report(forgetting=Score(10, 10), reliability=Score(0, 3), locality=Score(1, 4))
    assert Gate().check(report) == [
        "reliability 0.00 is below 0.9 by 0.9 (0 of 3)",
        "locality 0.25 is below 0.9 by 0.65 (1 of 4)",
    ]


@pytest.mark.parametrize("value", [0.0, 1.0, 0, 1])
def test_a_threshold_may_be_any_share(value: float) -> None:
    assert Gate.parse({"locality": value}, "gate").locality == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"locality": 1.01}, r"^gate\.locality: .*less than or equal to 1 \(it is 1\.01\)$"),
        ({"locality": -0.1}, r"^gate\.locality: .*greater than or equal to 0"),
        ({"locality": float("nan")}, r"^gate\.locality: "),
        ({"locality": "high"}, r"^gate\.locality: .*\(it is 'high'\)$"),
        (
            {"localitty": 0.9},
            r"^gate\.localitty: there is no such setting; there are .*locality",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as refused:
        Gate.parse(values, "gate")
    assert "\n" not in str(refused.value)
