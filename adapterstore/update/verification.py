"""Compute again what can be computed of every commit, and report what differs; change nothing.

From the trailers and the parents: composition, ledger, and the leaf of a lossy merge. From the
bytes: object ids. From the fact files: their digest and the facts that they taught. From the
weights at hand: base.json. What can't be computed without training (the other deltas) is for
`adapterstore.update.replay`; what can't be computed at all (who did it, when, and what was
measured) is what signatures are for.
"""

from __future__ import annotations

from pathlib import Path

from adapterstore.errors import AdapterStoreError
from adapterstore.history.audit.base import BaseVerifier
from adapterstore.history.audit.commits import commits_in_range
from adapterstore.history.audit.composition import verify_composition
from adapterstore.history.audit.deltas import DeltaVerifier
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.lossy import verify_lossy_merge
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.audit.signatures import SignatureVerifier
from adapterstore.history.audit.suite import SuiteVerifier
from adapterstore.history.store import Store
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.verify_ledger import LedgerVerifier
from adapterstore.update.verify_record import RecordVerifier


def verify(
    store: Store,
    revision: str | None = "HEAD",
    *,
    allowed_signers: Path | None = None,
    require_signatures: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Verification:
    """Verify every commit of a range; see the module.

    Args:
        store: the store.
        revision: a revision (all its history), ``A..B``, ``update/ID``; None: all refs.
        allowed_signers: whose keys count (None: git's ``gpg.ssh.allowedSignersFile``).
        require_signatures: also report commits and tags that nobody on that list signed.
        progress: told of every commit and tensor file.

    Raises:
        UnknownRevision, AmbiguousRevision: no such thing, or several.
        CorruptStore: the history can't be walked.
    """
    repository = store.repository
    commits = commits_in_range(repository, revision)
    history = StoreHistory(repository)
    verification = Verification()
    deltas = DeltaVerifier(repository, progress)
    base = BaseVerifier(repository, history, store.settings)
    ledger = LedgerVerifier(repository, history)
    suite = SuiteVerifier(repository, history)
    record = RecordVerifier(repository, history)
    signatures = SignatureVerifier(repository, allowed_signers, require_signatures)
    progress.start("verifying", len(commits))
    for commit in commits:
        verification.count("commits")
        try:
            snapshot = history.snapshot(commit)
            verify_composition(history, commit, snapshot.composition, verification)
            deltas.verify(commit, snapshot.composition, verification)
            verify_lossy_merge(repository, history, commit, verification, progress)
            base.verify(commit, verification)
        except AdapterStoreError as error:
            verification.report(commit, "commit", "readable parts", error)
        try:
            ledger.verify(commit, verification)
            suite.verify(commit, verification)
            record.verify(commit, verification)
            signatures.verify_commit(commit, verification)
        except AdapterStoreError as error:
            verification.report(commit, "commit", "readable parts", error)
        progress.advance()
    signatures.verify_tags(set(commits), verification)
    return verification
