"""What one commit holds, and how a new one is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pygit2

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.errors import CorruptStore
from adapterstore.history.model_card import model_card
from adapterstore.identifiers import CommitId, DeltaId
from adapterstore.store.many_files import write_tree
from adapterstore.store.messages import format_message, one_line
from adapterstore.store.repository import Change, Repository, intact

GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
LEDGER = "facts"
SUITE = "suite"
UPDATE = "update"
REPORT_NAME = "report.json"
RECIPE_NAME = "recipe.yaml"
MAPPING_NAME = "mapping.yaml"
"""In ``update/``: how the table was mapped that the update's facts were derived from."""
NOTICE_NAME = "redacted.json"
"""In ``update/``: what stands there in the place of fact files that `forget-data` took out."""
NO_FACT_FILES = frozenset({REPORT_NAME, RECIPE_NAME, MAPPING_NAME, NOTICE_NAME})
"""Names in ``update/`` that no fact file has."""
_SAFE_NAME = re.compile(r"[^/\0]+")


@dataclass(frozen=True)
class Snapshot:
    """A commit's composition and base model."""

    commit: CommitId
    composition: Composition
    base: BaseModel


def read_snapshot(repository: Repository, commit_id: CommitId) -> Snapshot:
    """Read what a commit holds.

    Raises:
        CorruptStore: it is not a commit of a store.
        UnsupportedFormat: a newer release wrote it.
    """
    where = f"commit {commit_id[:12]}"
    composition = Composition.from_bytes(
        repository.read_required(commit_id, "composition.json"), where
    )
    base = BaseModel.from_bytes(repository.read_required(commit_id, "base.json"), where)
    return Snapshot(commit_id, composition, base)


@dataclass(frozen=True)
class NewCommit:
    """A commit to be written: its state, and how it came to be."""

    composition: Composition
    base: BaseModel
    subject: str
    trailers: Mapping[str, str]
    body: str = ""
    ledger: Mapping[str, Change] = field(default_factory=dict)
    """Ledger paths that change: new content, or None to remove one."""
    suite: Mapping[str, Change] = field(default_factory=dict)
    """Paths of the regression suite that change: new content, or None to remove one."""
    update_files: Mapping[str, bytes] = field(default_factory=dict)
    """What made this commit: file name → content, for the folder ``update/``."""
    merged: CommitId | None = None
    """A second parent: the state that was merged."""


def write_snapshot(repository: Repository, parent: CommitId | None, new: NewCommit) -> CommitId:
    """Write a commit on top of ``parent``; no ref names it yet.

    The tree depends on nothing but ``parent`` and ``new``: writing it twice gives one tree.
    """
    before = repository.tree(parent) if parent is not None else None
    changes: dict[str, Change] = {
        ".gitattributes": GIT_ATTRIBUTES,
        "base.json": new.base.to_bytes(),
        "composition.json": new.composition.to_bytes(),
        "README.md": model_card(new.base, new.composition, one_line(new.subject)).encode(),
        "deltas": _deltas_tree(repository, new.composition),
        UPDATE: _flat_tree(repository, new.update_files),
    }
    for folder, changed in ((LEDGER, new.ledger), (SUITE, new.suite)):
        for path, change in changed.items():
            if not path.startswith(f"{folder}/"):
                raise ValueError(f"{path} is not a path of {folder}/")
            changes[path] = change
    tree = write_tree(repository, before, changes)
    message = format_message(new.subject, new.body, new.trailers)
    parents = [commit_id for commit_id in (parent, new.merged) if commit_id is not None]
    return repository.write_commit(tree, parents, message)


def _deltas_tree(repository: Repository, composition: Composition) -> pygit2.Oid | None:
    """Return the tree ``deltas/``: a delta's id is its folder's tree id, so no bytes are needed."""
    if not composition.terms:
        return None
    for term in composition:
        if repository.folder_at(term.delta) is None:
            raise CorruptStore(f"delta {term.delta}", "its folder is not in the store")
    return repository.write_tree(None, {t.delta: pygit2.Oid(hex=t.delta) for t in composition})


def _flat_tree(repository: Repository, files: Mapping[str, bytes]) -> pygit2.Oid | None:
    if not files:
        return None
    for name in files:
        if not _SAFE_NAME.fullmatch(name) or name in {".", "..", ".git"}:
            raise ValueError(f"{name!r} can't be a file name in a commit")
    return repository.write_tree(None, files)


def delta_files(repository: Repository, delta: DeltaId) -> dict[str, bytes]:
    """Return the files of a delta's folder as git holds them: name → bytes or pointer text."""
    tree = repository.folder_at(delta)
    if tree is None:
        raise CorruptStore(f"delta {delta}", "its folder is not in the store")
    with intact(f"delta {delta}"):
        return {str(entry.name): entry.data for entry in tree if isinstance(entry, pygit2.Blob)}
