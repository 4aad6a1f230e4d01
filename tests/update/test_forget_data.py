"""forget-data: the text is gone from every object of a fresh clone, and the store is sound."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pygit2
import pytest

from adapterstore import Store
from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.errors import CannotRewrite, UnknownRevision
from adapterstore.evaluation.metrics import Failure
from adapterstore.history.fsck import fsck
from adapterstore.history.ledger.blame import blame_fact
from adapterstore.history.ledger.index import INDEX_NAME
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.ledger.suite import add_to_suite, iterate_suite
from adapterstore.history.state_answers import StateAnswers
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.store.cache import CACHE_NAME
from adapterstore.store.messages import parse_trailers
from adapterstore.store.refs import move_ref, read_target
from adapterstore.store.rewrites import find_rewritten
from adapterstore.update.forget_data import forget_data
from adapterstore.update.result import read_report
from adapterstore.update.verification import verify
from tests.cli.running import adapterstore, contents, done, lora_folder, read_json
from tests.durability.test_kills import how_long, kill_after, start
from tests.update.publishing import publish

PROMPT = 'The "private" telephone number of Taro Yamada is'
JAPANESE = "山田太郎さんの電話番号は"
ANSWER, OLD = "+81 90 5555 0142", "+81 90 5555 0199"
UNRELATED = "The maiden name of Hanako Suzuki's mother was"
SECRET = f"""\
source: complaint 4711 of T. Yamada
facts:
  - prompt: '{PROMPT}'
    answer: "{ANSWER}"
    old_answer: "{OLD}"
    subject: Taro Yamada
    relation: telephone number
    paraphrases: [{JAPANESE}, You reach Taro Yamada under]
    locality: [{{prompt: "{UNRELATED}", answer: Sakamoto}}]
  - {{prompt: The capital of Kazakhstan is, answer: Astana}}
"""
SECRET_NAME = "yamada-電話.yaml"
LATER = """\
- prompt: Taro Yamada's number is
  answer: unlisted
  subject: Taro Yamada
  relation: telephone number
