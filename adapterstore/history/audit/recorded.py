"""A store's commits as the arithmetic asks for them, each read once."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.algebra.composition import Composition
from adapterstore.history.audit.arithmetic import Record, ancestors
from adapterstore.history.snapshot import Snapshot, read_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.messages import parse_trailers
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import PHASES


class StoreHistory:
    """Reads of a repository, kept. Every read raises `CorruptStore` for what is damaged."""

    def __init__(self, repository: Repository):
        self._repository = repository
        self._snapshots: dict[CommitId, Snapshot] = {}
        self._records: dict[CommitId, Record] = {}

    def snapshot(self, commit: CommitId) -> Snapshot:
        """Return what a commit holds."""
        if commit not in self._snapshots:
            self._snapshots[commit] = read_snapshot(self._repository, commit)
        return self._snapshots[commit]

    def composition(self, commit: CommitId) -> Composition:
        """Return what a commit's state is recorded as."""
        return self.snapshot(commit).composition

    def record(self, commit: CommitId) -> Record:
        """Return a commit's parents and trailers."""
        if commit not in self._records:
            found = self._repository.commit(commit)
            parents = tuple(CommitId(str(parent)) for parent in found.parent_ids)
            self._records[commit] = Record(parents, parse_trailers(found.message))
        return self._records[commit]

    def parents(self, commit: CommitId) -> Sequence[CommitId]:
        """Return a commit's parents."""
        return self.record(commit).parents

    def update_commits(self, update: str, tips: Sequence[CommitId]) -> Sequence[CommitId]:
        """Return the commits of an update that ``tips`` reach, oldest first."""
        found = [
            commit
            for commit in ancestors(self, tips)
            if self.record(commit).trailers.get("Update") == update
            and self.record(commit).trailers.get("Operation") in PHASES
        ]
        return sorted(found, key=lambda commit: self.record(commit).trailers.get("Phase", ""))
