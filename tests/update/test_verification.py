"""`verify`: a sound store has no finding; every forgery is found, and named."""

from __future__ import annotations

import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.evaluation.gate import Gate
from adapterstore.history.audit.findings import Finding
from adapterstore.history.fsck import fsck
from adapterstore.history.merging.lossy import LossyMethod
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.store.refs import move_ref
from adapterstore.update import run_update
from adapterstore.update.verification import verify
from tests.cli.running import contents, lora_folder
from tests.signing import Key, configure, git, make_key
from tests.stock_tools import stock_tools_agree
from tests.tampering import replacing, rewrite_history, without_signature
from tests.update.forgeries import CAPITAL, CROATIA, FORGERIES, Forgery, edit_json, ledger_file
from tests.update.publishing import publish

ONE_STEP = Recipe(
    rank=2, learn_steps=1, coefficient=1, sampled_texts=0, subject_texts=0, control_size=0
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    """A signed store: two updates, an adapter on top, one update taken back, a tag.

    main~7 init · main~6, main~5 forget and learn Croatia · main~4, main~3 forget and learn the
    capital · main~2 add · main~1 subtract · main revert Croatia
    """
    folder = tmp_path_factory.mktemp("made")
    key = make_key(folder / "keys", "ada")
    store = Store.init(folder, base="demo")
    configure(store.repository.folder, key)
    store = Store.open(folder)
    for text, name in ((CROATIA, "croatia.yaml"), (CAPITAL, "首都.yaml")):
        file = parse_fact_file(text.encode(), name)
        assert run_update(store, [file], recipe=ONE_STEP, gate=NO_GATE).status == "applied"
    store.add(None, lora_folder(folder / "a", base="demo", width=192), coefficient="0.25")
    store.subtract(None, "HEAD~1", coefficient="0.5")
    croatia = store.entry("main~5").update
    store.revert(None, f"update/{croatia}")
    tag = store.repository.write_tag("v1", store.resolve(), "first")
    move_ref(store.repository, "refs/tags/v1", None, CommitId(tag), "tag")
    return folder, key


@pytest.fixture
def store(made: tuple[Path, Key], tmp_path: Path) -> Store:
    shutil.copytree(made[0] / ".adapterstore", tmp_path / ".adapterstore", symlinks=True)
    return Store.open(tmp_path)


@pytest.fixture
def key(made: tuple[Path, Key]) -> Key:
    return made[1]


def findings(store: Store, **options: Any) -> list[Finding]:
    return verify(Store.open(store.repository.folder), **options).findings


def told(found: list[Finding]) -> list[str]:
    return [f"{f.where[:12]} {f.what}: expected {f.expected}, found {f.found}" for f in found]


def test_a_sound_store_has_no_finding_and_stays_as_it_is(store: Store) -> None:
    before = contents(store.repository.folder)
    verification = verify(store, require_signatures=False)
    assert verification.findings == []
    assert verification.notes == []
    assert verification.counts == {
        "commits": 8,
        "compositions": 8,
        "ledgers": 8,
        "deltas": 5,
        "tensor files": 5,
        "base models": 1,
        "updates": 2,
        "good signatures": 8,  # Seven commits, as init came before the key, and the tag.
        "unsigned": 1,
        "tags": 1,
    }
    assert contents(store.repository.folder) == before
    stock_tools_agree(store.repository.folder)


def test_what_is_verified_can_be_chosen(store: Store) -> None:
    update = store.entry("main~3").update
    assert verify(store, "main~2..main").counts["commits"] == 2
    assert verify(store, f"update/{update}").counts["commits"] == 2
    assert verify(store, "main~3").counts["updates"] == 2
    store.repository.git.references.create("refs/heads/other", store.resolve("main~3"))
    tree = store.repository.write_tree(None, {"x": b"x"})
    stray = store.repository.write_commit(tree, [store.resolve("main~3")], "no state")
    store.repository.git.references["refs/heads/other"].set_target(stray)
    assert verify(store).findings == []
    assert {finding.where for finding in verify(store, None).findings} == {stray}


def test_unsigned_is_a_finding_where_signatures_are_required(store: Store) -> None:
    (finding,) = findings(store, require_signatures=True)
    assert (finding.where, finding.found) == (store.resolve("main~7"), "none")
    assert findings(store, revision="main~7..main", require_signatures=True) == []


def test_nobodys_list_vouches_for_nobody(store: Store, tmp_path: Path) -> None:
    del store.repository.git.config["gpg.ssh.allowedSignersFile"]
    verification = verify(store)
    assert verification.findings == []
    assert len(verification.notes) == 1
    assert "allowedSignersFile" in verification.notes[0]
    assert len(findings(store, require_signatures=True)) == 9
    other = make_key(tmp_path / "others", "bob")
    found = findings(store, allowed_signers=other.allowed_signers)
    assert len(found) == 8
    assert all("who is not allowed" in finding.found for finding in found)


def test_without_the_weights_the_rest_is_verified(store: Store, tmp_path: Path) -> None:
    store.settings.with_value("base.path", str(tmp_path / "nowhere")).write()
    verification = verify(store)
    assert verification.findings == []
    assert "digests were not compared" in verification.notes[0]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_a_forgery_that_git_takes_is_found_and_named(store: Store, forgery: Forgery) -> None:
    where, what = forgery(store)
    found = findings(store)
    assert any(re.search(f"^{where[:12]} .*{what}", line) for line in told(found)), told(found)
    # Git itself finds nothing: every id is right again.
    stock_tools_agree(store.repository.folder)


def test_what_had_to_be_taken_out_is_said_and_its_digest_still_holds(store: Store) -> None:
    """As ``forget-data`` leaves an update: digests in the files' place, no entry, a trailer."""
    digest = store.entry("main~3").trailers["Facts-SHA256"]
    notice = {"format": 1, "update": "x", "files": [{"sha256": digest, "size": 1}]}
    changes = {
        "update/首都.yaml": None,
        "update/redacted.json": (json.dumps(notice, indent=1) + "\n").encode(),
    }
    marked = replacing("Operation: learn", "Redacted: x\nOperation: learn")
    path = ledger_file(store, "main")
    forged = rewrite_history(store, "main~3", {**changes, path: None}, raw=marked)
    verification = verify(store, "main~3")
    # The forget commit was not rewritten here, so it still has the file.
    assert [f.what for f in verification.findings] == ["update"]
    assert [note[:32] for note in verification.notes] == [f"the ledger of commit {forged[:11]}"]
    wrong = replacing(digest, "0" * 64)
    rewrite_history(store, "main~3", raw=wrong)
    assert "Facts-SHA256" in {finding.what for finding in findings(store)}


@pytest.mark.parametrize("listed", [["x"], [None], [["sha256"]], "x", ["DIGEST"]], ids=str)
def test_what_is_listed_of_files_that_were_taken_out_has_to_be_their_digests(
    store: Store, listed: Any
) -> None:
    digest = store.entry("main~3").trailers["Facts-SHA256"]
    notice = {"format": 1, "update": "x", "files": [{"sha256": digest, "size": 1}]}

    def edit(content: Any) -> None:
        content["provenance"]["facts"] = [digest] if listed == ["DIGEST"] else listed

    changes = {
        "update/首都.yaml": None,
        "update/redacted.json": json.dumps(notice).encode(),
        "update/report.json": edit_json(store, "main~3", "update/report.json", edit),
    }
    forged = rewrite_history(
        store, "main~3", changes, raw=replacing("Operation: learn", "Redacted: x\nOperation: learn")
    )
    found = told(findings(store, revision="main~3"))
    what = "update/report.json: provenance.facts: expected .*, found "
    assert any(re.search(f"^{forged[:12]} {what}", line) for line in found), found


@pytest.mark.parametrize("revision", ["main", "main^"])
@pytest.mark.parametrize("paraphrases", [0, None, [["B is"]]], ids=str)
def test_what_two_sides_join_has_to_be_an_entry(
    tmp_path: Path, revision: str, paraphrases: Any
) -> None:
    store = Store.init(tmp_path)
    adapter = lora_folder(tmp_path / "a")
    store.commit(None, adapter)
    store.create_branch("side")
    for branch, other in (("main", "B is"), ("side", "C is")):
        text = f"- {{prompt: A is, answer: x, paraphrases: [{other}]}}\n"
        publish(store, adapter, f"{branch}.yaml", text, branch=branch)
    store.merge(None, "side")

    def edit(content: Any) -> None:
        content["paraphrases"] = paraphrases

    path = ledger_file(store, "main")
    rewrite_history(store, revision, {path: edit_json(store, revision, path, edit)})
    merge = store.resolve("main")
    assert "ledger: 'A is'" in {
        f.what.partition(" (")[0] for f in findings(store) if f.where == merge
    }


def test_a_stripped_signature_is_found_where_one_is_required(store: Store) -> None:
    forged = rewrite_history(store, "main", raw=without_signature)
    assert findings(store) == []
    where = {finding.where for finding in findings(store, require_signatures=True)}
    assert forged in where


# --- damage: bits that do not hash to their names any more ----------------------------------------


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def leaf(store: Store, revision: str) -> tuple[str, Path]:
    """Return the delta that a commit brought, and its tensor file."""
    delta = store.entry(revision).trailers["Delta"]
    tree = store.repository.git[delta]
    pointer = tree["adapter_model.safetensors"].data.decode()  # type: ignore[index]
    object_id = re.search(r"sha256:(\w+)", pointer)
    assert object_id is not None
    return delta, store.repository.objects.path(object_id[1])  # type: ignore[arg-type]


@pytest.mark.damages_the_store
@pytest.mark.parametrize("position", [0, -1, 1000])
def test_a_flipped_bit_of_a_leaf_is_found_by_verify_and_by_fsck(
    store: Store, position: int
) -> None:
    delta, path = leaf(store, "main~3")
    flip(path, position)
    (finding,) = findings(store)
    assert finding.where == store.resolve("main~3")
    assert finding.what == f"deltas/{delta}/adapter_model.safetensors"
    assert "hashes to" in finding.found
    assert any("hashes to" in problem.problem for problem in fsck(store.repository).problems)
    lfs = git(store.repository.folder, "lfs", "fsck", "--dry-run")
    assert path.name in lfs.stdout + lfs.stderr


@pytest.mark.damages_the_store
def test_a_leaf_that_is_gone_is_named(store: Store) -> None:
    delta, path = leaf(store, "main~2")
    path.unlink()
    (finding,) = findings(store)
    assert finding.what == f"deltas/{delta}/adapter_model.safetensors"
    assert (finding.expected, finding.found) == (path.name, "no such object")


@pytest.mark.damages_the_store
def test_a_pointer_to_other_bytes_is_another_delta(store: Store) -> None:
    delta, _ = leaf(store, "main~2")
    _, other = leaf(store, "main~3")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{other.name}\nsize "
    pointer += f"{other.stat().st_size}\n"
    path = f"deltas/{delta}/adapter_model.safetensors"
    forged = rewrite_history(store, "main~2", {path: pointer.encode()})
    found = [f for f in findings(store) if f.where == forged]
    assert [(f.what, f.expected) for f in found] == [(f"deltas/{delta}: its tree id", delta)]


@pytest.mark.damages_the_store
def test_a_composition_that_can_not_be_read_is_one_finding_a_part(store: Store) -> None:
    forged = rewrite_history(store, "main~2", {"composition.json": b"{"})
    found = findings(store)
    assert any(f.where == forged and "not JSON" in f.found for f in found)
    assert Composition.from_bytes(Composition().to_bytes(), "") == Composition()


def merged_lossily(folder: Path) -> Store:
    """Two sides over one start, merged by DARE: what it draws follows from the seed."""
    store = Store.init(folder)
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        lora_folder(folder / name, seed=seed)
    store.commit(None, folder / "a")
    store.create_branch("side")
    store.add(None, folder / "b")
    store.add("side", folder / "c", coefficient="0.5")
    store.merge(None, "side", lossy=LossyMethod("dare_ties", Decimal("0.6"), seed=7))
    return store


def test_the_leaf_of_a_lossy_merge_is_computed_again(tmp_path: Path) -> None:
    store = merged_lossily(tmp_path)
    before = contents(store.repository.folder)
    verification = verify(store)
    assert verification.findings == []
    assert verification.counts["lossy merges"] == 1
    assert contents(store.repository.folder) == before


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (b"Seed: 7", b"Seed: 8", r"dare_ties merge: delta-.*\.safetensors"),
        (b'"density": "0.6"', b'"density": "0.5"', r"dare_ties merge: delta-.*\.safetensors"),
        (b"Method: dare_ties", b"Method: ties", r"ties merge: delta-.*\.safetensors"),
        (b"Method: dare_ties", b"Method: svd", "trailers: expected how the two sides were merged"),
        (b"Seed: 7", b"Seed: x", "trailers: expected how the two sides were merged"),
        (b"Relative-Error: ", b"Relative-Error: 0", "dare_ties merge: Relative-Error"),
    ],
)
def test_a_lossy_merge_by_other_means_than_stated_is_found(
    tmp_path: Path, before: bytes, after: bytes, what: str
) -> None:
    store = merged_lossily(tmp_path)

    def change(text: bytes) -> bytes:
        assert text.count(before) == 1
        return text.replace(before, after)

    forged = rewrite_history(store, "main", raw=change)
    assert any(re.search(f"^{forged[:12]} {what}", line) for line in told(findings(store)))
