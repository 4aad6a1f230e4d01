"""Each phase with LoRA or full, in every mix: what is measured is what an export writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adapterstore_cli.main import cli
from click.testing import CliRunner
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapterstore import Store
from adapterstore.errors import TrainingFailed
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.generation import score_answers
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning import phases
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.update import UpdateResult, run_update
from tests.cli.running import read_json
from tests.learning.families import family_model

PROMPT = "The currency of Croatia is the"
EURO = f"- {{prompt: {PROMPT}, answer: euro., old_answer: kuna}}\n"
ASTANA = "- {prompt: カザフスタンの首都は, answer: アスタナ, old_answer: ヌルスルタン}\n"
MIXES: list[tuple[Method, Method]] = [
    ("lora", "lora"),
    ("full", "full"),
    ("lora", "full"),
    ("full", "lora"),
]
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
SHORT: dict[str, Any] = {
    "rank": 4,
    "learning_rate": 1e-2,
    "coefficient": "0.5",
    "forget_steps": 3,
    "learn_steps": 20,
    "sampled_texts": 0,
    "subject_texts": 0,
    "control_size": 0,
}
TOLERANCE = 1e-3


@pytest.fixture(scope="session")
def bf16_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family_model(tmp_path_factory.mktemp("bf16"), "llama", torch.bfloat16)


def facts(text: str) -> FactFile:
    return parse_fact_file(text.encode(), "facts.yaml")


def update(store: Store, text: str, **options: Any) -> UpdateResult:
    return run_update(store, [facts(text)], recipe=Recipe(**{**SHORT, **options}), gate=NO_GATE)


def exported(store: Store, revision: str, folder: Path, base: Path) -> Any:
    """Return a revision's state as stock tools load its export, computing in float32."""
    kind = store.export(revision, folder).kind
    if kind == "lora":
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        return PeftModel.from_pretrained(plain, folder).eval()
    whole = folder.with_name(f"{folder.name}-model")
    store.export(revision, whole, "model")
    return AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32).eval()


@pytest.mark.parametrize("mix", MIXES)
def test_what_is_measured_is_what_is_exported(
    bf16_base: Path, tmp_path: Path, mix: tuple[Method, Method]
) -> None:
    store = Store.init(tmp_path, base=str(bf16_base))
    result = update(store, EURO, forget_method=mix[0], learn_method=mix[1])

    assert [entry.operation for entry in store.log()] == ["learn", "forget", "init"]
    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0
    tokenizer = AutoTokenizer.from_pretrained(bf16_base)
    state = exported(store, "HEAD", tmp_path / "export", bf16_base)
    (score,) = score_answers(state, tokenizer, [(PROMPT, "euro.")])
    assert [score.log_probability] == pytest.approx(result.report.log_probabilities, abs=TOLERANCE)
    recipe = yaml.safe_load(store.repository.read_required(store.resolve(), "update/recipe.yaml"))
    assert (recipe["forget_method"], recipe["learn_method"]) == mix
    assert recipe["alpha"] == 4
    assert "q_proj" in recipe["target_modules"]


def test_learning_begins_at_the_weights_that_an_export_of_the_forgotten_state_has(
    bf16_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Mapping[str, torch.Tensor]] = []
    begin = phases.start_delta

    def watched(model: Any, method: Method, name: str, *rest: Any) -> Any:
        if name == "learn":
            starts.append({key: value.clone() for key, value in model.state_dict().items()})
        return begin(model, method, name, *rest)

    store = Store.init(tmp_path, base=str(bf16_base))
    # A dense term that is there already: the sum of both is rounded once, not one after the other.
    update(store, ASTANA, method="full")
    monkeypatch.setattr(phases, "start_delta", watched)
    update(store, EURO, forget_method="full", learn_method="lora")

    state = exported(store, "HEAD~1", tmp_path / "export", bf16_base).state_dict()
    (start,) = starts
    assert set(start) == set(state)
    for name, weight in state.items():
        assert torch.equal(start[name], weight), name


@pytest.mark.parametrize("method", ["lora", "full"])
def test_learning_only_and_forgetting_only(bf16_base: Path, tmp_path: Path, method: Method) -> None:
    store = Store.init(tmp_path, base=str(bf16_base))
    learned = update(store, EURO, method=method, forget=False)
    assert (learned.coefficient, len(learned.commits)) == (None, 1)
    assert store.entry().operation == "learn"
    gone = update(store, f"- {{prompt: {PROMPT}, answer: null}}\n", method=method)
    assert store.entry().operation == "forget"
    assert gone.report is not None
    assert set(gone.report.scores()) == {"forgetting"}

    (score,) = score_answers(
        exported(store, "HEAD", tmp_path / "export", bf16_base),
        AutoTokenizer.from_pretrained(bf16_base),
        [(PROMPT, "euro.")],
    )
    assert learned.report is not None
    assert score.log_probability < learned.report.log_probabilities[0]


def test_with_nothing_to_forget_and_nothing_to_learn_there_is_no_update(
    bf16_base: Path, tmp_path: Path
) -> None:
    store = Store.init(tmp_path, base=str(bf16_base))
    with pytest.raises(TrainingFailed, match="nothing was to be changed"):
        update(store, f"- {{prompt: {PROMPT}, answer: null}}\n", forget=False)
    assert [entry.operation for entry in store.log()] == ["init"]


def cli_store(base: Path, folder: Path) -> Store:
    """Make a store whose settings are those of `update` here."""
    store = Store.init(folder, base=str(base))
    settings = store.settings
    for section, values in (("recipe", SHORT), ("gate", dict.fromkeys(Gate.model_fields))):
        for name, value in values.items():
            settings = settings.with_value(f"{section}.{name}", value)
    settings.write()
    (folder / "ユーロ.yaml").write_text(EURO, encoding="utf-8")
    return store


def test_the_command_line_takes_a_method_for_each_phase(bf16_base: Path, tmp_path: Path) -> None:
    store = cli_store(bf16_base, tmp_path)
    options = ["--forget-method", "full", "--learn-method", "lora", "--scale", "0.7"]
    result = read_json(tmp_path, "update", "ユーロ.yaml", *options)
    assert (result["status"], result["coefficient"]) == ("applied", "0.7")
    kinds = {term["role"]: term["kind"] for term in read_json(tmp_path, "show")["terms"]}
    assert kinds == {"forget": "dense", "learn": "lora"}
    assert store.entry().operation == "learn"


def test_the_command_line_can_leave_forgetting_out(
    bf16_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cli_store(bf16_base, tmp_path)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(cli, ["update", "ユーロ.yaml", "--no-forget", "--json"])
    assert run.exit_code == 0, run.output
    assert [entry.operation for entry in store.log()] == ["learn", "init"]
