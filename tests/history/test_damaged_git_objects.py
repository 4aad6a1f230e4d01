"""Git objects that are damaged or gone, and commits of other tools: told, never a traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import AdapterStoreError
from adapterstore.history.fsck import fsck
from adapterstore.history.leaves import summarize_delta
from tests.cli.running import lora_folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.init(tmp_path, base="example/base")
    for seed in (1, 2):
        made.add("main", lora_folder(tmp_path / f"adapter{seed}", seed=seed))
    return made


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)


def reachable(store: Store) -> Iterator[Path]:
    """Yield the file of every object that the branch reaches."""
    git = ["git", "-C", str(store.repository.folder)]
    listed = subprocess.run(
        [*git, "rev-list", "--objects", "main"], check=True, capture_output=True, encoding="utf-8"
    )
    for line in listed.stdout.splitlines():
        object_id = line.split()[0]
        yield store.repository.folder / "objects" / object_id[:2] / object_id[2:]


def verbs(folder: Path) -> list[Callable[[], object]]:
    return [
        lambda: list(Store.open(folder).log()),
        lambda: [
            summarize_delta(store.repository, term.delta)
            for store in [Store.open(folder)]
            for term in store.snapshot().composition
        ],
        lambda: Store.open(folder).revert("main", "HEAD"),
        lambda: Store.open(folder).subtract("main", "HEAD~1"),
        lambda: Store.open(folder).export("HEAD", folder / "exported"),
    ]


@pytest.mark.damages_the_store
@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_every_object_that_is_damaged_or_gone_is_found_and_told(
    store: Store, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for path in list(reachable(store)):
        intact = path.read_bytes()
        damage(path)
        assert fsck(Store.open(tmp_path).repository).problems, path
        tip = (store.repository.folder / "refs/heads/main").read_text()
        for verb in verbs(tmp_path):
            try:
                verb()
            except AdapterStoreError:
                continue
            finally:
                # What needed nothing of the damaged object has worked; take it back.
                (store.repository.folder / "refs/heads/main").write_text(tip)
                subprocess.run(["rm", "-rf", tmp_path / "exported"], check=True)
        path.unlink(missing_ok=True)
        path.write_bytes(intact)
    assert fsck(Store.open(tmp_path).repository).problems == []


@pytest.mark.damages_the_store
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"author A <a@b> 1700000000 +0000", b"\xff\xfe latin\n"),
        (b"author \xff <a@b> 99999999999999 +9999", b"x\n"),
        (b"author A <a@b> -99999999999999 +0000", b"x\n"),
        (b"author A <a@b> 1700000000 +0000\nencoding NOSUCH", b"x\xff\n"),
        (b"author A <a@b> 1700000000 +0000\nencoding EUC-JP", "日本\n".encode("euc-jp")),
    ],
)
def test_commits_of_other_tools_are_listed(store: Store, head: bytes, message: bytes) -> None:
    commit = store.repository.commit(store.resolve())
    author, _, encoding = head.partition(b"\n")
    lines = [
        b"tree " + str(commit.tree_id).encode(),
        b"parent " + str(commit.id).encode(),
        author,
        author.replace(b"author", b"committer"),
        *([encoding] if encoding else []),
        b"",
        message,
    ]
    git = ["git", "-C", str(store.repository.folder)]
    written = subprocess.run(
        [*git, "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        input=b"\n".join(lines),
        check=True,
        capture_output=True,
    )
    made = written.stdout.decode().strip()
    (store.repository.folder / "refs/heads/main").write_text(made + "\n")
    assert store.entry().commit == made
    assert [entry.operation for entry in store.log()][1:] == ["add", "add", "init"]
    with pytest.raises(AdapterStoreError, match="no such update"):
        store.resolve("update/abcd")
