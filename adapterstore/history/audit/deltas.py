"""Whether the delta folders of a commit are those of its terms, and their bytes the named ones."""

from __future__ import annotations

import pygit2

from adapterstore.algebra.composition import Composition
from adapterstore.errors import CorruptStore, ObjectMissing
from adapterstore.history.audit.findings import Verification
from adapterstore.history.snapshot import delta_files
from adapterstore.identifiers import CommitId, DeltaId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository


class DeltaVerifier:
    """Hashes each delta's files once, however many commits have it."""

    def __init__(self, repository: Repository, progress: Progress = NO_PROGRESS):
        self._repository, self._progress = repository, progress
        self._seen: set[str] = set()

    def verify(
        self, commit: CommitId, composition: Composition, verification: Verification
    ) -> None:
        """Report terms without a folder, folders without a term, and files of other bytes."""
        tree = self._repository.tree(commit, "deltas")
        folders = {str(entry.name): str(entry.id) for entry in tree} if tree is not None else {}
        named = {str(term.delta) for term in composition}
        for delta in sorted(named - set(folders)):
            verification.report(commit, f"deltas/{delta}", "the folder of a term", "nothing")
        for name, tree_id in sorted(folders.items()):
            if name not in named:
                verification.report(
                    commit, f"deltas/{name}", "a term that names it", "no such term"
                )
            elif name != tree_id:
                verification.report(commit, f"deltas/{name}: its tree id", name, tree_id)
            elif name not in self._seen:
                self._seen.add(name)
                verification.count("deltas")
                self._verify_files(commit, DeltaId(name), verification)

    def _verify_files(self, commit: CommitId, delta: DeltaId, verification: Verification) -> None:
        place = f"deltas/{delta}"
        try:
            files = delta_files(self._repository, delta)
        except (CorruptStore, pygit2.GitError) as error:
            verification.report(commit, place, "a readable folder", error)
            return
        for name, data in files.items():
            if not name.endswith(".safetensors"):
                continue
            try:
                pointer = Pointer.from_bytes(data, f"{place}/{name}")
                verification.count("tensor files")
                self._repository.objects.verify(pointer, f"{place}/{name}", self._progress)
            except ObjectMissing as error:
                verification.report(commit, f"{place}/{name}", error.object_id, "no such object")
            except CorruptStore as error:
                verification.report(commit, f"{place}/{name}", "the bytes it names", error.problem)
