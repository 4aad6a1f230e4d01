"""An update end to end, on the demo model: what is published, once, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.errors import Contradiction, RefMoved
from adapterstore.history.snapshot import LEDGER
from adapterstore.history.updates import find_rejected
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file, read_fact_file
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.progress import NoProgress
from adapterstore.update import UpdateResult, read_update_settings, run_update
from adapterstore.update.asking import ask, evaluate_facts
from tests.cli.running import lora_folder

CROATIA = FACTS_PATH / "2023-croatia-euro.yaml"
PROMPT = "The currency of Croatia is the"
SHORT = {
    "sampled_texts": 150,
    "subject_texts": 20,
    "control_size": 40,
    "batch_size": 8,
    "learn_steps": 20,
}
# With so few texts preserved, what else changes is not what these tests are about.
GATE = {"generality": None, "locality": None, "retention": None, "forgetting": None}


def make_store(folder: Path) -> Store:
    return Store.init(folder, base="demo")


def update(store: Store, file: FactFile, **changes: object) -> UpdateResult:
    gate_changes = changes.pop("gate", {})
    update_id = changes.pop("update_id", None)
    dry_run = bool(changes.pop("dry_run", False))
    progress = changes.pop("progress", NoProgress())
    recipe, gate = read_update_settings(store.settings, {**SHORT, **changes})
    gate = type(gate).parse({**gate.model_dump(), **GATE, **gate_changes}, "gate")  # type: ignore[dict-item]
    return run_update(
        store,
        [file],
        recipe=recipe,
        gate=gate,
        update_id=update_id,  # type: ignore[arg-type]
        dry_run=dry_run,
        progress=progress,  # type: ignore[arg-type]
    )


def object_files(store: Store) -> list[Path]:
    return sorted(p for p in (store.repository.folder / "lfs").rglob("*") if p.is_file())


def test_an_update_is_two_commits_that_appear_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    start = store.resolve()
    result = update(store, read_fact_file(CROATIA))
    assert result.status == "applied"
    learn, forget, first = store.log()
    assert [forget.commit, learn.commit] == result.commits
    assert first.commit == start
    assert [forget.operation, learn.operation] == ["forget", "learn"]
    moves = list(store.repository.git.references["refs/heads/main"].log())
    assert [str(move.oid_old) for move in moves] == [start, "0" * 40]
    repository = store.repository
    for commit in result.commits:
        assert repository.read(commit, f"update/{CROATIA.name}") == CROATIA.read_bytes()
        assert b"preserve_weight: 8.0" in repository.read_required(commit, "update/recipe.yaml")
    report = json.loads(repository.read_required(learn.commit, "update/report.json"))
    assert report["report"]["reliability"] == {"right": 1, "asked": 1, "failures": []}
    assert report["coefficient"] == result.coefficient
    (entry,) = [
        LedgerEntry.from_bytes(repository.blob(blob))
        for blob in repository.files(learn.commit, LEDGER).values()
    ]
    assert (entry.prompt, entry.answer, entry.update) == (PROMPT, "euro", result.update)
    assert repository.files(forget.commit, LEDGER) == {}

    # Again: in effect already. Reverted: as before, byte for byte. Once more: applied anew.
    again = update(store, read_fact_file(CROATIA))
    assert again.status == "already-applied"
    assert again.commits == result.commits
    assert again.report == result.report
    store.revert(None, f"update/{result.update}")
    before, after = store.snapshot(start), store.snapshot()
    assert after.composition.to_bytes() == before.composition.to_bytes()
    assert store.repository.files(after.commit, LEDGER) == {}
    assert ask(store, "HEAD", [PROMPT])[0].startswith("kuna")
    third = update(store, read_fact_file(CROATIA))
    assert third.status == "applied"
    assert third.update == f"{result.update}-2"
    assert ask(store, "HEAD", [PROMPT])[0].startswith("euro")
    assert evaluate_facts(store, "HEAD").scores()["reliability"].value == 1.0


def test_what_harms_is_refused_and_stays_readable(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    start = store.resolve()
    harmful: dict[str, Any] = {
        "preserve_weight": 0,
        "learning_rate": 0.02,
        "learn_steps": 8,
        "gate": {"locality": 1.0},
    }
    result = update(store, read_fact_file(CROATIA), **harmful)
    assert result.status == "rejected"
    assert any(reason.startswith("locality ") for reason in result.reasons)
    assert store.resolve() == start
    assert find_rejected(store.repository, result.update) == result.commits[-1]
    assert store.resolve(f"update/{result.update}") == result.commits[-1]
    assert store.snapshot(f"update/{result.update}").composition.terms
    before = object_files(store)
    same = update(store, read_fact_file(CROATIA), update_id=result.update, **harmful)
    assert (same.status, same.reasons) == ("rejected", result.reasons)
    assert object_files(store) == before


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    start, before = store.resolve(), object_files(store)
    result = update(store, read_fact_file(CROATIA), dry_run=True)
    assert (result.status, result.commits) == ("dry-run", [])
    assert result.report is not None
    assert result.report.scores()["reliability"].value == 1.0
    assert store.resolve() == start
    assert object_files(store) == before
    assert list(store.repository.git.references) == ["refs/heads/main"]


class MovesTheBranch(NoProgress):
    """Commits something else while the update is being measured."""

    def __init__(self, store: Store, adapter: Path):
        self._store, self._adapter = store, adapter

    def start(self, stage: str, total: int | None = None) -> None:
        if stage == "measuring":
            self._store.add(None, self._adapter)


def test_a_branch_that_moved_meanwhile_is_not_moved_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    adapter = lora_folder(tmp_path / "a", base="demo", width=192)
    with pytest.raises(RefMoved, match="nothing was changed"):
        update(store, read_fact_file(CROATIA), progress=MovesTheBranch(store, adapter))
    assert [entry.operation for entry in store.log()] == ["add", "init"]


def test_contradictions_are_found_before_any_model_is_looked_for(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.settings.with_value("base.path", str(tmp_path / "nothing")).write()
    text = "- {prompt: P, answer: A}\n- {prompt: P, answer: B}\n"
    with pytest.raises(Contradiction, match="'A', but"):
        update(store, parse_fact_file(text.encode(), "two.yaml"))


def test_old_answers_come_from_the_ledger_or_from_the_model(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    prompt = "The capital of Kazakhstan is"
    record = f"- {{prompt: {prompt}, subject: Kazakhstan, relation: capital, answer: %s}}"
    # Of two facts one stands on, so the first update is not superseded as a whole.
    other = "- {prompt: The currency of Croatia is the, answer: euro}"
    first = parse_fact_file(f"{record % 'Nur-Sultan'}\n{other}\n".encode(), "2019.yaml")
    result = update(store, first)
    assert result.status == "applied"
    assert result.report is not None
    assert result.report.forgetting is not None
    assert result.report.forgetting.asked == 2
    result = update(store, parse_fact_file((record % "Almaty").encode(), "later.yaml"))
    assert result.status == "applied"
    assert ask(store, "HEAD", [prompt])[0].startswith("Almaty")
    reverted = store.revert(None, f"update/{store.entry('HEAD~2').update}")
    assert reverted.notes == [f"kept, as a later update changed it: {prompt}"]


@pytest.mark.parametrize("methods", [("full", "full"), ("lora", "full"), ("full", "lora")])
def test_either_phase_may_be_full_fine_tuning(tmp_path: Path, methods: tuple[str, str]) -> None:
    store = make_store(tmp_path)
    forget, learn = methods
    result = update(
        store, read_fact_file(CROATIA), forget_method=forget, learn_method=learn, forget_target=0.9
    )
    assert result.status == "applied", result.reasons
    assert ask(store, "HEAD", [PROMPT])[0].startswith("euro")
    assert ask(store, "HEAD~2", [PROMPT])[0].startswith("kuna")
