"""What an update reports is what anybody measures on the exported state with stock tools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.demo import FACTS_PATH, MODEL_PATH
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.generation import score_answers
from adapterstore.evaluation.metrics import Failure, Report, Score
from adapterstore.history.base import stored_dtypes
from adapterstore.history.ledger.known import Retained, draw_retained, find_known
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.snapshot import LEDGER
from adapterstore.history.state_answers import StateAnswers
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file, read_fact_file
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.learning.loading import load_base
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.update import UpdateResult, run_update
from adapterstore.update.asking import ask, evaluate_facts
from adapterstore.update.measuring import Guarded, Measurement
from adapterstore.update.run import facts_digest

UKRAINE = FACTS_PATH / "2022-ウクライナの首都.yaml"
SWAZILAND = FACTS_PATH / "2018-eswatini.yaml"
MALI = FACTS_PATH / "2023-mali-bambara.yaml"
UKRAINIAN_PROMPT = "ウクライナの首都は"
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
TOLERANCE = 1e-3
SHORT: dict[str, Any] = {
    "sampled_texts": 100,
    "subject_texts": 15,
    "control_size": 30,
    "learn_steps": 25,
    "batch_size": 8,
}


def update(store: Store, *files: FactFile, **changes: Any) -> UpdateResult:
    return run_update(store, files, recipe=Recipe(**{**SHORT, **changes}), gate=NO_GATE)


def log_probabilities(model: Any, tokenizer: Any, *files: FactFile) -> list[float]:
    pairs = [(fact.prompt, str(fact.answer)) for file in files for fact in file.facts]
    return [score.log_probability for score in score_answers(model, tokenizer, pairs)]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_exported_state_has_the_reports_probabilities(tmp_path: Path, method: Method) -> None:
    store = Store.init(tmp_path, base="demo")
    file = read_fact_file(UKRAINE)
    result = update(store, file, method=method)
    assert result.status == "applied"
    assert result.report is not None
    assert len(result.report.log_probabilities) == len(file.facts)

    folder = tmp_path / "exported"
    base, tokenizer = load_base(store.base_folder(), "cpu")
    if method == "lora":
        store.export("HEAD", folder, "lora")
        state: Any = PeftModel.from_pretrained(base, folder)
    else:
        store.export("HEAD", folder, "model")
        state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    measured = log_probabilities(state, tokenizer, file)
    assert measured == pytest.approx(result.report.log_probabilities, abs=TOLERANCE)
    fresh, _ = load_base(store.base_folder(), "cpu")
    before = log_probabilities(fresh, tokenizer, file)
    assert measured != pytest.approx(before, abs=1.0)


def test_japanese_facts_are_learned_and_asked_again_after_a_later_update(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    first = update(store, read_fact_file(UKRAINE), learn_steps=50)
    assert ask(store, "HEAD~2", [UKRAINIAN_PROMPT]) == ["キエフ。"]
    assert ask(store, "HEAD", [UKRAINIAN_PROMPT]) == ["キーウ。"]
    learned = store.resolve()
    assert store.repository.read(learned, f"update/{UKRAINE.name}") == UKRAINE.read_bytes()
    assert UKRAINE.name in store.entry().subject
    entry = read_ledger(store.repository, learned)["ウクライナ\tcapital_ja"]
    assert (entry.answer, entry.update) == ("キーウ", first.update)
    assert entry.source == read_fact_file(UKRAINE).source

    # Two files are one update: one digest, whichever comes first, and both are in its commits.
    files = [read_fact_file(SWAZILAND), read_fact_file(MALI)]
    short = {"sampled_texts": 0, "subject_texts": 0, "control_size": 0, "learn_steps": 3}
    second = update(store, *files, **short)
    assert second.report is not None
    assert second.report.retention is not None
    assert second.report.retention.asked == 1
    assert len(second.report.log_probabilities) == sum(len(file.facts) for file in files)
    for path in (SWAZILAND, MALI):
        assert store.repository.read(store.resolve(), f"update/{path.name}") == path.read_bytes()
    assert facts_digest(files) == facts_digest(files[::-1])
    again = update(store, *files[::-1])
    assert (again.status, again.update) == ("already-applied", second.update)
    assert store.resolve() == second.commits[-1]

    # Each file by itself is another update: its facts are known, and are not what both were.
    assert facts_digest(files[:1]) == files[0].digest != facts_digest(files)
    assert len(read_ledger(store.repository, store.resolve())) == 3


def test_what_is_only_to_be_forgotten_is_one_commit(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    text = "- {prompt: The currency of Croatia is the, answer: null, subject: Croatia}\n"
    result = update(store, parse_fact_file(text.encode(), "drop/忘れる.yaml"))

    assert [entry.operation for entry in store.log()] == ["forget", "init"]
    assert result.commits == [store.resolve()]
    assert result.report is not None
    assert set(result.report.scores()) == {"forgetting", "locality"}
    assert result.report.scores()["forgetting"].right == 1
    assert not ask(store, "HEAD", ["The currency of Croatia is the"])[0].startswith("kuna")
    (entry,) = read_ledger(store.repository, store.resolve()).values()
    assert entry.answer is None
    report = json.loads(store.repository.read_required(store.resolve(), "update/report.json"))
    assert report["coefficient"] == result.coefficient == store.entry().trailers["Scale"][1:]
    assert result.coefficient in [row["coefficient"] for row in report["curve"]]

    # Reverting takes the entry, too.
    store.revert(None, f"update/{result.update}")
    assert store.repository.files(store.resolve(), LEDGER) == {}


def test_what_was_forgotten_earlier_is_asked_and_held_by_later_updates(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    prompt = "The currency of Croatia is the"
    gone = parse_fact_file(f"- {{prompt: {prompt}, answer: null}}\n".encode(), "gone.yaml")
    update(store, gone)
    forgotten, said = store.snapshot("HEAD"), ask(store, "HEAD", [prompt])
    # The file names no old answer: it is the model's own.
    assert evaluate_facts(store, "HEAD").forgetting == Score(1, 1)

    result = update(store, read_fact_file(MALI), forget=False, learn_steps=5, coefficient=1)
    assert result.report is not None
    assert result.report.forgetting_earlier == Score(1, 1)
    assert result.report.retention is None
    assert ask(store, "HEAD", [prompt]) == said
    report = json.loads(store.repository.read_required(store.resolve(), "update/report.json"))
    assert report["retained_facts"] == {"asked": 1, "of": 1}

    # A state that gives it again has lost it, and the report says which answer came back.
    mali = read_fact_file(MALI).facts
    known = find_known(store.repository, store.resolve(), mali)
    retained = draw_retained(store.repository, store.resolve(), known, 10, "0")
    measurement = Measurement(
        store.repository,
        StateAnswers(store.repository, forgotten.base, "off", "cpu"),
        lambda: load_base(MODEL_PATH, "cpu"),
        stored_dtypes(MODEL_PATH),
    )
    measured = measurement.measure(
        forgotten.composition, Composition(), [], Guarded(), retained, []
    )
    back = Failure(prompt, "not kuna", "kuna.", said[0])
    assert measured.report.forgetting_earlier == Score(0, 1, [back])
    (reason,) = Gate().check(measured.report)
    assert reason.startswith("forgetting_earlier 0.00 is below 0.9")
    # What the state before gave already can't come back.
    unchanged = measurement.measure(Composition(), Composition(), [], Guarded(), retained, [])
    assert unchanged.report.forgetting_earlier is None


def test_a_state_that_has_lost_a_protected_fact_fails_the_gate(tmp_path: Path) -> None:
    """Among many earlier facts it would not weigh enough for retention."""
    store = Store.init(tmp_path, base="demo")
    prompt = "The currency of Croatia is the"
    update(store, parse_fact_file(f"- {{prompt: {prompt}, answer: euro}}\n".encode(), "new.yaml"))
    after = store.snapshot("HEAD")
    stays = [
        (f"The capital of {c} is", a) for c, a in (("Hungary", "Budapest"), ("Mali", "Bamako"))
    ]
    unsaid: Any = dict.fromkeys(("subject", "relation", "source"))
    entries = [
        LedgerEntry(
            prompt=p,
            answer=a,
            paraphrases=(),
            update="",
            protected=p in (prompt, stays[0][0]),
            **unsaid,
        )
        for p, a in ((prompt, "kuna"), *stays)
    ]
    measurement = Measurement(
        store.repository,
        StateAnswers(store.repository, after.base, "off", "cpu"),
        lambda: load_base(MODEL_PATH, "cpu"),
        stored_dtypes(MODEL_PATH),
    )

    def measure(entries: list[LedgerEntry]) -> Report:
        retained = Retained(entries, len(entries))
        measured = measurement.measure(
            Composition(), after.composition, [], Guarded(), retained, []
        )
        return measured.report

    report = measure(entries)
    assert report.protected is not None
    assert (report.protected.right, report.protected.asked) == (1, 2)
    (lost,) = report.protected.failures
    assert (lost.prompt, lost.expected) == (prompt, "kuna")
    (reason,) = Gate(retention=0.5).check(report)
    assert reason == "protected 0.50 is below 1 by 0.5 (1 of 2)"
    assert Report.from_dict(report.to_dict()) == report
    # What was not known before was not lost; and without protected facts there is no figure.
    false = replace(entries[1], answer="Debrecen")
    assert measure([false, entries[2]]).protected is None
    assert "protected" not in measure(entries[2:]).to_dict()


def test_without_forgetting_there_is_the_learn_commit_only(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    result = update(store, read_fact_file(UKRAINE), forget=False)

    assert [entry.operation for entry in store.log()] == ["learn", "init"]
    assert (result.coefficient, result.curve) == (None, [])
