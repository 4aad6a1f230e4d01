"""A store with a short recipe, and a folder for drops beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.running import done

QUICK = {
    "recipe.sampled_texts": "40",
    "recipe.subject_texts": "6",
    "recipe.control_size": "10",
    "recipe.forget_steps": "8",
    "recipe.learn_steps": "10",
    "recipe.batch_size": "8",
    "recipe.coefficient": "1",
    "daemon.settle_seconds": "0.2",
    "daemon.rescan_seconds": "1",
    "daemon.retry_seconds": "0.3",
    # Whether so short a training passes is not what these tests are about.
    **{
        f"gate.{figure}": "null"
        for figure in ("reliability", "generality", "locality", "retention", "forgetting")
    },
}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done(folder, "init", "--base", "demo")
    for key, value in QUICK.items():
        done(folder, "config", key, value)
    (folder / "drops").mkdir()
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path
