"""What an update leaves in the store, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterstore import Store
from adapterstore.errors import (
    BaseModelUnavailable,
    Contradiction,
    CorruptStore,
    InvalidSetting,
    UnknownRevision,
    UnsupportedFormat,
    UpdateIdTaken,
)
from adapterstore.evaluation.gate import Gate
from adapterstore.evaluation.metrics import Report, Score
from adapterstore.history.ledger.protecting import protect_facts
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.settings import Settings
from adapterstore.history.snapshot import NewCommit, write_snapshot
from adapterstore.history.update_report import read_report
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.loading import load_base
from adapterstore.learning.recipe import Recipe
from adapterstore.progress import NoProgress
from adapterstore.store.refs import list_refs, move_ref
from adapterstore.update import UpdateResult, read_update_settings, run_update
from adapterstore.update.result import read_update
from adapterstore.update.settings import read_daemon_settings
from adapterstore.update.verification import verify
from tests.history.histories import teach

ONE_STEP = Recipe(
    rank=2, forget=False, learn_steps=1, sampled_texts=0, subject_texts=0, control_size=0
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
PROMPT = "The currency of Croatia is the"


def facts(name: str, answer: str = "euro") -> FactFile:
    return parse_fact_file(f"- {{prompt: {PROMPT}, answer: {answer}}}\n".encode(), name)


def update(store: Store, *files: FactFile, gate: Gate = NO_GATE, **options: Any) -> UpdateResult:
    return run_update(store, files, recipe=ONE_STEP, gate=gate, **options)


def test_the_recipe_and_the_report_stand_beside_the_fact_files(store: Store) -> None:
    files = [facts("a/recipe.yaml"), facts("b/recipe.yaml"), facts("report.json.yaml")]
    result = update(store, *files)
    read = store.repository.read_required
    tip = store.resolve()

    # The same bytes three times under three names, and no file hides what is the update's own.
    for name in ("facts-recipe.yaml", "facts-facts-recipe.yaml", "report.json.yaml"):
        assert read(tip, f"update/{name}") == files[0].data
    recipe = Recipe.parse(yaml.safe_load(read(tip, "update/recipe.yaml")), "recipe.yaml")
    # As it was trained: what was left to the architecture is stated.
    assert recipe == ONE_STEP.for_model(load_base(store.base_folder(), "cpu")[0])
    assert recipe.learning_rate is not None
    assert replace(read_update(store.repository, result.update, "applied"), seconds={}) == replace(
        result, seconds={}
    )


def test_a_report_says_what_happened(store: Store) -> None:
    update(store, facts("one.yaml"))
    content = json.loads(store.repository.read_required(store.resolve(), "update/report.json"))

    assert content["accepted"] is True
    assert content["reasons"] == []
    assert set(content["training_steps"]) == {"learn"}
    assert set(content["seconds"]) == {"loading", "training", "measuring", "drift"}
    assert content["report"]["reliability"]["asked"] == 1
    assert content["report"]["generality"] is None


def test_a_refused_update_is_under_a_ref_of_its_own_with_the_reasons(store: Store) -> None:
    start = store.resolve()
    result = update(store, facts("one.yaml"), gate=NO_GATE.model_copy(update={"reliability": 1.0}))

    assert result.status == "rejected"
    assert result.reasons == ["reliability 0.00 is below 1 by 1 (0 of 1)"]
    assert list_refs(store.repository, "refs/") == {
        "refs/heads/main": start,
        f"refs/adapterstore/rejected/{result.update}": result.commits[-1],
    }
    assert read_report(store.repository, result.commits[-1])["accepted"] is False
    message = store.repository.commit(result.commits[-1]).message
    assert "Refused: reliability 0.00 is below 1 by 1 (0 of 1)." in message

    # Without an id the same facts are tried again, as another update.
    again = update(store, facts("one.yaml"))
    assert (again.status, again.update) == ("applied", f"{result.update}-2")


def test_an_id_may_be_given(store: Store) -> None:
    result = update(store, facts("one.yaml"), update_id=UpdateId("20261124-7"))
    assert result.update == "20261124-7"
    assert store.resolve("update/20261124-7") == store.resolve()


def test_another_branch_than_the_current_one_can_be_updated(store: Store) -> None:
    start = store.resolve()
    move_ref(store.repository, "refs/heads/trial", None, start, "branch")
    result = update(store, facts("one.yaml"), branch="trial")

    assert store.resolve("trial") == result.commits[-1]
    assert store.resolve("main") == start
    assert update(store, facts("one.yaml"), branch="trial").status == "already-applied"
    with pytest.raises(UnknownRevision, match="no such branch"):
        update(store, facts("one.yaml"), branch="nowhere")


def test_without_the_bases_weights_there_is_no_update(store: Store, tmp_path: Path) -> None:
    start = store.resolve()
    store.settings.with_value("base.path", str(tmp_path / "nothing")).write()
    with pytest.raises(BaseModelUnavailable, match="give its folder"):
        update(store, facts("one.yaml"))
    assert store.resolve() == start


@pytest.fixture
def recorded() -> UpdateResult:
    return UpdateResult(
        update=UpdateId("x"),
        status="rejected",
        commits=[],
        report=Report(reliability=Score(1, 2)),
        coefficient="0.7",
        curve=[{"coefficient": "0.7", "old_answers": 0.0, "control": 1.0}],
        reasons=["reliability 0.50 is below 0.9 (1 of 2)"],
        seconds={"training": 1.5},
        notes=["注"],
    )


def commit_report(store: Store, data: bytes | None) -> CommitId:
    """Put the commit of an update with this report on the branch."""
    start = store.snapshot()
    new = NewCommit(
        composition=start.composition,
        base=start.base,
        subject="Learn",
        trailers={"Operation": "learn", "Update": "x"},
        update_files={} if data is None else {"report.json": data},
    )
    commit = write_snapshot(store.repository, start.commit, new)
    move_ref(store.repository, "refs/heads/main", start.commit, commit, "update: x")
    return commit


def test_a_recorded_outcome_reads_back(store: Store, recorded: UpdateResult) -> None:
    commit = commit_report(store, recorded.to_bytes({}))
    read = read_update(store.repository, UpdateId("x"), "rejected")
    assert read == replace(recorded, commits=[commit])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, CorruptStore, "report.json"),
        (b"{", CorruptStore, "not JSON"),
        (b"\xff", CorruptStore, "not JSON"),
        (b"[]", CorruptStore, "names no format version"),
        (b'{"format": "1"}', CorruptStore, "names no format version"),
        (b'{"format": 2}', UnsupportedFormat, "format version 2, .* reads up to 1"),
        (b'{"format": 1, "report": {"reliability": {}}}', CorruptStore, "figures are not"),
        (b'{"format": 1, "report": 7}', CorruptStore, "figures are not"),
    ],
)
def test_a_report_that_is_none_is_a_corrupt_store(
    store: Store, data: bytes | None, error: type[Exception], message: str
) -> None:
    commit_report(store, data)
    with pytest.raises(error, match=message):
        read_update(store.repository, UpdateId("x"), "applied")


def test_the_settings_are_the_stores_and_then_this_calls(store: Store) -> None:
    settings = store.settings.with_value("recipe.rank", 4).with_value("recipe.seed", 5)
    settings = settings.with_value("gate.locality", None).with_value("daemon.settle_seconds", 2)
    recipe, gate = read_update_settings(settings, {"seed": 6})

    assert (recipe.rank, recipe.seed, recipe.method) == (4, 6, Recipe().method)
    assert (gate.locality, gate.reliability) == (None, Gate().reliability)
    assert read_daemon_settings(settings).settle_seconds == 2.0


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("recipe.rnak", lambda settings: read_update_settings(settings, {})),
        ("gate.rank", lambda settings: read_update_settings(settings, {})),
        ("daemon.sleep", read_daemon_settings),
    ],
)
def test_a_setting_of_an_unknown_name_is_refused(
    store: Store, key: str, read: Callable[[Settings], object]
) -> None:
    settings = store.settings.with_value(key, 1)
    with pytest.raises(InvalidSetting, match=rf"^{key}: there is no such setting"):
        read(settings)


def teach_many(store: Store, count: int) -> None:
    teach(store, "aaaa", [Fact(prompt=f"{n}番は", answer="x") for n in range(count)])


def test_a_large_ledger_is_asked_in_part_and_the_report_says_so(store: Store) -> None:
    teach_many(store, 40)
    protect_facts(store.repository, None, ["7番は"])
    recipe = ONE_STEP.model_copy(update={"retained_facts": 6})
    result = run_update(store, [facts("one.yaml")], recipe=recipe, gate=NO_GATE)
    assert result.report is not None
    assert result.report.retention is not None
    assert result.report.retention.asked == 6
    assert "7番は" in {failure.prompt for failure in result.report.retention.failures}
    assert result.notes[-1].startswith("6 of the 40 other facts in the ledger were asked")
    content = read_report(store.repository, store.resolve())
    assert content["retained_facts"] == {"asked": 6, "of": 40}

    # All of it, where the bound allows: nothing to say.
    result = run_update(store, [facts("two.yaml", "peso")], recipe=ONE_STEP, gate=NO_GATE)
    assert result.report is not None
    assert result.report.retention is not None
    assert result.report.retention.asked == 40
    assert not [note for note in result.notes if "retention" in note]


def test_a_protected_fact_is_defended_before_any_model_is_looked_for(store: Store) -> None:
    teach(store, "aaaa", [Fact(prompt=PROMPT, answer="kuna", subject="Croatia", relation="money")])
    protect_facts(store.repository, None, ["Croatia, money"])
    start = store.resolve()
    store.settings.with_value("base.path", str(store.repository.folder / "nothing")).write()
    with pytest.raises(Contradiction) as caught:
        update(store, facts("one.yaml"))
    assert str(caught.value).startswith(
        "Croatia, money: one.yaml:1 says 'euro', but the ledger (protected, since update/aaaa) "
        "says 'kuna'; take it out of the file"
    )
    gone = parse_fact_file(f"- {{prompt: {PROMPT}, answer: null}}\n".encode(), "gone.yaml")
    with pytest.raises(Contradiction, match="'null', but the ledger"):
        update(store, gone)
    assert store.resolve() == start


def test_the_answer_of_an_entry_under_another_key_is_what_is_forgotten(store: Store) -> None:
    teach(store, "aaaa", [Fact(prompt=PROMPT, answer="kuna", subject="Croatia", relation="money")])
    recipe = ONE_STEP.model_copy(update={"forget": True, "forget_steps": 1})
    result = run_update(store, [facts("one.yaml")], recipe=recipe, gate=NO_GATE)
    assert result.report is not None
    assert result.report.retention is None
    (entry,) = read_ledger(store.repository, store.resolve()).values()
    assert (entry.key, entry.answer) == ("Croatia\tmoney", "euro")
    assert entry.update == result.update


def test_a_revert_stands_when_the_same_call_is_made_again(store: Store) -> None:
    """A daemon that was killed before it put the file away comes back after the user's revert."""
    result = update(store, facts("one.yaml"), update_id=UpdateId("20261124-7"))
    store.revert(None, "update/20261124-7")
    tip = store.resolve()
    again = update(store, facts("one.yaml"), update_id=UpdateId("20261124-7"))
    assert (again.status, again.commits) == ("already-applied", result.commits)
    assert store.resolve() == tip
    # Landed anew, under a new id, the same facts take effect again.
    assert update(store, facts("one.yaml"), update_id=UpdateId("20261124-8")).status == "applied"


