"""One real update of the demo model, and what later quantisation or training does to it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.demo import FACTS_PATH, MODEL_PATH
from adapterstore.errors import InvalidSetting, MissingLibrary, TrainingFailed, UnreadableFile
from adapterstore.evaluation.effect import Effect, Question, compare_answers
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.formats import parse_fact_file, read_fact_file
from adapterstore.learning.loading import load_base
from adapterstore.learning.quantizing import quantize
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.after_effects import Intervention, measure_after_effects
from tests.cli.running import adapterstore, read_json, started_anew
from tests.learning.families import family_model

CROATIA = FACTS_PATH / "2023-croatia-euro.yaml"
PROMPT = "The currency of Croatia is the"
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.init(tmp_path_factory.mktemp("updated"), base="demo")
    recipe = Recipe(sampled_texts=60, subject_texts=10, control_size=20)
    result = run_update(store, [read_fact_file(CROATIA)], recipe=recipe, gate=NO_GATE)
    assert result.status == "applied"
    return store


def shifts(effect: Effect) -> dict[str, tuple[int, int]]:
    return {shift.figure: (shift.before, shift.after) for shift in effect.shifts}


def test_each_effect_begins_from_the_state_and_counts_what_turned(updated: Store) -> None:
    names = ["quantize-8bit", "quantize-4bit", "relearn"]
    found = measure_after_effects(updated, "HEAD", [Intervention.parse(n) for n in names])
    assert [effect.name for effect in found.effects] == names
    asked = len(read_fact_file(CROATIA).facts)
    # The ledger had no answer before this update, so the old ones are the base's own.
    assert found.old_answers == {"file": 0, "ledger": 0, "base": asked}
    eight, four, relearned = found.effects
    for effect in found.effects:
        figures = [shift.figure for shift in effect.shifts]
        assert figures == ["reliability", "generality", "forgetting", "locality"]
        before = {shift.figure: shift.before for shift in effect.shifts}
        assert before["reliability"] == before["forgetting"] == asked
        for shift in effect.shifts:
            assert shift.after == shift.before - shift.lost + shift.gained
            turned = [t for t in effect.turned if t.question.figure == shift.figure]
            assert sum(not t.right for t in turned) == shift.lost
            assert sum(t.right for t in turned) == shift.gained
    # What the update taught outlives 256 levels of weights.
    assert shifts(eight)["reliability"] == (asked, asked)
    assert "28 layers, 8 bits" in eight.told
    assert "28 layers, 4 bits" in four.told
    assert "30 steps" in relearned.told


def test_training_on_the_old_answer_brings_it_back(updated: Store, tmp_path: Path) -> None:
    text = tmp_path / "古い.txt"
    text.write_text(f"{PROMPT} kuna.\n" * 40, encoding="utf-8")
    file = parse_fact_file(
        f"- {{prompt: {PROMPT}, answer: euro, old_answer: kuna, subject: Croatia}}\n".encode(),
        "asked.yaml",
    )
    (effect,) = measure_after_effects(
        updated, "HEAD", [Intervention("relearn", text)], [file]
    ).effects
    assert shifts(effect)["reliability"] == (1, 0)
    assert shifts(effect)["forgetting"] == (1, 0)
    back = [t for t in effect.turned if t.question.figure == "forgetting"]
    assert [(t.before.startswith("euro"), t.after.startswith("kuna")) for t in back] == [
        (True, True)
    ]


def test_answers_that_the_ledger_had_before_are_asked(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    short = Recipe(sampled_texts=0, subject_texts=0, control_size=0, forget=False, learn_steps=3)
    for answer in ("euro", "dinar", "franc"):
        text = f"- {{prompt: {PROMPT}, answer: {answer}, subject: Croatia, relation: currency}}\n"
        file = parse_fact_file(text.encode(), f"{answer}.yaml")
        run_update(store, [file], recipe=short, gate=NO_GATE)
    found = measure_after_effects(store, "HEAD", [Intervention("quantize-8bit")])
    assert found.old_answers == {"file": 0, "ledger": 2, "base": 0}
    (forgetting,) = [s for s in found.effects[0].shifts if s.figure == "forgetting"]
    assert forgetting.asked == 2
    found = measure_after_effects(store, "HEAD~1", [Intervention("quantize-8bit")])
    assert found.old_answers["ledger"] == 1


def test_figures_are_compared_prompt_by_prompt() -> None:
    questions = [
        Question("reliability", "a", "1"),
        Question("forgetting", "a", "2"),
        Question("locality", "b", "3"),
    ]
    effect = compare_answers("relearn", "", questions, {"a": "1.", "b": "4"}, {"a": "2", "b": "3"})
    assert [(s.figure, s.before, s.after, s.lost, s.gained) for s in effect.shifts] == [
        ("reliability", 1, 0, 1, 0),
        ("forgetting", 1, 0, 1, 0),
        ("locality", 0, 1, 0, 1),
    ]
    assert [t.right for t in effect.turned] == [False, False, True]


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_weights_are_near_and_take_so_many_levels(bits: Any) -> None:
    model, _ = load_base(MODEL_PATH, "cpu")
    start = copy.deepcopy(model)
    layers = quantize(model, bits)
    assert layers == 7 * model.config.num_hidden_layers
    for name in ("q_proj", "o_proj"):
        now = getattr(model.model.layers[0].self_attn, name).weight.detach().dequantize()
        was = getattr(start.model.layers[0].self_attn, name).weight.detach()
        error = float((now - was).norm() / was.norm())
        assert 0 < error < {8: 0.02, 4: 0.15}[bits]
        assert all(len(row.unique()) <= 2**bits for row in now[:, :32])
    assert torch.equal(model.lm_head.weight, start.lm_head.weight)


def test_gpt2s_layers_are_quantised_and_compute_what_their_weights_say(tmp_path: Path) -> None:
    model, _ = load_base(family_model(tmp_path / "gpt2", "gpt2"), "cpu")
    tokens = torch.arange(8)[None]
    with torch.inference_mode():
        before = model(tokens).logits
        assert quantize(model, 8) == 4 * model.config.n_layer
        after = model(tokens).logits
    assert 0 < float((after - before).norm() / before.norm()) < 0.05


@pytest.mark.parametrize("bits", [8, 4])
def test_the_experts_of_a_mixture_are_quantised_too(tmp_path: Path, bits: Any) -> None:
    base = family_model(tmp_path, "mixtral")
    model, _ = load_base(base, "cpu")
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.dim() == 3}
    assert len(before) == 4
    # Of each of two layers: four of attention, and two fused matrices of four experts.
    assert quantize(model, bits) == 2 * (4 + 2 * 4)
    for name, old in before.items():
        now = model.get_parameter(name).detach()
        assert 0 < float((now - old).norm() / old.norm()) < {8: 0.02, 4: 0.15}[bits]
        assert all(len(row.unique()) <= 2**bits for row in now[..., :16].flatten(0, 1))


def test_a_model_without_linear_layers_is_refused() -> None:
    class Bare(torch.nn.Module):
        config = None

        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(TrainingFailed, match="no linear layers"):
        quantize(Bare(), 8)


@pytest.mark.parametrize("text", ["quantize", "quantize-8bit=x", "relearn=", "", "RELEARN"])
def test_an_unknown_effect_is_named_with_those_that_are_known(text: str) -> None:
    with pytest.raises(InvalidSetting, match="quantize-8bit, quantize-4bit, relearn, relearn=FILE"):
        Intervention.parse(text)


def test_what_is_missing_is_found_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.init(tmp_path, base="demo")
    monkeypatch.setattr("adapterstore.learning.loading.load_base", None)
    with pytest.raises(UnreadableFile, match=r"nowhere\.txt"):
        measure_after_effects(store, "HEAD", [Intervention("relearn", Path("nowhere.txt"))])
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'adapterstore\[quantize\]'"):
        measure_after_effects(store, "HEAD", [Intervention("quantize-4bit")])


def test_the_command_prints_before_and_after(updated: Store) -> None:
    folder = updated.repository.folder.parent
    run = started_anew(folder, "eval", "--after", "quantize-8bit")
    assert run.returncode == 0, run.stderr
    assert "after quantize-8bit" in run.stdout
    assert "1.000 → 1.000" in run.stdout
    # Of the library's own affairs nothing is said.
    assert "torchao" not in run.stderr
    content = read_json(folder, "eval", "--after", "quantize-4bit")
    assert [effect["effect"] for effect in content["effects"]] == ["quantize-4bit"]
    run = adapterstore(folder, "eval", "--after", "sleep")
    assert run.returncode == InvalidSetting.exit_code
