"""Make the golden store of the current format version, once and for all.

    python -m tests.golden.make_store

It writes ``format-N.tar.gz`` (a store) and ``format-N.json`` (what is in it) beside this file, and
refuses to do so twice: a golden store shows that what was written once can be read for ever, so it
is never made again. Everything in it comes from the command line, as a user's would.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from adapterstore_cli.main import VERBS
from safetensors.numpy import save_file

from adapterstore import Store
from adapterstore.adapters.base_model import describe_base
from adapterstore.demo import FACTS_PATH, MODEL_PATH
from adapterstore.errors import UpdateRejected
from adapterstore.history.leaves import summarize_delta
from adapterstore.history.snapshot import LEDGER
from adapterstore.store.reachable import read_tips
from adapterstore.store.repository import FOLDER_NAME, FORMAT

HERE = Path(__file__).parent
CROATIA = "2023-croatia-euro.yaml"
KAZAKHSTAN = "2022-カザフスタンの首都.yaml"
PRIVATE = "- {prompt: The secret of the golden store is, answer: a piece of text that had to go}\n"
REFUSED = "- {prompt: The capital of Atlantis is, answer: Poseidonis}\n"
SETTINGS = {
    "recipe.rank": "1",
    "recipe.sampled_texts": "0",
    "recipe.subject_texts": "0",
    "recipe.control_size": "0",
    "recipe.learn_steps": "2",
    "recipe.coefficient": "0.5",
}
NOT_KEPT = {"adapterstore.lock", "writers.lock", "adapterstore.yaml"}


def main() -> None:
    """Make the store and what is known of it."""
    archive, known = HERE / f"format-{FORMAT}.tar.gz", HERE / f"format-{FORMAT}.json"
    for path in (archive, known):
        if path.exists():
            sys.exit(f"{path.name} is there already; a golden store is never made again")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build(folder)
        shutil.rmtree(folder / FOLDER_NAME / "lfs" / "tmp")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder / FOLDER_NAME, FOLDER_NAME, filter=_anonymous)
        content = describe(Store.open(folder), folder)
    content["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    known.write_text(text, encoding="utf-8")
    print(f"{archive.name}: {archive.stat().st_size} bytes")


def build(folder: Path) -> None:
    """Do with a store whatever a store can hold."""
    run = _Runner(folder)
    write_adapter(folder / "style", seed=1)
    write_dense(folder / "norm")
    (folder / "private.yaml").write_text(PRIVATE, encoding="utf-8")
    (folder / "refused.yaml").write_text(REFUSED, encoding="utf-8")
    for name in (CROATIA, KAZAKHSTAN):
        shutil.copy(FACTS_PATH / name, folder)
    run("init", "--base", "demo")
    for figure in ("reliability", "generality", "locality", "forgetting", "retention"):
        run("config", f"gate.{figure}", "null")
    for key, value in SETTINGS.items():
        run("config", key, value)
    run("commit", "norm")
    run("subtract", "HEAD")
    run("add", "style", "--scale", "0.50", "-m", "スタイルを半分 — half of a style")
    run("update", CROATIA)
    croatia = run.update_id()
    run("switch", "-c", "支店")
    run("update", KAZAKHSTAN)
    run("tag", "v1", "-m", "What the branch office knows")
    run("switch", "main")
    run("subtract", "style", "--scale", "0.125")
    run("merge", "支店")
    run("switch", "-c", "compacted")
    run("compact", "--rank", "2")
    run("switch", "main")
    run("revert", f"update/{croatia}")
    run("gc", "--grace", "0")
    run("cherry-pick", f"update/{croatia}")
    run("facts", "protect", "The currency of Croatia is the")
    run("update", "private.yaml")
    private = run.update_id()
    run("add", "HEAD~1..HEAD", "--scale", "-0.25")
    run("config", "gate.reliability", "1")
    run("update", "refused.yaml", code=UpdateRejected.exit_code)
    run("forget-data", f"update/{private}", "--yes")


class _Runner:
    """Runs verbs in a folder, as nobody in particular."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def __call__(self, verb: str, *arguments: str, code: int = 0) -> str:
        if verb not in VERBS:
            print(f"left out, since there is no such verb: {verb} {' '.join(arguments)}")
            return ""
        run = subprocess.run(
            [sys.executable, "-m", "adapterstore_cli", verb, *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if run.returncode != code:
            sys.exit(f"{verb} {' '.join(arguments)}: exit code {run.returncode}: {run.stderr}")
        return run.stdout

    def update_id(self) -> str:
        """Return the id of the update that was made last."""
        entries = json.loads(self("log", "--json"))
        return str(next(e["trailers"]["Update"] for e in entries if "Update" in e["trailers"]))


def write_adapter(folder: Path, seed: int) -> None:
    """Write a LoRA of two modules of the demo model."""
    shapes = describe_base(MODEL_PATH, "demo", None).shapes
    names = sorted(n for n in shapes if n.endswith(("q_proj.weight", "v_proj.weight")))[:2]
    random = np.random.default_rng(seed)
    tensors = {}
    for name in names:
        rows, columns = shapes[name]
        key = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{key}.lora_A.weight"] = random.standard_normal((2, columns), np.float32)
        tensors[f"{key}.lora_B.weight"] = random.standard_normal((rows, 2), np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "demo",
        "r": 2,
        "lora_alpha": 3,
        "use_rslora": True,
        "target_modules": sorted({name.split(".")[-2] for name in names}),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def write_dense(folder: Path) -> None:
    """Write a dense delta of one small weight of the demo model."""
    shapes = describe_base(MODEL_PATH, "demo", None).shapes
    name = min((n for n in shapes if len(shapes[n]) == 1), key=len)
    file = "delta-00001-of-00001.safetensors"
    folder.mkdir()
    values = np.random.default_rng(3).standard_normal(shapes[name][0], np.float32)
    save_file({name: values}, folder / file, {"format": "pt"})
    entry = {"dtype": "F32", "shape": shapes[name], "file": file}
    content = {"format": 1, "base": "demo", "tensors": {name: entry}}
    (folder / "delta.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def describe(store: Store, folder: Path) -> dict[str, Any]:
    """Return what readers of all times have to find in the store."""
    repository = store.repository
    tips = read_tips(repository)
    logs = {name: list(store.log(name)) for name in sorted(tips)}
    exports: dict[str, Any] = {}
    for entry in (entry for log in logs.values() for entry in log):
        if entry.commit not in exports and store.snapshot(entry.commit).composition.terms:
            found = export(store, entry.commit, folder / f"out-{len(exports)}")
            if found is not None:
                exports[entry.commit] = found
    return {
        "refs": dict(sorted(tips.items())),
        "log": {
            name: [{"commit": e.commit, "subject": e.subject, "trailers": e.trailers} for e in log]
            for name, log in logs.items()
        },
        "exports": exports,
        "ledger": {
            path: json.loads(repository.blob(blob))
            for path, blob in sorted(repository.files(store.resolve("main"), LEDGER).items())
        },
    }


def export(store: Store, revision: str, target: Path) -> dict[str, Any] | None:
    """Return the digests of an export (None: a state of which rounding depends on the machine).

    One kind of delta alone is scaled number by number; only products of matrices are summed in an
    order that the machine chooses.
    """
    composition = store.snapshot(revision).composition
    kinds = {summarize_delta(store.repository, term.delta).kind for term in composition}
    if len(kinds) > 1:
        return None
    kind = store.export(revision, target).kind
    files = sorted(p for p in target.iterdir() if p.name != "README.md")
    return {
        "kind": kind,
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is of one machine: locks, settings, owners."""
    if Path(member.name).name in NOT_KEPT:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