def test_a_file_that_a_later_one_contradicted_in_part_takes_effect_again(store: Store) -> None:
    hungary = "The currency of Hungary is the"
    both = parse_fact_file(
        f"- {{prompt: {PROMPT}, answer: euro}}\n- {{prompt: {hungary}, answer: euro}}\n".encode(),
        "both.yaml",
    )
    first = update(store, both)
    assert update(store, both).status == "already-applied"
    update(store, facts("one.yaml", answer="kuna"))
    again = update(store, both)
    assert (again.status, again.update) == ("applied", f"{first.update}-2")
    answers = {e.prompt: e.answer for e in read_ledger(store.repository, store.resolve()).values()}
    assert answers == {PROMPT: "euro", hungary: "euro"}
    assert update(store, both).status == "already-applied"
    assert verify(store, None).findings == []


def test_each_fact_has_the_source_of_its_own_file(store: Store) -> None:
    files = [
        parse_fact_file(f"source: {source}\nfacts:\n{rows}".encode(), f"{number}.yaml")
        for number, (source, rows) in enumerate(
            [
                ("registry", "- {prompt: A is, answer: one}\n- {prompt: B is, answer: two}\n"),
                ("rumour", "- {prompt: B is, answer: two}\n- {prompt: C is, answer: three}\n"),
                ("null", "- {prompt: D is, answer: four}\n"),
            ]
        )
    ]
    update(store, *files)
    ledger = read_ledger(store.repository, store.resolve())
    assert {entry.prompt: entry.source for entry in ledger.values()} == {
        "A is": "registry",
        "B is": "registry; rumour",
        "C is": "rumour",
        "D is": None,
    }
    assert verify(store, None).findings == []


