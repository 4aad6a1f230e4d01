"""The verbs of a store, as a library: exact sums, provenance, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterstore import Store
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import (
    AmbiguousRevision,
    BaseModelMismatch,
    BaseModelUnavailable,
    CannotExport,
    InvalidSetting,
    MalformedAdapter,
    RefMoved,
    StoreBusy,
    UnknownRevision,
    UnreadableFile,
)
from adapterstore.knowledge.facts import Fact
from tests.cli.running import contents, lora_folder
from tests.history.publishing import answers, publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    lora_folder(tmp_path / "b", seed=2, rank=3)
    return store


def coefficients(store: Store, revision: str = "HEAD") -> list[Decimal]:
    return sorted(term.coefficient for term in store.snapshot(revision).composition)


def digest(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "README.md"
    }


def test_revert_after_add_gives_the_same_blob_and_the_same_bytes(
    store: Store, tmp_path: Path
) -> None:
    store.add("main", tmp_path / "b", coefficient="-0.7")
    store.revert("main", "HEAD")
    blobs = [
        store.repository.tree(store.resolve(r))["composition.json"].id  # type: ignore[index]
        for r in ("HEAD", "HEAD~2")
    ]
    assert blobs[0] == blobs[1]
    store.export("HEAD", tmp_path / "after")
    store.export("HEAD~2", tmp_path / "before")
    assert digest(tmp_path / "after") == digest(tmp_path / "before")


def test_subtract_is_add_of_the_negative(store: Store, tmp_path: Path) -> None:
    start = store.resolve()
    store.subtract(None, tmp_path / "b", coefficient="0.30")
    subtracted = store.snapshot().composition
    store.revert(None, "HEAD")
    store.add(None, tmp_path / "b", coefficient="-0.3")
    assert store.snapshot().composition == subtracted
    assert start != store.resolve()


def test_a_sum_is_exact_where_floats_are_not(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        store.add(None, tmp_path / "b", coefficient="0.1")
    assert Decimal("0.3") in coefficients(store)
    store.subtract(None, tmp_path / "b", coefficient="0.3")
    assert coefficients(store) == [1]


def test_operands_are_states_changes_and_paths(store: Store, tmp_path: Path) -> None:
    store.add(None, tmp_path / "b", coefficient="2")
    store.add(None, "HEAD")
    assert coefficients(store) == [2, 4]
    store.subtract(None, "HEAD~2..HEAD~1")
    assert coefficients(store) == [2, 2]
    store.add(None, tmp_path / "b" / "adapter_model.safetensors")
    assert coefficients(store) == [2, 3]
    operands = [entry.trailers.get("Operand") for entry in store.log()]
    assert operands[2] == store.resolve("HEAD~3")[:12]


def test_a_path_that_is_a_revision_too_is_ambiguous(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").rename(tmp_path / "main")
    with pytest.raises(AmbiguousRevision, match=r"\./main \(the path\), main \(the revision\)"):
        store.add(None, "main")
    store.add(None, "./main")
    assert coefficients(store) == [1, 1]


def test_adding_nothing_makes_no_commit(store: Store, tmp_path: Path) -> None:
    assert not store.add(None, tmp_path / "b", coefficient="0").changed
    assert not store.add(None, "HEAD..HEAD").changed


def test_a_revert_can_be_reverted_and_is_made_once(store: Store, tmp_path: Path) -> None:
    store.add(None, tmp_path / "b")
    added = store.resolve()
    store.revert(None, added)
    again = store.revert(None, added)
    assert not again.changed
    assert "was reverted already" in again.notes[0]
    store.revert(None, "HEAD")
    assert store.snapshot().composition == store.snapshot(added).composition
    assert store.revert(None, added).changed
    assert coefficients(store) == [1]


def test_what_came_later_stays(store: Store, tmp_path: Path) -> None:
    store.add(None, tmp_path / "b")
    store.add(None, lora_folder(tmp_path / "c", seed=3))
    store.revert(None, "HEAD~1")
    assert len(store.snapshot().composition) == 2
    store.revert(None, "HEAD~3..HEAD")
    assert coefficients(store) == [1]


def test_the_first_commit_and_strangers_cannot_be_reverted(store: Store) -> None:
    with pytest.raises(UnknownRevision, match="changed nothing"):
        store.revert(None, "HEAD~1")
    tip = store.resolve()
    tree = store.repository.commit(tip).tree_id
    stranger = store.repository.write_commit(tree, [tip], "nobody's")
    with pytest.raises(UnknownRevision, match="not part of this branch's history"):
        store.revert(None, stranger)


def test_expect_finds_its_own_commit_and_no_others(store: Store, tmp_path: Path) -> None:
    start = store.resolve()
    first = store.add(None, tmp_path / "b", expect=start)
    again = store.add(None, tmp_path / "b", expect=start)
    assert (again.commit, again.changed) == (first.commit, False)
    with pytest.raises(RefMoved):
        store.add(None, tmp_path / "b", coefficient="2", expect=start)
    with pytest.raises(RefMoved):
        store.add(None, tmp_path / "b", message="another subject", expect=start)


def test_expect_is_compared_where_nothing_was_to_do(store: Store, tmp_path: Path) -> None:
    start = store.resolve()
    added = store.add(None, tmp_path / "b").commit
    with pytest.raises(RefMoved) as raised:
        store.commit(None, tmp_path / "a", expect=start)
    assert (raised.value.expected, raised.value.actual) == (start, added)
    with pytest.raises(RefMoved):
        store.reset(None, start, expect=start)
    assert store.resolve() == added
    # The branch has moved on and come back: what was asked for is what it has.
    reverted = store.revert(None, "HEAD").commit
    again = store.commit(None, tmp_path / "a", expect=start)
    assert (again.commit, again.changed) == (reverted, False)


def test_what_cannot_be_done_at_the_tip_is_not_as_asked(store: Store) -> None:
    publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1")])
    picked = store.resolve()
    store.reset(None, "HEAD~1")
    publish(store, "bbbbbbbbbbbb", [Fact(prompt="P", answer="2")])
    with pytest.raises(RefMoved):
        store.cherry_pick(None, picked, expect=picked)


def test_a_revert_puts_the_ledger_back_but_for_what_changed_since(store: Store) -> None:
    publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1"), Fact(prompt="Q", answer="1")])
    publish(store, "bbbbbbbbbbbb", [Fact(prompt="Q", answer="2"), Fact(prompt="R", answer="2")])
    result = store.revert(None, "update/aaaaaaaaaaaa")
    assert answers(store) == {"Q": "2", "R": "2"}
    assert result.notes == ["kept, as a later update changed it: Q"]
    store.revert(None, "update/bbbbbbbbbbbb")
    assert answers(store) == {"Q": "1"}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_no_operand(
    store: Store, tmp_path: Path, value: float
) -> None:
    weights = tmp_path / "b" / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = max(tensors)
    tensors[name][1, 1] = value
    save_file(tensors, weights)
    tip, before = store.resolve(), contents(store.repository.folder)
    for verb in (store.add, store.commit, store.subtract):
        with pytest.raises(MalformedAdapter, match=rf"{weights}: tensor {name} holds values that"):
            verb(None, tmp_path / "b")
    assert (store.resolve(), contents(store.repository.folder)) == (tip, before)


def test_a_delta_folder_that_is_not_finite_is_no_operand(store: Store, tmp_path: Path) -> None:
    store.export("HEAD", tmp_path / "delta", "delta")
    (shard,) = (tmp_path / "delta").glob("*.safetensors")
    tensors = load_file(shard)
    tensors[min(tensors)][0, 0] = torch.inf
    save_file(tensors, shard)
    with pytest.raises(
        MalformedAdapter, match=rf"{shard}: tensor {min(tensors)} holds values that"
    ):
        store.add(None, tmp_path / "delta")


def test_a_snapshot_empties_the_ledger(store: Store, tmp_path: Path) -> None:
    publish(store, "aaaaaaaaaaaa", [Fact(prompt="P", answer="1")])
    store.commit(None, tmp_path / "b")
    assert answers(store) == {}


def test_the_base_is_named_by_the_first_adapter(store: Store, tmp_path: Path) -> None:
    assert store.snapshot().base.name == "example/base"
    other = lora_folder(tmp_path / "c", base="other/base")
    with pytest.raises(BaseModelMismatch, match=r"base\.aliases --add 'other/base'"):
        store.add(None, other)
    store.settings.with_value("base.aliases", ["other/base"]).write()
    store.add(None, other)
    with pytest.raises(BaseModelUnavailable, match="not in the Hub cache"):
        store.base_folder()


def test_other_weights_than_the_recorded_ones_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(MODEL_PATH, base)
    store = Store.init(tmp_path / "work", base=str(base))
    assert store.snapshot().base.digests is not None
    assert store.base_folder() == base
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseModelMismatch, match="its weights has SHA-256"):
        store.base_folder()


def test_weights_are_recorded_when_they_are_first_seen(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="some/name")
    assert store.snapshot().base.digests is None
    store.settings.with_value("base.path", str(MODEL_PATH)).write()
    store.base_folder()
    assert store.snapshot().base.digests is not None
    assert store.entry().operation == "record-base"
    store.base_folder()
    assert len(list(store.log())) == 2


@pytest.fixture
def two_bases(tmp_path: Path) -> Store:
    """``main`` over one model and ``other`` over another, of the same shapes."""
    for name, shift in (("a", 0), ("b", 1)):
        shutil.copytree(MODEL_PATH, tmp_path / name)
        tensors = load_file(tmp_path / name / "model.safetensors")
        tensors["model.norm.weight"] += shift
        save_file(tensors, tmp_path / name / "model.safetensors", {"format": "pt"})
    store = Store.init(tmp_path / "work")
    store.create_branch("other")
    for branch, base in (("main", "org/a"), ("other", "org/b")):
        store.commit(branch, lora_folder(tmp_path / branch, base=base, width=192))
    return store


def set_base(store: Store, folder: Path) -> None:
    store.settings.with_value("base.path", str(folder)).write()


def test_a_state_stands_on_its_own_base_and_not_on_that_of_the_current_branch(
    two_bases: Store, tmp_path: Path
) -> None:
    store = two_bases
    for branch, folder in (("main", "a"), ("other", "b")):
        set_base(store, tmp_path / folder)
        store.base_folder(branch)
    tips = store.resolve("main"), store.resolve("other")
    store.export("other", tmp_path / "out", "model")
    assert 'base_model: "org/b"' in (tmp_path / "out" / "README.md").read_text()
    norms = [
        load_file(tmp_path / f / "model.safetensors")["model.norm.weight"] for f in ("out", "b")
    ]
    assert torch.equal(*norms)
    for at_hand, state in (("a", "other"), ("b", "main"), ("b", "main~1")):
        set_base(store, tmp_path / at_hand)
        with pytest.raises(BaseModelMismatch, match="its weights has SHA-256"):
            store.export(state, tmp_path / "refused", "model")
    assert (store.resolve("main"), store.resolve("other")) == tips


def test_a_base_that_was_never_seen_is_not_taken_for_that_of_another_branch(
    two_bases: Store, tmp_path: Path
) -> None:
    tip = two_bases.resolve()
    set_base(two_bases, tmp_path / "a")
    with pytest.raises(BaseModelMismatch, match=r"'org/b'.*'org/a'"):
        two_bases.export("other", tmp_path / "out", "model")
    assert (two_bases.resolve(), (tmp_path / "out").exists()) == (tip, False)
    two_bases.switch("other")
    set_base(two_bases, tmp_path / "b")
    two_bases.export("other", tmp_path / "out", "model")
    assert two_bases.entry().operation == "record-base"


def test_recording_the_base_is_no_move_of_the_branch(tmp_path: Path) -> None:
    store = Store.init(tmp_path / "work", base="some/name")
    store.settings.with_value("base.path", str(MODEL_PATH)).write()
    tuned = tmp_path / "tuned"
    shutil.copytree(MODEL_PATH, tuned)
    tensors = load_file(tuned / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    start = store.resolve()
    done = store.commit(None, tuned, expect=start)
    assert done.changed
    assert [entry.operation for entry in store.log()] == ["commit", "record-base", "init"]
    again = store.commit(None, tuned, expect=start)
    assert (again.commit, again.changed) == (done.commit, False)
    # Killed after the base was recorded: the command is run again, and goes on from there.
    store.reset(None, "HEAD~1")
    again = store.commit(None, tuned, expect=start)
    assert again.changed
    assert store.repository.parents(again.commit) == store.repository.parents(done.commit)
    with pytest.raises(RefMoved):
        store.add(None, tuned, expect=start)
    assert store.resolve() == again.commit


def test_a_fine_tuned_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = Store.init(tmp_path / "work", base="demo")
    tuned = tmp_path / "tuned"
    shutil.copytree(MODEL_PATH, tuned)
    tensors = load_file(tuned / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator) * tensor.float().std()
        tensors[name] = (tensor.float() + 0.1 * noise).to(tensor.dtype)
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    store.commit(None, tuned)
    store.export("HEAD", tmp_path / "out", "model")
    back = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert (tmp_path / "out" / "tokenizer.json").exists()
    with pytest.raises(CannotExport, match="it holds a dense delta"):
        store.export("HEAD", tmp_path / "lora", "lora")


def test_an_export_is_whole_or_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CannotExport, match="the empty sum"):
        store.export("HEAD~1", tmp_path / "out", "lora")
    assert not (tmp_path / "out").exists()
    store.export("HEAD", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "example/base"
    with pytest.raises(CannotExport, match="it is there already"):
        store.export("HEAD", tmp_path / "out")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".out")]


@pytest.mark.parametrize(
    "text",
    ["recipe: [", "- a list", "nonsense: {}", "recipe: 3", "base: {path: 3}", "base: {pth: x}"],
)
def test_settings_that_make_no_sense_are_named(store: Store, text: str) -> None:
    (store.repository.folder / "adapterstore.yaml").write_text(text)
    with pytest.raises(InvalidSetting, match=r"adapterstore\.yaml"):
        _ = store.settings


@pytest.mark.parametrize("value", ["2018-99-99", "!!bool x", "!!int x", "!!timestamp x"])
def test_a_value_that_yaml_has_not_is_named(store: Store, value: str) -> None:
    (store.repository.folder / "adapterstore.yaml").write_text(f"recipe:\n  seed: {value}\n")
    with pytest.raises(InvalidSetting, match=r"adapterstore\.yaml: not YAML"):
        _ = store.settings


def test_a_list_that_is_not_closed_is_named_by_the_line_where_it_begins(store: Store) -> None:
    path = store.repository.folder / "adapterstore.yaml"
    path.write_text("recipe:\n  lambdas: [0.1,\n    0.2\n")
    with pytest.raises(InvalidSetting, match=r"adapterstore\.yaml:2: not YAML: .*flow sequence"):
        _ = store.settings


def test_init_over_something_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseModelUnavailable):
        Store.init(tmp_path / "work", base=str(tmp_path / "empty"))
    with pytest.raises(UnreadableFile, match="not a folder"):
        Store.init(tmp_path / "work", base="./nowhere")
    assert not (tmp_path / "work" / ".adapterstore").exists()


def test_settings_that_somebody_changed_meanwhile_are_not_written_over(store: Store) -> None:
    first, second = store.settings, store.settings
    first.with_value("base.path", "/models/a").write()
    with pytest.raises(StoreBusy, match="changed meanwhile"):
        second.with_value("base.aliases", ["other/base"]).write()
    store.settings.with_value("base.aliases", ["other/base"]).write()
    assert (store.settings.base_path, store.settings.base_aliases) == (
        Path("/models/a"),
        ["other/base"],
    )


@pytest.mark.parametrize("operand", ["", " "])
def test_an_empty_operand_is_not_the_current_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operand: str
) -> None:
    monkeypatch.chdir(lora_folder(tmp_path / "here", seed=7))
    with pytest.raises(UnknownRevision, match="names no revision, file or folder"):
        store.add("main", operand)
    with pytest.raises(UnreadableFile, match="names no file or folder"):
        store.commit("main", operand)
    store.commit("main", ".")
    assert store.entry().subject == "Commit here"


def test_an_update_is_not_named_by_less_than_four_digits(store: Store) -> None:
    for name in ("update/", "update/a"):
        with pytest.raises(UnknownRevision, match="at least 4 digits"):
            store.revert("main", name)


def test_the_current_folder_can_be_exported_to(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    store.export("HEAD", ".")
    assert (tmp_path / "empty" / "adapter_config.json").exists()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(CannotExport, match="it is there already"):
        store.export("HEAD", tmp_path / "link")


def test_a_name_that_is_not_utf8_is_taken(store: Store, tmp_path: Path) -> None:
    folder = lora_folder(tmp_path / os.fsdecode(b"adapter \xff"), seed=8)
    store.add("main", folder)
    assert store.entry().subject.endswith("adapter ?")
    assert store.repository.read(store.resolve(), "README.md")
