"""The drift monitor: figures, trend, and alarms before a collapse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import InvalidSetting
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.perplexity import perplexity, text_rows
from adapterstore.history.viewing.drift import DriftPoint, base_norm
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import UpdateResult, run_update
from adapterstore.update.drift import read_drift
from adapterstore.update.drift_rule import find_alarms
from adapterstore.update.drift_settings import DriftSettings
from tests.cli.running import adapterstore, done
from tests.update.leaves import load_demo

QUICK = Recipe(
    rank=2,
    forget_steps=5,
    learn_steps=1,
    coefficient=1,
    sampled_texts=0,
    subject_texts=0,
    control_size=0,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


def update(store: Store, answer: str, gate: Gate = NO_GATE, recipe: Recipe = QUICK) -> UpdateResult:
    text = f"- {{prompt: The currency of Croatia is the, answer: {answer}, old_answer: kuna}}\n"
    return run_update(store, [parse_fact_file(text.encode(), "x.yaml")], recipe=recipe, gate=gate)


def points(norms: list[float], **figures: float) -> list[DriftPoint]:
    return [DriftPoint(None, None, norm, None, 0, None, **figures) for norm in norms]


@pytest.mark.parametrize(
    ("norms", "alarmed"),
    [
        ([1, 2, 3, 4, 5], False),
        ([1, 1.4, 1.7, 2, 2.2], False),
        ([1, 2, 3, 5, 8], True),
        ([1, 2, 3, 4], False),
        ([3, 2, 1, 2, 3], False),
    ],
)
def test_a_norm_that_grows_faster_than_linearly(norms: list[float], alarmed: bool) -> None:
    settings = DriftSettings(window=2)
    assert [("norm" in alarm) for alarm in find_alarms(points(norms), settings)] == (
        [True] if alarmed else []
    )
    assert find_alarms(points(norms), DriftSettings(window=2, norm_growth=None)) == []


@pytest.mark.parametrize("name", ["retention", "locality"])
def test_a_figure_that_sinks(name: str) -> None:
    low: dict[str, Any] = {name: 0.85}
    (alarm,) = find_alarms(points([1, 1, 1], **low), DriftSettings())
    assert alarm == f"{name} of the last 3 updates is 0.850 on average, below drift.{name} (0.9)"
    assert find_alarms(points([1, 1], **low), DriftSettings()) == []
    assert find_alarms(points([1, 1, 1], **{name: 0.9}), DriftSettings()) == []


def test_a_perplexity_that_rises() -> None:
    at = points([1], perplexity=3.1, base_perplexity=2.0)
    (alarm,) = find_alarms(at, DriftSettings())
    assert "55% above the base's 2; drift.perplexity_rise is 0.5" in alarm
    assert find_alarms(at, DriftSettings(perplexity_rise=0.6)) == []


def test_perplexity_is_that_of_teacher_forcing() -> None:
    model, tokenizer = load_demo()
    rows = text_rows(model, tokenizer, "The capital of France is Paris. " * 30)
    assert len(rows) > 1
    losses = []
    for row in rows:
        ids = torch.tensor([row])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
    expected = math.exp(float(torch.cat(losses).mean()))
    assert perplexity(model, tokenizer, rows) == pytest.approx(expected, rel=1e-4)
    assert perplexity(model, tokenizer, []) is None


def test_each_update_records_it_and_the_command_shows_the_trend(
    store: Store, tmp_path: Path
) -> None:
    results = [update(store, "euro"), update(store, "dollar")]
    base = base_norm(store.repository, store.snapshot().base, MODEL_PATH)
    weights = load_file(MODEL_PATH / "model.safetensors").values()
    squares = sum(float(w.double().square().sum()) for w in weights)
    assert base == pytest.approx(squares**0.5, rel=1e-9)
    drift = read_drift(store, "HEAD", with_model=True)
    assert [point.update for point in drift.trend] == [r.update for r in results[::-1]]
    for point, result in zip(drift.trend, results[::-1], strict=True):
        assert result.drift is not None
        assert point.to_dict() == {k: v for k, v in result.drift.items() if k != "alarms"}
        assert point.relative_norm == pytest.approx(point.norm / base)
        assert point.effective_rank is not None
        assert 1 <= point.effective_rank <= point.rank
    # Asked again, the state has the perplexity that its update measured.
    assert drift.now.perplexity == pytest.approx(drift.trend[0].perplexity, rel=1e-4)
    told = json.loads(done(tmp_path, "drift", "HEAD~2", "--json"))
    assert [row["update"] for row in told["trend"]] == [results[0].update]
    assert told["now"]["norm"] == pytest.approx(results[0].drift["norm"])  # type: ignore[index]
    assert results[1].update in done(tmp_path, "drift")


def test_an_alarm_warns_and_stops_only_where_the_gate_says_so(store: Store, tmp_path: Path) -> None:
    (tmp_path / "文.txt").write_text("The capital of France is Paris. " * 20, encoding="utf-8")
    done(tmp_path, "config", "drift.held_text", "文.txt")
    harmful = QUICK.model_copy(update={"learning_rate": 0.05, "learn_steps": 8, "forget_steps": 25})
    result = update(store, "euro", recipe=harmful)
    assert result.status == "applied"
    (alarm,) = result.alarms
    assert alarm.startswith("perplexity of the held text is")
    assert f"alarm: {alarm}" in done(tmp_path, "show")
    assert f"alarm: {alarm}" in done(tmp_path, "drift")
    before = store.resolve()
    gate = Gate.parse({**NO_GATE.model_dump(), "drift": True}, "gate")
    refused = update(store, "dollar", gate, harmful)
    assert refused.status == "rejected"
    assert refused.reasons == [f"drift: {alarm}" for alarm in refused.alarms]
    assert store.resolve() == before


def test_a_held_text_that_is_not_there(store: Store, tmp_path: Path) -> None:
    done(tmp_path, "config", "drift.held_text", "gone.txt")
    with pytest.raises(InvalidSetting, match=r"drift\.held_text.*gone\.txt"):
        update(store, "euro")
    (tmp_path / "gone.txt").write_text(" \n")
    with pytest.raises(InvalidSetting, match=r"drift\.held_text.*gone\.txt is empty"):
        update(store, "euro")
    assert "drift.window" in adapterstore(tmp_path, "config", "drift.window", "1").stderr