class Meanwhile(NoProgress):
    """Does something else once, while an update is being measured."""

    def __init__(self, work: Callable[[], object]):
        self._work: Callable[[], object] | None = work

    def start(self, stage: str, total: int | None = None) -> None:
        if stage == "measuring" and self._work is not None:
            work, self._work = self._work, None
            work()


def test_the_same_file_on_two_branches_at_once_is_two_updates(store: Store) -> None:
    store.base_folder()
    store.create_branch("topic")
    elsewhere: list[UpdateResult] = []

    def work() -> None:
        elsewhere.append(update(store, facts("one.yaml"), branch="topic"))

    result = update(store, facts("one.yaml"), branch="main", progress=Meanwhile(work))
    (other,) = elsewhere
    assert (result.status, other.status) == ("applied", "applied")
    assert result.update == f"{other.update}-2"
    assert read_update(store.repository, result.update, "applied").commits == result.commits
    assert verify(store, None).findings == []
    reverted = store.revert("main", f"update/{result.update}")
    assert reverted.commit is not None
    assert store.snapshot("topic").composition.terms


def test_a_given_id_that_another_branch_has_is_refused(store: Store) -> None:
    store.base_folder()
    store.create_branch("topic")
    name = UpdateId("20261128-1")
    update(store, facts("one.yaml"), branch="topic", update_id=name)
    tip = store.resolve("main")
    with pytest.raises(UpdateIdTaken, match="update/20261128-1 is another update by now"):
        update(store, facts("one.yaml"), branch="main", update_id=name)
    assert store.resolve("main") == tip


def test_what_is_published_while_the_base_is_hashed_is_not_learned_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[UpdateResult] = []
    real = Store.base_folder

    def base_folder(self: Store, branch: str | None = None) -> Path:
        if self is store and not first:
            first.append(update(Store.open(store.repository.folder.parent), facts("one.yaml")))
        return real(self, branch)

    monkeypatch.setattr(Store, "base_folder", base_folder)
    result = update(store, facts("one.yaml"))
    assert (result.status, result.commits) == ("already-applied", first[0].commits)
    assert [entry.operation for entry in store.log()] == ["learn", "init"]
