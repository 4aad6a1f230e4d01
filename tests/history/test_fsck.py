"""fsck: every kind of damage is found and named, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.fsck import fsck
from adapterstore.history.snapshot import delta_files
from adapterstore.identifiers import DeltaId
from adapterstore.store.objects import Pointer
from tests.cli.running import contents, lora_folder

Damage = Callable[[Store], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path)
    store.commit(None, lora_folder(tmp_path / "a", seed=1))
    store.add(None, lora_folder(tmp_path / "b", seed=2))
    return store


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def object_file(store: Store) -> Path:
    return sorted(p for p in (store.repository.folder / "lfs/objects").rglob("*") if p.is_file())[0]


def git_file(store: Store, object_id: str) -> Path:
    return store.repository.folder / "objects" / object_id[:2] / object_id[2:]


def rewrite(store: Store, changes: dict[str, bytes | pygit2.Oid | None]) -> None:
    """Put a commit with a changed tree on the branch, as a careless tool would."""
    repository = store.repository
    tip = store.resolve()
    tree = repository.write_tree(repository.tree(tip), changes)
    commit = repository.write_commit(tree, [tip], "by hand")
    repository.git.references["refs/heads/main"].set_target(commit)


def truncated_tensors(store: Store) -> None:
    path = object_file(store)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def missing_tensors(store: Store) -> None:
    object_file(store).unlink()


def stray_name(store: Store) -> None:
    (store.repository.folder / "lfs/objects/ab").mkdir(exist_ok=True)
    (store.repository.folder / "lfs/objects/ab/notes.txt").write_text("hello")


def flipped_git_object(store: Store) -> None:
    flip(git_file(store, store.resolve("HEAD~1")), 5)


def missing_tree(store: Store) -> None:
    git_file(store, str(store.repository.commit(store.resolve()).tree_id)).unlink()


def missing_parent(store: Store) -> None:
    git_file(store, store.resolve("HEAD~1")).unlink()


def broken_ref(store: Store) -> None:
    (store.repository.folder / "refs/heads/other").write_text("not an id\n")


def ref_to_nothing(store: Store) -> None:
    (store.repository.folder / "refs/heads/other").write_text("1" * 40 + "\n")


def broken_head(store: Store) -> None:
    (store.repository.folder / "HEAD").write_text("ref: refs/heads/nowhere\n")


def broken_reflog(store: Store) -> None:
    with (store.repository.folder / "logs/refs/heads/main").open("a") as log:
        log.write("half a li")


def not_canonical(store: Store) -> None:
    data = store.repository.read_required(store.resolve(), "composition.json")
    rewrite(store, {"composition.json": data.replace(b'"1"', b'"1.0"')})


def not_json(store: Store) -> None:
    rewrite(store, {"composition.json": b"{"})


def delta_without_a_term(store: Store) -> None:
    rewrite(
        store,
        {"composition.json": store.repository.read(store.resolve("HEAD~1"), "composition.json")},
    )


def term_without_a_delta(store: Store) -> None:
    content = json.loads(store.repository.read_required(store.resolve(), "composition.json"))
    rewrite(store, {f"deltas/{content['terms'][0]['delta']}": None})


def renamed_delta(store: Store) -> None:
    tree = store.repository.tree(store.resolve(), "deltas")
    assert tree is not None
    rewrite(store, {f"deltas/{'e' * 40}": next(iter(tree)).id})


def no_attributes(store: Store) -> None:
    rewrite(store, {".gitattributes": None})


def no_base(store: Store) -> None:
    rewrite(store, {"base.json": None})


def replace_delta(store: Store, files: dict[str, bytes]) -> None:
    """Put a changed delta in the place of one, under its right tree id."""
    repository, composition = store.repository, store.snapshot().composition
    old = composition.terms[0]
    tree = repository.git[old.delta]
    assert isinstance(tree, pygit2.Tree)
    changed = repository.write_tree(tree, dict(files))
    new = Term(DeltaId(str(changed)), old.coefficient, old.role)
    rewrite(
        store,
        {
            f"deltas/{old.delta}": None,
            f"deltas/{changed}": changed,
            "composition.json": Composition.of([new, *composition.terms[1:]]).to_bytes(),
        },
    )


def config_of_another_rank(store: Store) -> None:
    """A delta whose config and tensors disagree."""
    (delta, *_) = (term.delta for term in store.snapshot().composition)
    config = json.loads(delta_files(store.repository, delta)["adapter_config.json"]) | {"r": 7}
    replace_delta(store, {"adapter_config.json": json.dumps(config).encode()})


def no_pointer(store: Store) -> None:
    replace_delta(store, {"adapter_model.safetensors": b"tensors"})


DAMAGES: dict[Damage, str] = {
    lambda store: flip(object_file(store)): "hashes to",
    truncated_tensors: "bytes, not",
    missing_tensors: "is missing",
    stray_name: "is not named by a SHA-256",
    flipped_git_object: "git object",
    missing_tree: "is missing",
    missing_parent: "named as a parent|names commit",
    broken_ref: "which is no commit id",
    ref_to_nothing: "which is no commit here",
    broken_head: "which does not exist",
    broken_reflog: "not a reflog entry",
    not_canonical: "not in canonical form",
    not_json: "is not JSON",
    delta_without_a_term: "is in no term of its composition",
    term_without_a_delta: "has no folder of it",
    renamed_delta: "has the tree id",
    no_attributes: ".gitattributes does not send",
    no_base: "has no base.json",
    config_of_another_rank: "its config says 7",
    no_pointer: "not a Git LFS pointer",
}


def test_a_sound_store_has_no_problems(store: Store) -> None:
    findings = fsck(store.repository)
    assert findings.problems == []
    assert findings.counts["commits"] == findings.counts["compositions"] == 3
    assert findings.counts["tensor files"] == findings.counts["deltas"] == 2


@pytest.mark.damages_the_store
@pytest.mark.parametrize(
    "damage", DAMAGES, ids=lambda damage: getattr(damage, "__name__", "flipped").strip("<>")
)
def test_damage_is_named_and_nothing_is_changed(store: Store, damage: Damage) -> None:
    damage(store)
    before = contents(store.repository.folder)
    findings = fsck(Store.open(store.repository.folder).repository)
    said = [f"{problem.where}: {problem.problem}" for problem in findings.problems]
    wanted = DAMAGES[damage].split("|")
    assert any(text in line for text in wanted for line in said), said
    assert contents(store.repository.folder) == before


def test_what_a_killed_writer_left_behind_is_no_problem(store: Store, tmp_path: Path) -> None:
    (store.repository.folder / "lfs/tmp/leftover").write_bytes(b"half a file")
    (tmp_path / "x").write_bytes(b"unreferenced")
    with store.repository.objects.stage(tmp_path / "x") as staged:
        pointer = store.repository.objects.publish(staged)
    assert isinstance(pointer, Pointer)
    assert fsck(store.repository).problems == []
