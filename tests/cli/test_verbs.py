"""Each verb once, as its own process, on a real store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adapterstore_cli.main import VERBS
from safetensors.numpy import load_file

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.knowledge.facts import Fact
from tests.cli.running import adapterstore, contents, done, lora_folder, read_json
from tests.history.histories import teach


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done(folder, "init")
    lora_folder(folder / "a", seed=1)
    lora_folder(folder / "b", seed=2, rank=3)
    done(folder, "commit", "a", "-m", "サポート用アダプター")
    return folder


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def terms(store: Path, revision: str = "HEAD") -> dict[str, str]:
    return {t["delta"]: t["coefficient"] for t in read_json(store, "show", revision)["terms"]}


def test_the_base_is_taken_from_the_first_adapter(store: Path) -> None:
    assert read_json(store, "status")["base"] == "example/base"


def test_one_thing_is_not_told_as_several(store: Path) -> None:
    assert "state    1 term;" in done(store, "status")
    assert "ledger   0 facts" in done(store, "status")
    done(store, "add", "b")
    assert "\n1 term differs: 1 come," in done(store, "diff", "--stat", "HEAD^", "HEAD")
    checked = done(store, "fsck")
    assert "0 problems; checked" in checked
    assert ", 1 ref\n" in checked or ", 1 ref," in checked


def test_a_message_in_japanese_comes_back(store: Path) -> None:
    assert "サポート用アダプター" in done(store, "log")
    assert read_json(store, "log")[0]["subject"] == "サポート用アダプター"


def test_add_then_revert_gives_the_state_back(store: Path) -> None:
    before = terms(store)
    done(store, "add", "b", "--scale", "-0.70")
    assert sorted(terms(store).values()) == ["-0.7", "1"]
    done(store, "revert", "HEAD")
    assert terms(store) == before


def test_subtract_takes_an_operand_out(store: Path) -> None:
    done(store, "add", "b")
    done(store, "subtract", "HEAD~1..HEAD", "--scale", "1")
    assert terms(store) == terms(store, "HEAD~2")


def test_what_is_so_already_makes_no_commit(store: Path) -> None:
    assert done(store, "commit", "a").startswith("nothing to do")
    assert len(read_json(store, "log")) == 2
    assert len(done(store, "log", "--oneline", "--max-count", "1").splitlines()) == 1


def test_a_command_with_expect_runs_once_however_often_it_is_run(store: Path) -> None:
    start = read_json(store, "status")["commit"]
    first = done(store, "add", "b", "--expect", start)
    second = done(store, "add", "b", "--expect", start)
    assert first.startswith("[main ")
    assert "an earlier run of this command did it already" in second
    assert len(read_json(store, "log")) == 3
    run = adapterstore(store, "subtract", "b", "--expect", start)
    assert run.returncode == 5
    assert f"not at {start}, from where it was to move" in run.stderr


def test_diff_measures_each_module(store: Path) -> None:
    done(store, "add", "b")
    shown = read_json(store, "diff", "HEAD~1", "HEAD")
    assert read_json(store, "diff", "HEAD~1..HEAD") == shown
    assert adapterstore(store, "diff", "HEAD~1...HEAD").returncode == 4
    assert [t["left"] for t in shown["terms"]] == ["0"]
    assert [m["rank_right"] for m in shown["modules"]] == [5, 5]
    assert all(m["norm_difference"] > 0 for m in shown["modules"])
    assert "the states are equal" in done(store, "diff", "HEAD", "HEAD")
    assert "cosine" in done(store, "diff", "HEAD~1")


def test_export_writes_one_adapter_of_all_ranks(store: Path) -> None:
    done(store, "add", "b")
    done(store, "export", "HEAD", "out")
    config = json.loads((store / "out" / "adapter_config.json").read_text())
    tensors = load_file(store / "out" / "adapter_model.safetensors")
    assert config["r"] == config["lora_alpha"] == 5
    assert {t.shape for t in tensors.values()} == {(5, 8), (8, 5)}
    run = adapterstore(store, "export", "HEAD", "out")
    assert run.returncode == 8


@pytest.mark.damages_the_store
def test_fsck_finds_a_flipped_bit_and_says_where(store: Path) -> None:
    assert done(store, "fsck").startswith("0 problems")
    (tensors,) = (p for p in (store / ".adapterstore/lfs/objects").rglob("*") if p.is_file())
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.chmod(0o644)
    tensors.write_bytes(data)
    run = adapterstore(store, "fsck", "--json")
    assert run.returncode == 6
    (problem,) = json.loads(run.stdout)["problems"]
    assert "hashes to" in problem["problem"]


def test_config_reads_back_what_it_wrote(store: Path) -> None:
    done(store, "config", "base.aliases", "--add", "unsloth/基")
    done(store, "config", "gate.generality", "null")
    done(store, "config", "recipe.rank", "4")
    shown = read_json(store, "config")
    assert shown["base"]["aliases"] == ["unsloth/基"]
    assert shown["gate"]["generality"] is None
    assert done(store, "config", "recipe.rank").strip() == "4"
    done(store, "config", "recipe.rank", "--unset")
    assert done(store, "config", "recipe.rank").strip() == "null"


def test_the_folder_of_the_base_is_found_from_any_other(store: Path) -> None:
    (store / "inner").mkdir()
    shutil.copytree(MODEL_PATH, store / "モデル")
    assert done(store, "config", "base.path", "モデル") == ""
    assert read_json(store / "inner", "status")["base_weights"] == str(store / "モデル")


@pytest.mark.parametrize(("given", "problem"), [("nope", "is no folder"), (".", "has no config")])
def test_a_base_path_without_a_model_is_set_and_told(store: Path, given: str, problem: str) -> None:
    told = done(store, "config", "base.path", given)
    assert "ask, eval and update need its weights" in told
    assert f"base.path is {store / given}, which {problem}" in told
    assert read_json(store, "status")["base_weights"] is None
    assert Path(read_json(store, "config", "base.path")) == store / given


def test_a_base_known_by_a_folders_name_is_asked_for(tmp_path: Path) -> None:
    done(tmp_path, "init")
    lora_folder(tmp_path / "a", base="./llama")
    done(tmp_path, "commit", "a")
    run = adapterstore(tmp_path, "ask", "hello")
    assert run.returncode == 9
    assert "'./llama': is no name on the Hub" in run.stderr
    assert "adapterstore config base.path FOLDER" in run.stderr


def test_reading_writes_nothing(store: Path) -> None:
    before = contents(store / ".adapterstore")
    for call in (
        ["log"],
        ["show"],
        ["show", "HEAD~1"],
        ["status"],
        ["diff", "HEAD~1"],
        ["export", "HEAD", "out"],
        ["config"],
        ["fsck"],
    ):
        done(store, *call)
        assert contents(store / ".adapterstore") == before, call


def test_c_works_in_another_folder(store: Path) -> None:
    (store / "inner").mkdir()
    assert read_json(store / "inner", "status")["branch"] == "main"
    elsewhere = store / "elsewhere"
    elsewhere.mkdir()
    assert "commit" in adapterstore(elsewhere, "-C", str(store), "status", "--json").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches_with_an_example(tmp_path: Path, verb: str) -> None:
    text = done(tmp_path, verb, "--help")
    assert "Example" in text
    assert f"adapterstore {verb}" in text


def test_the_group_lists_every_verb_and_exit_code(tmp_path: Path) -> None:
    text = done(tmp_path, "--help")
    assert all(f"  {verb} " in text for verb in VERBS)
    assert "13   UpdateRejected" in text


def modules_of(store: Path, *arguments: str) -> set[str]:
    code = (
        "import sys; from adapterstore_cli.main import cli\n"
        f"cli.main({list(arguments)!r}, standalone_mode=False)\n"
        "print('|'.join({m.partition('.')[0] for m in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=store, capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split("|"))


@pytest.mark.parametrize(
    "call",
    [
        ["log"],
        ["show"],
        ["status"],
        ["commit", "a"],
        ["add", "b"],
        ["subtract", "b"],
        ["revert", "HEAD"],
        ["fsck"],
        ["facts", "--search", "x"],
        ["blame", "カザフスタンの首都は"],
        ["gc"],
        ["prune"],
        ["--help"],
    ],
    ids=lambda call: call[0],
)
def test_verbs_that_need_no_model_load_no_machine_learning(store: Path, call: list[str]) -> None:
    if call[0] == "blame":
        text = "- {prompt: カザフスタンの首都は, answer: アスタナ}\n"
        teach(
            Store.open(store),
            "aaaa",
            [Fact(prompt="カザフスタンの首都は", answer="アスタナ")],
            files={"事実.yaml": text.encode()},
        )
    loaded = modules_of(store, *call)
    assert not loaded & {"torch", "transformers", "peft", "numpy", "pydantic", "rich"}


def test_init_names_the_store_as_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = "made a store in {}; base model: example/base\n"
    assert done(tmp_path, "init", "--base", "example/base").startswith(made.format(".adapterstore"))
    said = done(tmp_path, "init", "a", "--base", "example/base")
    assert said.startswith(made.format("a/.adapterstore"))
    # A name that is misspelt, or a model that is not fetched yet, is seen at once.
    assert "not in the Hub cache; fetch it with 'hf download example/base'" in said


def test_init_asks_for_no_weights_that_are_there(tmp_path: Path) -> None:
    said = done(tmp_path, "init", "--base", "demo")
    assert said == "made a store in .adapterstore; base model: demo\n"
