"""What was written once in a format version is read for ever, byte for byte."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.evaluation.metrics import Report
from adapterstore.history.fsck import fsck
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.messages import format_message, parse_trailers, split_trailers, subject_of
from adapterstore.store.objects import Pointer
from adapterstore.store.reachable import read_tips
from adapterstore.store.repository import FORMAT
from adapterstore.update.result import read_report
from tests.cli.running import contents, done, read_json
from tests.golden.make_store import NOT_KEPT, export

HERE = Path(__file__).parent
VERSIONS = range(1, FORMAT + 1)


@pytest.fixture(scope="module", params=VERSIONS)
def golden(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict[str, Any]]:
    """A golden store, unpacked, and what was known of it when it was made."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(HERE / f"format-{request.param}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    known = json.loads((HERE / f"format-{request.param}.json").read_text(encoding="utf-8"))
    return Store.open(folder), known


def commits(store: Store) -> Iterator[CommitId]:
    seen = set()
    for name in read_tips(store.repository):
        for entry in store.log(name):
            if entry.commit not in seen:
                seen.add(entry.commit)
                yield entry.commit


@pytest.mark.parametrize("version", VERSIONS)
def test_the_archive_is_the_one_that_was_made(version: int) -> None:
    known = json.loads((HERE / f"format-{version}.json").read_text(encoding="utf-8"))
    archive = (HERE / f"format-{version}.tar.gz").read_bytes()
    assert hashlib.sha256(archive).hexdigest() == known["sha256"]


def test_refs_and_history_are_what_they_were(golden: tuple[Store, dict[str, Any]]) -> None:
    store, known = golden
    assert read_tips(store.repository) == known["refs"]
    for name, log in known["log"].items():
        assert [
            {"commit": e.commit, "subject": e.subject, "trailers": e.trailers}
            for e in store.log(name)
        ] == log


def test_the_ledger_is_what_it_was(golden: tuple[Store, dict[str, Any]]) -> None:
    store, known = golden
    assert known["ledger"]
    blobs = store.repository.files(store.resolve("main"), LEDGER)
    assert {path: json.loads(store.repository.blob(blob)) for path, blob in blobs.items()} == known[
        "ledger"
    ]
    assert len(read_ledger(store.repository, store.resolve("main"))) == len(known["ledger"])


def test_exports_have_the_same_bytes(golden: tuple[Store, dict[str, Any]], tmp_path: Path) -> None:
    store, known = golden
    assert {found["kind"] for found in known["exports"].values()} == {"lora", "delta"}
    for number, (revision, found) in enumerate(known["exports"].items()):
        assert export(store, revision, tmp_path / str(number)) == found


def test_it_is_sound_in_the_eyes_of_all(golden: tuple[Store, dict[str, Any]]) -> None:
    store, _ = golden
    folder = store.repository.folder
    assert fsck(store.repository).problems == []
    for command in (["git", "fsck", "--full", "--strict"], ["git", "lfs", "fsck"]):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_what_was_written_is_what_would_be_written(golden: tuple[Store, dict[str, Any]]) -> None:
    """Every canonical file, read and written again, has the same bytes."""
    store, _ = golden
    repository = store.repository
    seen: dict[str, int] = {}
    for commit in commits(store):
        for path, blob in repository.files(commit, "").items():
            data, name = repository.blob(blob), path.lstrip("/")
            kind = name.partition("/")[0]
            if name == "composition.json":
                assert Composition.from_bytes(data, name).to_bytes() == data
            elif name == "base.json":
                assert BaseModel.from_bytes(data, name).to_bytes() == data
            elif kind == LEDGER:
                entry = LedgerEntry.from_bytes(data, name)
                assert entry.to_bytes() == data
            elif name.endswith(".safetensors"):
                assert Pointer.from_bytes(data, name).to_bytes() == data
            elif name == "update/report.json":
                figures = read_report(repository, commit)["report"]
                assert Report.from_dict(figures).to_dict() == figures
            seen[kind] = seen.get(kind, 0) + 1
    assert seen.keys() >= {"composition.json", "base.json", "facts", "deltas", "update"}


def test_messages_are_in_canonical_form(golden: tuple[Store, dict[str, Any]]) -> None:
    store, _ = golden
    for commit in commits(store):
        message = store.repository.commit(commit).message
        text, _ = split_trailers(message)
        body = text.partition("\n")[2]
        trailers = parse_trailers(message)
        assert trailers["Operation"]
        assert format_message(subject_of(message), body, trailers) == message


def test_the_paths_of_the_ledger_follow_from_its_keys(
    golden: tuple[Store, dict[str, Any]],
) -> None:
    store, known = golden
    for key, entry in read_ledger(store.repository, store.resolve("main")).items():
        assert ledger_path(digest_key(key)) in known["ledger"]
        assert entry.key == key


def test_the_verbs_read_it_and_change_nothing(golden: tuple[Store, dict[str, Any]]) -> None:
    store, known = golden
    folder = store.repository.folder.parent
    before = contents(store.repository.folder)
    assert read_json(folder, "status")["commit"] == store.resolve()
    for commit in {e["commit"] for log in known["log"].values() for e in log}:
        assert read_json(folder, "show", commit)["commit"] == commit
    done(folder, "log")
    done(folder, "fsck")
    done(folder, "gc", "--dry-run")
    after = {k: v for k, v in contents(store.repository.folder).items() if k not in NOT_KEPT}
    assert after == before
