"""Ledger files of commits by their git ids: equal ids are equal facts."""

from __future__ import annotations

import json
from typing import Any

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository

Blob = str | None
"""Git id of a ledger file; None: there is none."""


class LedgerTrees:
    """Reads and compares the ledgers of commits, or their suites; writes nothing."""

    def __init__(self, repository: Repository, folder: str = LEDGER):
        self._repository, self._folder = repository, folder

    def difference(self, before: CommitId | None, after: CommitId) -> dict[str, tuple[Blob, Blob]]:
        """Return path → (before, after) of each ledger file in which two commits differ.

        Cost follows the difference: equal folders are not entered.
        """
        old = self._repository.tree(before, self._folder) if before is not None else None
        new = self._repository.tree(after, self._folder)
        if old is None or new is None:
            left, right = self._all(before if old is not None else None), self._all(after)
            return {path: (left.get(path), right.get(path)) for path in {**left, **right}}
        rows = {}
        for delta in old.diff_to_tree(new).deltas:
            status = delta.status_char()
            path = f"{self._folder}/{delta.new_file.path or delta.old_file.path}"
            rows[path] = (
                str(delta.old_file.id) if status != "A" else None,
                str(delta.new_file.id) if status != "D" else None,
            )
        return rows

    def _all(self, commit: CommitId | None) -> dict[str, str]:
        if commit is None:
            return {}
        return {
            path: str(oid) for path, oid in self._repository.files(commit, self._folder).items()
        }

    def paths(self, commit: CommitId) -> list[str]:
        """Return the paths of all ledger files of a commit."""
        return list(self._all(commit))

    def blob(self, commit: CommitId | None, path: str) -> Blob:
        """Return the id of one ledger file of a commit."""
        if commit is None:
            return None
        try:
            return str(self._repository.commit(commit).tree[path].id)
        except KeyError:
            return None

    def data(self, blob: str) -> bytes:
        """Return a ledger file's bytes; raise `CorruptStore` if it is not there."""
        return self._repository.blob(blob)

    def content(self, blob: Blob) -> dict[str, Any]:
        """Return what a ledger file says; empty if there is none or it can't be read."""
        if blob is None:
            return {}
        try:
            found = json.loads(self._repository.blob(blob))
        except (ValueError, RecursionError, CorruptStore):
            return {}
        return found if isinstance(found, dict) else {}


def blob_id(data: bytes) -> str:
    """Return the git id that bytes have as a file."""
    return str(pygit2.hash(data))
