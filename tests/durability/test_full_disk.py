"""A disk that is full: told with its place, nothing is published, and the next run goes through."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adapterstore_cli.output import write_output
from pygit2.enums import ObjectType

from adapterstore import Store
from adapterstore.history.fsck import fsck
from adapterstore.store.many_files import MANY, write_tree
from adapterstore.store.repository import Repository
from adapterstore.telling import words_of
from tests.cli.running import lora_folder
from tests.durability.filling import state_of

IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def may_mount() -> bool:
    mount = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "disk", "/tmp"]
    try:
        return not subprocess.run(mount, capture_output=True, check=False).returncode
    except OSError:
        return False


@pytest.mark.skipif(not may_mount(), reason="no user namespaces here, to mount a small disk in")
@pytest.mark.parametrize("work", ["add", "learn"])
def test_a_disk_that_gets_full_at_any_page(tmp_path: Path, work: str) -> None:
    """Each run has one page more than the one before, until there is room for all."""
    store = Store.init(tmp_path / "work")
    store.add(None, lora_folder(tmp_path / "adapter"))
    (tmp_path / "disk").mkdir()
    script = (
        'mount -t tmpfs -o size=1m disk "$1/disk" && exec "$0" -m tests.durability.filling "$@"'
    )
    run = subprocess.run(
        [*IN_A_NAMESPACE, "sh", "-c", script, sys.executable, str(tmp_path), work],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = run.stdout.splitlines()
    assert len(told) > 5
    disk = f"{tmp_path}/disk/.adapterstore"
    for line in told:
        place, _, words = line.partition(": ")
        assert place.startswith(disk), line
        assert words == "No space left on device; free space there, then try again"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Store.init(tmp_path).repository


def test_an_object_that_is_not_written_is_told_by_the_system_s_reason(
    repository: Repository,
) -> None:
    tip = repository.commit(Store(repository).resolve())
    # What libgit2 then gives as the reason of an error that it has lost.
    assert repository.git.references.get("refs/heads/gone") is None
    noise = os.urandom(40_000)
    attempts = {
        "a commit": (0, lambda: repository.write_commit(tip.tree_id, [], "unwritten")),
        "a tag": (0, lambda: repository.write_tag("v1", str(tip.id), "unwritten")),
        "a file": (10_000, lambda: repository.write_tree(None, {"noise": noise})),
        "an object": (10_000, lambda: repository.write_object(ObjectType.BLOB, noise)),
        "a pack": (
            2_000,
            lambda: write_tree(repository, None, {f"{n}": noise[: n + 50] for n in range(MANY)}),
        ),
    }
    for what, (limit, attempt) in attempts.items():
        with files_of_at_most(limit), pytest.raises(OSError, match="File too large") as raised:
            attempt()
        assert raised.value.errno == errno.EFBIG, what
        assert str(raised.value.filename).startswith(str(repository.folder)), what
        attempt()
    assert fsck(repository).problems == []


def test_a_ref_that_can_not_be_moved_leaves_no_line_in_a_reflog(
    repository: Repository, tmp_path: Path
) -> None:
    """The branch's own reflog has room left, HEAD's, which is written after it, has none."""
    store = Store(repository)
    store.add(None, lora_folder(tmp_path / "adapter"))
    store.create_branch("side")
    store.switch("side")
    before = state_of(repository.folder)
    room = (repository.folder / "logs/HEAD").stat().st_size
    with files_of_at_most(room), pytest.raises(OSError, match="File too large"):
        store.reset(None, "HEAD~1")
    assert state_of(repository.folder) == before


def test_a_full_device_is_told_with_its_name_and_what_to_do() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        write_output(Path("/dev/full"), b"a report")
    full = "/dev/full: No space left on device; free space there, then try again"
    assert words_of(raised.value) == full
