"""Remove what nothing names any more, and pack what stays.

Reachable is what a ref, HEAD, a tag, or a reflog entry within its expiry reaches, and the commits
that trailers of those name. What is unreachable stays for a grace period, with all that it reaches,
because somebody may be about to name it. Writers of this store are kept out meanwhile
(`adapterstore.store.locks`); the grace is for other git processes and for second thoughts.

Whatever names goes before what it names, and a pack is durable before the files that it replaces
go: a kill at any moment leaves a sound store and some garbage for the next run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from adapterstore.history.housekeeping.expiry import Ages, Expired, find_expired
from adapterstore.history.housekeeping.garbage import Garbage, find_garbage
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.leftovers import LEAST_AGE_SECONDS, Leftover, list_leftovers
from adapterstore.store.packing import remove_commit_graph, remove_pack, unpack, write_pack
from adapterstore.store.reflog_files import read_reflogs, write_reflog
from adapterstore.store.refs import delete_ref
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import REJECTED


@dataclass(frozen=True)
class Removal:
    """One thing that goes."""

    kind: str
    """``rejected update``, ``reflog entry``, ``git object``, ``tensor file`` or ``leftover``."""
    name: str
    size: int
    """Bytes on disk; of an object in a pack, an equal share of the pack."""
    reason: str


@dataclass
class Collected:
    """What a run did, or would do."""

    removals: list[Removal] = field(default_factory=list)
    packed: int = 0
    """Objects that went into a new pack; 0: all lie in one already."""
    size_before: int = 0
    """Bytes of all git objects and tensor files."""
    size_after: int | None = None
    """None: nothing was done."""


@dataclass(frozen=True)
class _Plan:
    expired: Expired
    garbage: Garbage
    leftovers: list[Leftover]


def collect_garbage(
    repository: Repository,
    ages: Ages | None = None,
    *,
    pack: bool = True,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Collected:
    """Expire, remove and pack, in an order that a kill can't harm.

    Args:
        repository: the store.
        ages: what is old enough (None: the defaults of `Ages`).
        pack: False leaves the packs, and what is unreachable in them, as they are.
        dry_run: say what would go, and change nothing; no lock is taken.
        progress: told of every object that is packed.

    Raises:
        CorruptStore: something reachable is not here; nothing was removed.
        StoreBusy: a writer is at work.
    """
    with contextlib.nullcontext() if dry_run else repository.collecting():
        before = _size(repository)
        plan = _make_plan(repository, ages or Ages(), pack, progress)
        result = Collected(list(_removals(repository, plan)), len(plan.garbage.to_pack), before)
        if not dry_run:
            _carry_out(repository, plan, progress)
            result.size_after = _size(repository)
    return result


def _make_plan(repository: Repository, ages: Ages, pack: bool, progress: Progress) -> _Plan:
    progress.start("looking for what is in use")
    now = time.time()
    expired = find_expired(repository, ages, now)
    if ages.grace is None:
        return _Plan(expired, find_garbage(repository, expired.reach, 0.0, pack), [])
    cutoff = now - ages.grace if ages.grace else None
    oldest = now - max(ages.grace, LEAST_AGE_SECONDS)
    return _Plan(
        expired,
        find_garbage(repository, expired.reach, cutoff, pack),
        [found for found in list_leftovers(repository) if found.modified <= oldest],
    )


def _removals(repository: Repository, plan: _Plan) -> Iterable[Removal]:
    unnamed = "no ref, reflog or tag reaches it"
    for ref in plan.expired.rejected:
        name = f"update/{ref.removeprefix(REJECTED)}"
        yield Removal("rejected update", name, 0, "was rejected long enough ago")
    for ref, lines in plan.expired.reflogs.items():
        for line in lines:
            name = f"{ref}: {line.ids[-1][:12] if line.ids else ''}"
            yield Removal("reflog entry", name, len(line.text) + 1, "has expired")
    sizes = plan.garbage.packed | {o.object_id: o.size for o in plan.garbage.loose if o.size}
    for object_id, size in sizes.items():
        yield Removal("git object", f"{_kind(repository, object_id)} {object_id}", size, unnamed)
    for file in plan.garbage.tensor_files:
        yield Removal("tensor file", file.object_id, file.size, "no reachable delta holds it")
    for left in plan.leftovers:
        yield Removal("leftover", left.path.name, left.size, "half-written, and in nobody's use")


def _kind(repository: Repository, object_id: str) -> str:
    try:
        return repository.git.odb.read_header(object_id)[0].name.lower()
    except (KeyError, pygit2.GitError):
        return "damaged object"


def _carry_out(repository: Repository, plan: _Plan, progress: Progress) -> None:
    for ref, target in plan.expired.rejected.items():
        delete_ref(repository, ref, target)
    lines = read_reflogs(repository)
    for ref, going in plan.expired.reflogs.items():
        gone = {line.text for line in going}
        write_reflog(repository, ref, [x.text for x in lines[ref] if x.text not in gone])
    garbage = plan.garbage
    new = write_pack(repository, garbage.to_pack, progress) if garbage.to_pack else None
    for object_id, modified in garbage.to_unpack.items():
        unpack(repository, object_id, modified)
    if garbage.loose or garbage.packed:
        remove_commit_graph(repository)
    for pack in garbage.packs:
        if pack.path != new:
            remove_pack(pack)
    for loose in (*garbage.duplicates, *garbage.loose):
        _remove(loose.path, 1)
    for file in garbage.tensor_files:
        _remove(file.path, 2)
    for left in plan.leftovers:
        left.remove()


def _remove(path: Path, folders: int) -> None:
    """Remove a file, and the folders that it leaves empty."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for folder in list(path.parents)[:folders]:
            folder.rmdir()


def _size(repository: Repository) -> int:
    folders = (repository.folder / "objects", repository.folder / "lfs" / "objects")
    return sum(p.lstat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())
