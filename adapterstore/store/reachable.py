"""What a store's refs reach: git objects, and the tensor files that Git LFS pointers name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pygit2
from pygit2.enums import FileMode, ObjectType

from adapterstore.errors import CorruptStore
from adapterstore.identifiers import ObjectId
from adapterstore.store.messages import named_commits
from adapterstore.store.repository import Repository

_HEXADECIMAL = re.compile(r"[0-9a-f]{40}")
_POINTER_BYTES = 1024
"""Git LFS: a pointer is shorter than this."""
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/.*^oid sha256:([0-9a-f]{64})$", re.S | re.M
)


@dataclass
class Reach:
    """A set of objects that is closed: with each object it holds all that the object names."""

    git_objects: set[str] = field(default_factory=set)
    tensor_files: set[ObjectId] = field(default_factory=set)


def read_tips(repository: Repository) -> dict[str, str]:
    """Return what every ref names, read from the files themselves: full name → object id.

    git's own listing leaves broken refs out; what such a one stood for must not be lost.

    Raises:
        CorruptStore: a ref that names no object id.
    """
    folder = repository.folder
    tips = {}
    packed = folder / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(errors="replace").splitlines():
            if not line.startswith(("#", "^")):
                target, _, name = line.partition(" ")
                tips[name] = target
    for path in (folder / "refs").rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            tips[str(path.relative_to(folder))] = path.read_text(errors="replace").strip()
    # Work trees that `git worktree` has linked, and a HEAD that stands on no branch.
    for path in (folder / "HEAD", *folder.glob("worktrees/*/HEAD")):
        if path.is_file():
            tips[str(path.relative_to(folder))] = path.read_text(errors="replace").strip()
    named = {name: target for name, target in tips.items() if not target.startswith("ref: ")}
    for name, target in named.items():
        if not _HEXADECIMAL.fullmatch(target):
            raise CorruptStore(name, f"names {target[:60]!r}, which is no object id")
    return named


def follow(repository: Repository, tips: Iterable[str], reach: Reach, *, strict: bool) -> None:
    """Add to ``reach`` all that ``tips`` reach.

    Parents, trees and tags are followed; so are the commits that trailers name, where they are
    here, since a composition is computed again from them.

    Args:
        repository: the store.
        tips: object ids.
        reach: what was found before; it is not looked at again.
        strict: raise for an object that is named and not here; else leave it out.

    Raises:
        CorruptStore: see ``strict``.
    """
    by_trailer: list[str] = []
    _follow(repository, list(tips), reach, by_trailer, strict)
    while by_trailer:
        waiting, by_trailer = by_trailer, []
        _follow(repository, waiting, reach, by_trailer, False)


def _follow(
    repository: Repository, waiting: list[str], reach: Reach, by_trailer: list[str], strict: bool
) -> None:
    while waiting:
        object_id = waiting.pop()
        if object_id in reach.git_objects:
            continue
        names = _names(repository, object_id, reach, by_trailer)
        if names is not None:
            reach.git_objects.add(object_id)
            waiting += names
        elif strict:
            raise CorruptStore(f"object {object_id}", "is named and not here; nothing was removed")


def _names(
    repository: Repository, object_id: str, reach: Reach, by_trailer: list[str]
) -> list[str] | None:
    """Return the git objects that an object names (None: it is not here)."""
    try:
        kind, size = repository.git.odb.read_header(object_id)
        if kind == ObjectType.BLOB:
            if size < _POINTER_BYTES:
                match = _POINTER.match(repository.git.read(object_id)[1])
                if match is not None:
                    reach.tensor_files.add(ObjectId(match[1].decode()))
            return []
        found = repository.git[object_id]
    except KeyError:
        return None
    except pygit2.GitError as error:
        raise CorruptStore(f"object {object_id}", f"{error}; nothing was removed") from error
    if isinstance(found, pygit2.Commit):
        by_trailer += named_commits(found.message)
    return names_of(found)


def names_of(found: pygit2.Object) -> list[str]:
    """Return the ids of the git objects that an object names; a commit's own trailers are text."""
    if isinstance(found, pygit2.Commit):
        return [str(found.tree_id), *(str(parent) for parent in found.parent_ids)]
    if isinstance(found, pygit2.Tree):
        return [str(entry.id) for entry in found if entry.filemode != FileMode.COMMIT]
    if isinstance(found, pygit2.Tag):
        return [str(found.target)]
    return []