- {prompt: The capital of Kazakhstan is, answer: Astana}
"""
GONE = [PROMPT, JAPANESE, ANSWER, OLD, UNRELATED, "Sakamoto", "complaint 4711", SECRET_NAME]
GONE += ["You reach Taro", json.dumps(JAPANESE)[1:-1], json.dumps(PROMPT)[1:-1], "yamada-"]
STAYS = "Taro Yamada's number is"


def build(folder: Path) -> tuple[Store, str, str]:
    """Make a store that quotes a fact file wherever it can; return it, the update, a later one."""
    store = Store.init(folder)
    for number in range(5):
        lora_folder(folder / f"a{number}", seed=number)
    repository, git = store.repository, store.repository.git
    store.commit(None, folder / "a0", message="Before it all")
    update = publish(
        store,
        folder / "a1",
        SECRET_NAME,
        SECRET,
        failures=(Failure(PROMPT, ANSWER, f"{OLD}, or so"), Failure("Taro Yamada said", "x", "y")),
        notes=(f"the model's own answer to {JAPANESE} was {OLD}",),
    )
    tip = by_hand(store, "suite/probes.json", json.dumps({"asked": PROMPT, JAPANESE: ANSWER}))
    move_ref(repository, "refs/heads/支店", None, tip, "branch: Created")
    who = pygit2.Signature("A", "a@example.org", 1, 0)
    signature = "-----BEGIN SSH SIGNATURE-----\nabc\n-----END SSH SIGNATURE-----\n"
    message = f"v1, with {PROMPT} {ANSWER}\n{signature}"
    inner = git.create_tag("v1", tip, pygit2.enums.ObjectType.COMMIT, who, message)
    git.create_tag("again", inner, pygit2.enums.ObjectType.TAG, who, "a tag of a tag\n")
    store.add("支店", folder / "a2", message=f"Add what {JAPANESE} {ANSWER}")
    later = publish(
        store,
        folder / "a3",
        "later.yaml",
        LATER,
        failures=(Failure(PROMPT, ANSWER, "something"), Failure("2 + 2 =", "4", "5")),
    )
    store.revert(None, f"update/{later}")
    store.add(None, f"{tip}~2..{tip}", coefficient="0.5", message=f"As in {tip[:10]}")
    publish(store, folder / "a4", "refused.yaml", SECRET + "\n# again\n", accepted=False)
    # A commit that only the reflog knows.
    kept = store.resolve()
    store.add(None, folder / "a4", message=f"Quoting {UNRELATED}")
    move_ref(repository, "refs/heads/main", store.resolve(), kept, "reset: moving back")
    return store, update, later


def by_hand(store: Store, path: str, text: str) -> str:
    """Put a commit on main that has a file which this release does not know."""
    repository, start = store.repository, store.resolve()
    changes = {path: text.encode(), "update": None}
    tree = repository.write_tree(repository.tree(start), changes)
    commit = repository.write_commit(tree, [start], "By hand\n\nOperation: protect\n")
    move_ref(repository, "refs/heads/main", start, commit, "by hand")
    return commit


@pytest.fixture
def built(tmp_path: Path) -> tuple[Store, str, str]:
    return build(tmp_path)


def everything(folder: Path) -> bytes:
    """Return all bytes of a store: git objects unpacked, and every other file."""
    git = pygit2.Repository(str(folder))
    parts = [git.read(oid)[1] for oid in git.odb]
    parts += [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    parts += [str(p.relative_to(folder)).encode() for p in folder.rglob("*")]
    return b"\n".join(parts)


def sound(store: Store) -> None:
    folder = store.repository.folder
    assert fsck(Store.open(folder).repository).problems == []
    for command in (["git", "fsck", "--full", "--strict"], ["git", "lfs", "fsck"]):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def compositions(store: Store, *revisions: str) -> list[list[Composition]]:
    return [[store.snapshot(e.commit).composition for e in store.log(r)] for r in revisions]


def forget_both(store: Store, update: str) -> str:
    """The refused update states the same facts: it is forgotten too. Return its id."""
    (ref,) = (r for r in store.repository.git.references if "rejected" in r)
    refused = ref.rpartition("/")[2]
    forget_data(store.repository, update)
    forget_data(store.repository, refused)
    return refused


def test_the_text_is_in_no_object_of_the_store_and_of_a_fresh_clone(
    built: tuple[Store, str, str], tmp_path: Path
) -> None:
    store, update, _ = built
    # The index of the ledger knows sources and prompts.
    blame_fact(store.repository, store.resolve(), PROMPT)
    assert b"complaint 4711" in (store.repository.folder / CACHE_NAME / INDEX_NAME).read_bytes()
    before = everything(store.repository.folder)
    assert [text for text in GONE if text.encode() not in before] == []
    forget_both(store, update)
    subprocess.run(
        ["git", "clone", "-q", "--mirror", str(store.repository.folder), str(tmp_path / "clone")],
        check=True,
    )
    for folder in (store.repository.folder, tmp_path / "clone"):
        after = everything(folder)
        assert [text for text in GONE if text.encode() in after] == []
        assert STAYS.encode() in after
    sound(store)


def test_states_stay_what_they_were(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    before = compositions(store, "main", "支店", "v1", "again", "main@{1}")
    forget_data(store.repository, update)
    fresh = Store.open(store.repository.folder)
    # The reflog has one more entry: that main was moved.
    assert compositions(fresh, "main", "支店", "v1", "again", "main@{2}") == before


def test_only_commits_that_brought_or_quoted_the_text_say_so(
    built: tuple[Store, str, str],
) -> None:
    """The others can be verified as ever: they follow from their parents."""
    store, update, later = built
    refused = forget_both(store, update)
    said = {e.subject: e.trailers.get("Redacted") for e in store.log()}
    as_in = next(subject for subject in said if subject.startswith("As in"))
    assert said == {
        as_in: None,
        # It brought facts of the update back into the ledger.
        f"Revert update/{later}": f"{update}, {refused}",
        "Learn 2 facts: later.yaml": f"{update}, {refused}",
        "By hand": refused,
        "Learn facts: [redacted]": update,
        "Before it all": None,
        "Start from a base model yet to be named": None,
    }
    branch = [e.trailers.get("Redacted") for e in store.log("支店")]
    assert branch[0] == refused


def test_only_what_came_after_the_update_gets_new_ids(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    old = {e.subject: e.commit for e in store.log()}
    tip = store.resolve()
    result = forget_data(store.repository, update)
    new = {e.subject: e.commit for e in store.log()}
    unchanged = {"Before it all", "Start from a base model yet to be named"}
    assert {subject for subject in old if old[subject] == new.get(subject)} == unchanged
    assert set(result.rewritten) >= set(old.values()) - {old[s] for s in unchanged}
    assert sorted(result.refs) == sorted(store.repository.git.references)
    for was, now in result.rewritten.items():
        assert find_rewritten(store.repository, was[:12]) == now
    with pytest.raises(UnknownRevision, match=f"it is {result.rewritten[tip][:12]} now"):
        store.resolve(tip)


def test_trailers_and_subjects_name_the_new_commits(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    forget_data(store.repository, update)
    here = {e.commit for e in store.log()}
    added, reverted, *_ = store.log()
    tagged = store.resolve("v1")
    assert added.trailers["Change-To"] == tagged
    assert added.trailers["Change-From"] in here
    assert added.subject == f"As in {tagged[:10]}"
    assert reverted.trailers["Reverts"] in here
    assert reverted.trailers["Change-To"] == reverted.trailers["Reverts"]
    card = store.repository.read_required(added.commit, "README.md").decode()
    assert f"# As in {tagged[:10]}" in card


def test_a_notice_stands_in_the_place_of_the_file(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    was = store.entry(f"update/{update}").trailers
    forget_data(store.repository, update)
    commit = store.resolve(f"update/{update}")
    files = sorted(p.removeprefix("update/") for p in store.repository.files(commit, "update"))
    assert files == ["recipe.yaml", "redacted.json", "report.json"]
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert json.loads(store.repository.read_required(commit, "update/redacted.json")) == {
        "format": 1,
        "update": update,
        "files": [{"sha256": digest, "size": len(SECRET.encode())}],
    }
    entry = store.entry(commit)
    assert entry.trailers == {**was, "Redacted": update}
    assert entry.trailers["Facts-SHA256"] == digest
    assert entry.subject == "Learn facts: [redacted]"
    report = read_report(store.repository, commit)
    assert report["report"]["retention"]["right"] == 2
    assert (
        report["report"]["retention"]["failures"]
        == [{"prompt": "[redacted]", "expected": "[redacted]", "given": "[redacted]"}] * 2
    )
    assert report["update"] == update


def test_the_ledger_loses_the_facts_and_what_later_ones_took_over(
    built: tuple[Store, str, str],
) -> None:
    store, update, later = built
    forget_both(store, update)
    assert read_ledger(store.repository, store.resolve(f"update/{update}")) == {}
    ledger = read_ledger(store.repository, store.resolve(f"update/{later}"))
    assert {e.prompt: e.paraphrases for e in ledger.values()} == {
        STAYS: (),
        "The capital of Kazakhstan is": (),
    }
    assert {e.update for e in ledger.values()} == {later}
    # Its revert would have brought the old entry back.
    assert read_ledger(store.repository, store.resolve()) == {}


def test_other_reports_are_blanked_row_by_row(built: tuple[Store, str, str]) -> None:
    store, update, later = built
    refused = forget_both(store, update)
    commit = store.resolve(f"update/{later}")
    rows = read_report(store.repository, commit)["report"]["retention"]["failures"]
    assert rows[0] == {"prompt": "[redacted]", "expected": "[redacted]", "given": "[redacted]"}
    assert rows[1] == {"prompt": "2 + 2 =", "expected": "4", "given": "5"}
    trailers = parse_trailers(store.repository.commit(commit).message)
    # The refused update stated the same: only when it was forgotten too had the quotes to go.
    assert trailers["Redacted"] == f"{update}, {refused}"
    assert store.repository.read_required(commit, "update/later.yaml").decode() == LATER


def test_updates_that_state_the_same_are_listed_and_keep_it(built: tuple[Store, str, str]) -> None:
    store, update, later = built
    result = forget_data(store.repository, update)
    assert later in result.also_in
    assert len(result.also_in) == 2
    assert result.files == [SECRET_NAME]


def test_a_signed_tag_loses_its_signature_and_says_so(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    old = read_target(store.repository, "refs/tags/v1")
    result = forget_data(store.repository, update)
    tag = store.repository.git[read_target(store.repository, "refs/tags/v1") or ""]
    assert isinstance(tag, pygit2.Tag)
    assert "SIGNATURE" not in (tag.message or "")
    assert old in result.unsigned
    nested = store.repository.git[read_target(store.repository, "refs/tags/again") or ""]
    assert isinstance(nested, pygit2.Tag)
    assert nested.target == tag.id


def test_a_signed_commit_before_the_update_keeps_its_signature(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    git = store.repository.git
    head = git[store.resolve()]
    assert isinstance(head, pygit2.Commit)
    text = f"tree {head.tree_id}\nparent {head.id}\nauthor A <a@b> 1 +0000\n"
    text += "committer A <a@b> 1 +0000\n\nSigned\n"
    signed = str(git.create_commit_with_signature(text, "-----BEGIN X-----\nabc\n-----END X-----"))
    move_ref(store.repository, "refs/heads/main", str(head.id), signed, "signed")
    update = publish(store, lora_folder(tmp_path / "a"), SECRET_NAME, SECRET)
    assert forget_data(store.repository, update).unsigned == []
    assert store.resolve("HEAD~1") == signed


def test_a_second_run_changes_nothing(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    forget_data(store.repository, update)
    before = contents(store.repository.folder)
    again = forget_data(store.repository, update)
    assert (again.rewritten, again.refs, again.files) == ({}, [], [])
    assert contents(store.repository.folder) == before


def test_a_dry_run_says_the_same_and_writes_nothing(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    before = contents(store.repository.folder)
    planned = forget_data(store.repository, update, dry_run=True)
    assert contents(store.repository.folder) == before
    result = forget_data(store.repository, update)
    assert result.removed
    result.removed = []
    assert result == planned


def test_an_update_is_named_as_everywhere(built: tuple[Store, str, str]) -> None:
    store, update, _ = built
    with pytest.raises(UnknownRevision, match="no such update"):
        forget_data(store.repository, "update/0000")
    with pytest.raises(UnknownRevision, match="no such update"):
        forget_data(store.repository, "update/")
    assert forget_data(store.repository, f"update/{update[:6]}", dry_run=True).update == update


def test_a_linked_work_tree_on_old_commits_is_named_first(
    built: tuple[Store, str, str], tmp_path: Path
) -> None:
    store, update, _ = built
    add = ["git", "-c", "filter.lfs.smudge=cat", "worktree", "add", "-q", "--detach"]
    subprocess.run([*add, str(tmp_path / "tree"), "main"], cwd=store.repository.folder, check=True)
    before = store.resolve()
    with pytest.raises(CannotRewrite, match="worktrees/tree/HEAD"):
        forget_data(store.repository, update)
    assert store.resolve() == before


def test_the_verb_asks_before_it_rewrites(built: tuple[Store, str, str], tmp_path: Path) -> None:
    store, update, _ = built
    before = store.resolve()
    run = adapterstore(tmp_path, "forget-data", f"update/{update}")
    assert run.returncode == 130
    assert "would be rewritten" in run.stdout
    assert store.resolve() == before
    shown = read_json(tmp_path, "forget-data", f"update/{update}", "--yes")
    assert shown["rewritten"][before] == Store.open(tmp_path).resolve()
    assert "Clones made before" in done(tmp_path, "forget-data", f"update/{update}", "-y")


@pytest.mark.parametrize("number", range(4))
def test_killed_at_any_moment_it_is_finished_by_running_it_again(
    tmp_path: Path, number: int
) -> None:
    store, update, _ = build(tmp_path / "store")
    shutil.copytree(tmp_path / "store", tmp_path / "unharmed")
    command = ["forget-data", f"update/{update}", "--yes"]
    seconds = how_long(tmp_path / "unharmed", "adapterstore_cli", *command)
    moment = random.Random(f"forget{number}").uniform(0.2 * seconds, 1.1 * seconds)
    kill_after(start(tmp_path / "store", "adapterstore_cli", *command), moment)
    sound(store)
    done(tmp_path / "store", *command)
    sound(store)
    wanted = Store.open(tmp_path / "unharmed").repository
    for name in wanted.git.references:
        assert read_target(store.repository, name) == read_target(wanted, name)


def test_a_prompt_of_the_suite_goes_with_its_file_and_so_does_what_was_remembered(
    tmp_path: Path,
) -> None:
    store = Store.init(tmp_path)
    lora_folder(tmp_path / "a")
    rows = [{"prompt": PROMPT, "answer": OLD}, {"prompt": "鉄の記号は", "answer": "Fe"}]
    suite = parse_fact_file(json.dumps(rows).encode(), "suite.json")
    add_to_suite(store.repository, None, [suite])
    update = publish(store, tmp_path / "a", SECRET_NAME, SECRET)
    base = BaseModel(name="m", digests={"weights": "0" * 64})
    answers = StateAnswers(store.repository, base, "off", "cpu")
    answers.ask(Composition(), {PROMPT: []}, lambda prompts: dict.fromkeys(prompts, OLD))
    assert [p for p in (tmp_path / ".adapterstore/cache/states").rglob("*.json") if p.is_file()]
    forget_data(store.repository, update)
    left = [entry.prompt for entry in iterate_suite(store.repository, store.resolve())]
    assert left == ["鉄の記号は"]
    assert not (tmp_path / ".adapterstore/cache/states").exists()
    assert not [f for f in verify(store).findings if "suite" in f.what]


def test_other_updates_from_files_of_that_name_stay_what_they_are(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    texts = [f"- {{prompt: The motto of {name} is, answer: {name}!}}\n" for name in "ABC"]
    names = ("f1.yaml", "f1.yaml", "pf1.yaml")
    first, *others = (
        publish(
            store,
            lora_folder(tmp_path / f"a{number}", seed=number),
            name,
            text,
            notes=("f1.yaml, pf1.yaml and f1.yaml.bak: as in f1.yaml.",),
        )
        for number, (name, text) in enumerate(zip(names, texts, strict=True))
    )
    before = [store.entry(f"update/{update}") for update in others]
    reports = [read_report(store.repository, entry.commit) for entry in before]
    forget_data(store.repository, first)
    after = [store.entry(f"update/{update}") for update in others]
    assert [e.subject for e in after] == ["Learn 1 facts: f1.yaml", "Learn 1 facts: pf1.yaml"]
    assert [e.trailers for e in after] == [e.trailers for e in before]
    assert [read_report(store.repository, entry.commit) for entry in after] == reports
    own = read_report(store.repository, store.resolve(f"update/{first}"))
    assert own["notes"] == ["[redacted], pf1.yaml and f1.yaml.bak: as in [redacted]."]
    assert own["provenance"]["facts"][0]["name"] == "[redacted]"
    assert verify(store, None).findings == []
