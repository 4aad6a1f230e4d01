"""What nothing names any more, and in which order it can go.

An object goes before what it names, so that a kill half way leaves no object that names one which
is gone. A pack goes as a whole; what other garbage names in it is made loose first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

import pygit2

from adapterstore.identifiers import ObjectId
from adapterstore.store.packing import LooseObject, Pack, list_loose, list_packs
from adapterstore.store.reachable import Reach, follow, names_of
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class TensorFile:
    """A file under ``lfs/objects``."""

    object_id: ObjectId
    path: Path
    size: int
    modified: float


@dataclass
class Garbage:
    """What goes, and what has to be done to git's objects before."""

    loose: list[LooseObject] = field(default_factory=list)
    """Unreachable: in an order in which they can go."""
    duplicates: list[LooseObject] = field(default_factory=list)
    """Loose objects that a pack holds too, or will."""
    packed: dict[str, int] = field(default_factory=dict)
    """Unreachable objects in packs that go: id → its share of the pack's bytes."""
    packs: list[Pack] = field(default_factory=list)
    """Packs that go."""
    to_pack: list[str] = field(default_factory=list)
    to_unpack: dict[str, float] = field(default_factory=dict)
    """Objects to be made loose before their pack goes: id → age of the pack."""
    tensor_files: list[TensorFile] = field(default_factory=list)


def find_garbage(repository: Repository, reach: Reach, cutoff: float | None, pack: bool) -> Garbage:
    """Return what goes and what is to be packed; nothing is changed.

    Args:
        repository: the store.
        reach: all that is reachable.
        cutoff: what was written or used after this time stays, with all that it reaches (seconds
            since 1970; None: age counts for nothing).
        pack: False leaves the packs, and all that is in them, as they are.
    """
    loose = list_loose(repository)
    packs = list_packs(repository)
    fixed = [p for p in packs if p.kept or not pack]
    packs = [p for p in packs if p not in fixed]
    stays = Reach(set(reach.git_objects), set(reach.tensor_files))
    young = [o.object_id for o in loose if _is_young(o.modified, cutoff)]
    young += [i for p in packs if _is_young(p.modified, cutoff) for i in p.object_ids]
    young += [i for p in fixed for i in p.object_ids]
    follow(repository, young, stays, strict=False)
    garbage = Garbage(
        tensor_files=[
            file
            for file in _tensor_files(repository)
            if file.object_id not in stays.tensor_files and not _is_young(file.modified, cutoff)
        ]
    )
    in_fixed = frozenset(i for p in fixed for i in p.object_ids)
    if pack:
        _plan_packs(garbage, loose, packs, in_fixed, reach)
    going = [o for o in loose if o.object_id not in stays.git_objects]
    _order(repository, garbage, going, stays, {*in_fixed, *(o.object_id for o in loose)})
    in_packs = in_fixed | set(garbage.to_pack or (i for p in packs for i in p.object_ids))
    garbage.duplicates = [
        o for o in loose if o.object_id in in_packs and o.object_id in stays.git_objects
    ]
    return garbage


def _is_young(modified: float, cutoff: float | None) -> bool:
    return cutoff is not None and modified > cutoff


def _tensor_files(repository: Repository) -> Iterable[TensorFile]:
    for path, object_id in repository.objects.names():
        if object_id is not None:
            status = path.stat()
            yield TensorFile(object_id, path, status.st_size, status.st_mtime)


def _plan_packs(
    garbage: Garbage,
    loose: list[LooseObject],
    packs: list[Pack],
    in_fixed: frozenset[str],
    reach: Reach,
) -> None:
    """Decide on one new pack for all that is reachable, unless there is just that already."""
    in_packs = {i for p in packs for i in p.object_ids}
    wanted = ({o.object_id for o in loose} | in_packs) & reach.git_objects - in_fixed
    if not wanted or (len(packs) == 1 and in_packs == wanted):
        return
    garbage.to_pack = sorted(wanted)
    garbage.packs = packs


def _order(
    repository: Repository,
    garbage: Garbage,
    going: list[LooseObject],
    stays: Reach,
    in_other_places: Iterable[str],
) -> None:
    """Put the loose garbage in order; find what has to be made loose before its pack goes."""
    holders: dict[str, frozenset[Path]] = {}
    shares: dict[str, int] = {}
    modified: dict[str, float] = {}
    for pack in garbage.packs:
        for object_id in pack.object_ids:
            holders[object_id] = holders.get(object_id, frozenset()) | {pack.path}
            shares[object_id] = pack.size // len(pack.object_ids)
            modified[object_id] = max(pack.modified, modified.get(object_id, 0.0))
    packed = {i for i in holders if i not in stays.git_objects}
    garbage.packed = {i: shares[i] for i in sorted(packed)}
    elsewhere = {*garbage.to_pack, *in_other_places}
    loose_ids = {o.object_id for o in going}
    # Young ones stay, as loose objects of the pack's age.
    garbage.to_unpack = {
        i: modified[i] for i in holders if i in stays.git_objects and i not in elsewhere
    }
    names = {i: _names(repository, i) for i in packed | loose_ids}
    waiting = [
        inner
        for i, named in names.items()
        for inner in named
        if inner in packed and (i in loose_ids or holders[i] != holders[inner])
    ]
    while waiting:
        object_id = waiting.pop()
        if object_id not in garbage.to_unpack and object_id not in loose_ids:
            garbage.to_unpack[object_id] = modified[object_id]
            waiting += [inner for inner in names[object_id] if inner in packed]
    by_id = {o.object_id: o for o in going}
    for object_id in garbage.to_unpack.keys() & packed:
        path = repository.folder / "objects" / object_id[:2] / object_id[2:]
        by_id[object_id] = LooseObject(object_id, path, 0, modified[object_id])
    garbage.loose = [by_id[i] for i in _namers_first(by_id, names)]


def _names(repository: Repository, object_id: str) -> list[str]:
    try:
        return names_of(repository.git[object_id])
    except (KeyError, pygit2.GitError):
        # Garbage may be damaged; it names nothing then.
        return []


def _namers_first(ids: Iterable[str], names: Mapping[str, list[str]]) -> Iterable[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    chosen = set(ids)
    for object_id in sorted(chosen):
        sorter.add(object_id)
        for inner in names[object_id]:
            if inner in chosen:
                sorter.add(inner, object_id)
    return sorter.static_order()
