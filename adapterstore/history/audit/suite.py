"""Whether a commit's regression suite is what its operation makes of its parents' suites."""

from __future__ import annotations

from adapterstore.errors import AdapterStoreError
from adapterstore.history.audit.arithmetic import CannotCompute, Record, best_common_ancestors
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.audit.trees import Blob, LedgerTrees
from adapterstore.history.snapshot import SUITE
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.suite import SuitePrompt, suite_path
from adapterstore.store.repository import Repository

Expected = dict[str, Blob]


class SuiteVerifier:
    """Computes suites again; cost follows what a commit changed."""

    def __init__(self, repository: Repository, history: StoreHistory):
        self._history = history
        self._trees = LedgerTrees(repository, SUITE)

    def verify(self, commit: CommitId, verification: Verification) -> None:
        """Report every prompt of a commit's suite that does not follow."""
        record = self._history.record(commit)
        parent = record.parents[0] if record.parents else None
        changed = self._trees.difference(parent, commit)
        operation = record.trailers.get("Operation")
        try:
            expected = self._expected(record, operation)
        except (AdapterStoreError, CannotCompute) as error:
            verification.report(commit, "suite", "what it follows from", error)
            return
        for path in sorted({*expected, *changed}):
            before = self._trees.blob(parent, path)
            found = changed[path][1] if path in changed else before
            wanted = found if operation == "suite" else expected.get(path, before)
            if found != wanted:
                verification.report(commit, path, self._shown(wanted), self._shown(found))
            elif found is not None and path in changed:
                self._check(commit, path, found, verification)

    def _expected(self, record: Record, operation: str | None) -> Expected:
        """Return what has to stand at paths that may differ from the first parent's suite."""
        if operation == "merge":
            return self._merged(record)
        if operation not in ("revert", "cherry-pick"):
            return {}
        end = record.trailers.get("Change-To")
        if end is None:
            return {}
        start = record.trailers.get("Change-From")
        rows = self._trees.difference(CommitId(start) if start else None, CommitId(end))
        back = operation == "revert" or record.trailers.get("Scale", "1").startswith("-")
        expected: Expected = {}
        for path, (before, after) in rows.items():
            now = self._trees.blob(record.parent(0, 1), path)
            old, new = (after, before) if back else (before, after)
            expected[path] = new if now == old else now
        return expected

    def _merged(self, record: Record) -> Expected:
        ours, theirs = record.parent(0, 2), record.parent(1, 2)
        bases = best_common_ancestors(self._history, ours, theirs)
        expected: Expected = {}
        for path, (mine, other) in self._trees.difference(ours, theirs).items():
            before = {self._trees.blob(base, path) for base in bases} or {None}
            expected[path] = other if before == {mine} else mine
        return expected

    def _check(self, commit: CommitId, path: str, blob: str, verification: Verification) -> None:
        try:
            entry = SuitePrompt.from_bytes(self._trees.data(blob), path)
        except AdapterStoreError as error:
            verification.report(commit, path, "a prompt of the suite", error)
            return
        if suite_path(entry.digest) != path:
            verification.report(
                commit, f"suite: place of {entry.prompt!r}", suite_path(entry.digest), path
            )

    def _shown(self, blob: Blob) -> str:
        if blob is None:
            return "no prompt"
        content = self._trees.content(blob)
        return f"{content.get('prompt')!r}, answer {content.get('answer')!r}"
