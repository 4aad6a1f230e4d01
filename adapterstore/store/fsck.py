"""Check that everything in a store is what its name says. A check reports; it changes nothing.

This half knows git and Git LFS: objects, refs, reflogs, pointers, tensor files' bytes. What a
commit means is checked by `adapterstore.history.fsck`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.identifiers import CommitId, ObjectId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository

_HEXADECIMAL = re.compile(r"[0-9a-f]{40}")
_NO_COMMIT = "0" * 40
_OF_COMMITS = ("refs/heads/", "refs/adapterstore/")
"""Refs that name commits; others, such as tags, may name any object."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it must be."""

    where: str
    problem: str


@dataclass
class Findings:
    """What a check saw, and what was wrong with it."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def report(self, where: str, problem: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(where, problem))

    def count(self, kind: str, number: int = 1) -> None:
        """Count things that were looked at."""
        self.counts[kind] = self.counts.get(kind, 0) + number


def check_repository(
    repository: Repository, findings: Findings, progress: Progress = NO_PROGRESS
) -> list[CommitId]:
    """Check git objects, refs and reflogs; return every commit that a ref or reflog reaches."""
    _check_git_objects(repository, findings, progress)
    tips = [*_check_refs(repository, findings), *_check_reflogs(repository, findings)]
    return _check_reachable(repository, tips, findings)


def _check_git_objects(repository: Repository, findings: Findings, progress: Progress) -> None:
    ids = list(repository.git.odb)
    progress.start("git objects", len(ids))
    for oid in ids:
        findings.count("git objects")
        try:
            # libgit2 compares the hash of what it reads with the name it was asked for.
            repository.git[oid]
        except (pygit2.GitError, KeyError, ValueError) as error:
            findings.report(f"git object {oid}", str(error))
        progress.advance()


def _check_refs(repository: Repository, findings: Findings) -> Iterator[CommitId]:
    """Read the ref files themselves: git's own listing leaves broken ones out."""
    names = {
        str(path.relative_to(repository.folder)): path.read_text(errors="replace").strip()
        for path in (repository.folder / "refs").rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
    packed = repository.folder / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(errors="replace").splitlines():
            target, _, name = line.partition(" ")
            if not line.startswith(("#", "^")):
                names.setdefault(name, target)
    for name, target in sorted(names.items()):
        findings.count("refs")
        if target.removeprefix("ref: ") in names:
            continue
        if not _HEXADECIMAL.fullmatch(target) or target == _NO_COMMIT:
            findings.report(name, f"names {target[:60]!r}, which is no commit id")
            continue
        try:
            found = repository.git[target]
            if name.startswith(_OF_COMMITS) or isinstance(found, pygit2.Commit | pygit2.Tag):
                yield CommitId(str(found.peel(pygit2.Commit).id))
        except (pygit2.GitError, KeyError, ValueError) as error:
            findings.report(name, f"names {target}, which is no commit here ({error})")
    head = (repository.folder / "HEAD").read_text(errors="replace").strip()
    if not head.startswith("ref: refs/heads/"):
        findings.report("HEAD", f"stands for {head[:60]!r}, not for a branch")
    elif head.removeprefix("ref: ") not in names:
        findings.report("HEAD", f"stands for {head.removeprefix('ref: ')}, which does not exist")


def _check_reflogs(repository: Repository, findings: Findings) -> Iterator[CommitId]:
    folder = repository.folder / "logs"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        findings.count("reflogs")
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            where = f"{path.relative_to(repository.folder)}:{number}"
            ids = line.split(" ", 2)[:2]
            if len(ids) < 2 or not all(_HEXADECIMAL.fullmatch(item) for item in ids):
                findings.report(where, "not a reflog entry")
                continue
            for item in ids:
                if item == _NO_COMMIT:
                    continue
                found = _get(repository, item)
                try:
                    # A tag's reflog names the tag object, which may be of anything.
                    if found is None or path.relative_to(folder).parts[:2] != ("refs", "tags"):
                        yield CommitId(str(repository.git[item].peel(pygit2.Commit).id))
                    elif isinstance(found, pygit2.Commit | pygit2.Tag):
                        yield CommitId(str(found.peel(pygit2.Commit).id))
                except (pygit2.GitError, KeyError, ValueError):
                    findings.report(where, f"names commit {item}, which is not here")


def _check_reachable(
    repository: Repository, tips: list[CommitId], findings: Findings
) -> list[CommitId]:
    """Follow parents and trees; report what is named and not there."""
    seen: set[str] = set()
    checked_trees: set[str] = set()
    waiting: list[CommitId] = list(tips)
    commits: list[CommitId] = []
    while waiting:
        commit_id = waiting.pop()
        if commit_id in seen:
            continue
        seen.add(commit_id)
        commit = _get(repository, commit_id)
        if not isinstance(commit, pygit2.Commit):
            findings.report(f"commit {commit_id}", "is named as a parent, but not here")
            continue
        commits.append(commit_id)
        findings.count("commits")
        waiting += [CommitId(str(parent)) for parent in commit.parent_ids]
        _check_tree(repository, str(commit.tree_id), f"commit {commit_id}", checked_trees, findings)
    return commits


def _check_tree(
    repository: Repository, tree_id: str, where: str, checked: set[str], findings: Findings
) -> None:
    # Without recursion: how deep the folders of a strange commit are costs no stack.
    waiting = [(tree_id, where)]
    while waiting:
        tree_id, where = waiting.pop()
        if tree_id in checked:
            continue
        checked.add(tree_id)
        tree = _get(repository, tree_id)
        if not isinstance(tree, pygit2.Tree):
            findings.report(where, f"tree {tree_id} is missing")
            continue
        for entry in tree:
            place = f"{where}: {entry.name}"
            found = _get(repository, str(entry.id))
            if found is None:
                findings.report(place, f"object {entry.id} is missing")
            elif isinstance(found, pygit2.Tree):
                waiting.append((str(entry.id), place))


def _get(repository: Repository, object_id: str) -> pygit2.Object | None:
    try:
        return repository.git.get(object_id)
    except (pygit2.GitError, ValueError):
        return None


def check_tensor_files(
    repository: Repository,
    pointers: dict[ObjectId, tuple[Pointer, str]],
    findings: Findings,
    progress: Progress = NO_PROGRESS,
) -> list[Path]:
    """Hash every tensor file that is there or that a pointer names; return the sound ones.

    Args:
        repository: the store.
        pointers: what the commits name: id → pointer and a place that has it.
        findings: where problems go.
        progress: told of every file.
    """
    sound = []
    present = set()
    for path, object_id in repository.objects.names():
        findings.count("tensor files")
        if object_id is None:
            findings.report(str(path.relative_to(repository.folder)), "is not named by a SHA-256")
            continue
        present.add(object_id)
        named, where = pointers.get(object_id, (Pointer(object_id, path.stat().st_size), str(path)))
        try:
            sound.append(repository.objects.verify(named, where, progress))
        except CorruptStore as error:
            findings.report(error.where, error.problem)
        except OSError as error:
            findings.report(where, f"object {object_id} can't be read: {error.strerror}")
    for object_id, (_, where) in sorted(pointers.items()):
        if object_id not in present:
            findings.report(where, f"object {object_id} is missing")
    return sound
