"""Updates are deterministic: trained again, they give the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore import Store
from adapterstore.errors import CorruptStore
from adapterstore.evaluation.gate import Gate
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.provenance import environment_differences
from adapterstore.update.replay import replay
from tests.cli.running import adapterstore, contents, lora_folder
from tests.tampering import rewrite_history

# Every part that draws at random: sampled texts, texts about the subject, the order of batches.
SHORT = Recipe(
    rank=4,
    learn_steps=6,
    forget_steps=8,
    batch_size=8,
    coefficient=1,
    sampled_texts=40,
    subject_texts=6,
    control_size=10,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
FACTS = (
    "- {prompt: The currency of Croatia is the, answer: euro, subject: Croatia, old_answer: kuna}\n"
)


def updated(folder: Path, recipe: Recipe = SHORT) -> tuple[Store, str]:
    store = Store.init(folder, base="demo")
    # A state that is not the bare base.
    store.add(None, lora_folder(folder / "a", base="demo", width=192), coefficient="0.001")
    file = parse_fact_file(FACTS.encode(), "croatia.yaml")
    result = run_update(store, [file], recipe=recipe, gate=NO_GATE)
    assert result.status == "applied"
    return store, f"update/{result.update}"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_update_trained_again_is_the_same_bit_for_bit(tmp_path: Path, method: str) -> None:
    store, update = updated(tmp_path, SHORT.model_copy(update={"method": method}))
    before = contents(store.repository.folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        result = replay(store, update)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert result.identical
    assert [leaf.operation for leaf in result.leaves] == ["forget", "learn"]
    assert [leaf.relative_difference for leaf in result.leaves] == [0.0, 0.0]
    assert result.environment == []
    # Nothing is published, and no tensor file stays.
    after = contents(store.repository.folder)
    assert {path for path in after if path.startswith(("lfs", "refs", "logs"))} == {
        path for path in before if path.startswith(("lfs", "refs", "logs"))
    }

    # In another process, with another order of hashes and another number of threads to begin with.
    run = subprocess.run(
        [sys.executable, "-m", "adapterstore_cli", "verify", "--replay", update, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["identical"]
    assert told["environment"] == []


def forge(store: Store, name: str, edit: Any) -> None:
    """Change one file in ``update/`` of both commits."""
    path = f"update/{name}"
    data = edit(store.repository.read_required(store.resolve("main"), path))
    rewrite_history(store, "main~1", {path: data}, everywhere=True)


def test_another_recipe_than_was_used_is_told_by_the_difference_in_weights(tmp_path: Path) -> None:
    store, update = updated(tmp_path)
    forge(store, "recipe.yaml", lambda data: data.replace(b"seed: 0", b"seed: 1"))
    result = replay(store, update)
    assert not result.identical
    (learn,) = [leaf for leaf in result.leaves if leaf.operation == "learn"]
    assert learn.recorded != learn.replayed
    assert 0.01 < learn.relative_difference < 10
    run = adapterstore(tmp_path, "verify", "--replay", update)
    assert run.returncode == 18
    assert "not identical" in run.stdout
    assert f"{learn.relative_difference:.2e}" in run.stdout


def test_another_environment_is_named_and_excuses(tmp_path: Path) -> None:
    store, update = updated(tmp_path)

    def older(data: bytes) -> bytes:
        content = json.loads(data)
        content["provenance"]["environment"]["versions"]["torch"] = "2.6.0"
        content["provenance"]["environment"]["cpu"] = "SVE"
        return json.dumps(content).encode()

    forge(store, "report.json", older)
    forge(store, "recipe.yaml", lambda data: data.replace(b"learn_steps: 6", b"learn_steps: 5"))
    run = adapterstore(tmp_path, "verify", "--replay", update)
    assert run.returncode == 0, run.stderr
    assert "not identical" in run.stdout
    assert f"not as recorded: torch was 2.6.0, is {torch.__version__}" in run.stdout
    assert "not as recorded: cpu was SVE" in run.stdout


def test_versions_that_are_none_are_other_ones() -> None:
    now = {"versions": {"torch": "2.8.0"}, "cpu": "AVX2"}
    recorded = {"versions": "the newest", "cpu": "AVX2"}
    assert environment_differences(recorded, now) == ["torch was None, is 2.8.0"]


def test_what_was_not_recorded_can_not_be_replayed(tmp_path: Path) -> None:
    store, update = updated(tmp_path)

    def silent(data: bytes) -> bytes:
        content = json.loads(data)
        del content["provenance"]
        return json.dumps(content).encode()

    forge(store, "report.json", silent)
    with pytest.raises(CorruptStore, match="does not say how it was made"):
        replay(store, update)
    run = adapterstore(tmp_path, "verify", "main", "--replay", update)
    assert run.returncode == 2
