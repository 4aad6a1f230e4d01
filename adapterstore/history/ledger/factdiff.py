"""What became of the ledger between two commits, fact by fact."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.history.ledger.reading import digest_of, ledger_difference
from adapterstore.history.log import LogEntry
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository

FactStatus = Literal["added", "changed", "removed", "restated"]
"""Whether the ledger had and has the fact; ``restated``: with the same answer as before."""


@dataclass(frozen=True)
class FactChange:
    """What became of one fact."""

    status: FactStatus
    key: str
    """Digest of the fact's key in the ledger."""
    prompt: str
    subject: str | None
    relation: str | None
    before: str | None
    """The ledger's answer before: None if the fact was not there, or was one to be forgotten."""
    after: str | None
    update: str | None
    """The update that the fact is from now (if it is gone: was from)."""
    source: str | None
    """Where that update's facts come from, in its file's own words."""
    protected: bool
    """Whether the fact is protected now (if it is gone: was)."""

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return asdict(self)


def changed_facts(
    repository: Repository, before: CommitId | None, after: CommitId
) -> list[FactChange]:
    """Return what differs in the ledger between two commits, by prompt; cost follows the changes.

    Raises:
        CorruptStore: a ledger file can't be read.
    """
    changes = [
        _fact_change(repository, path, *blobs)
        for path, blobs in ledger_difference(repository, before, after).items()
    ]
    return sorted(changes, key=lambda change: (change.prompt, change.subject or ""))


def facts_of_commit(repository: Repository, commit: CommitId) -> list[FactChange]:
    """Return what a commit changed in the ledger, against its first parent."""
    parents = repository.parents(commit)
    return changed_facts(repository, parents[0] if parents else None, commit)


def _fact_change(
    repository: Repository, path: str, blob_before: pygit2.Oid | None, blob_after: pygit2.Oid | None
) -> FactChange:
    """Return what a differing ledger file says; raise `CorruptStore` if it can't be read."""
    old, new = _entry(repository, blob_before), _entry(repository, blob_after)
    shown = new if new is not None else old or {}
    before = old.get("answer") if old is not None else None
    after = new.get("answer") if new is not None else None
    key = digest_of(path)
    status: FactStatus
    if old is None:
        status = "added"
    elif new is None:
        status = "removed"
    else:
        status = "restated" if before == after else "changed"
    return FactChange(
        status=status,
        key=key,
        prompt=shown.get("prompt") or key,
        subject=shown.get("subject"),
        relation=shown.get("relation"),
        before=before,
        after=after,
        update=shown.get("update"),
        source=shown.get("source"),
        protected=bool(shown.get("protected", False)),
    )


def count_facts(facts: Sequence[FactChange]) -> dict[str, int]:
    """Return how many facts were added, changed, removed and restated."""
    counts = Counter(fact.status for fact in facts)
    return {status: counts[status] for status in ("added", "changed", "removed", "restated")}


@dataclass(frozen=True)
class Resolution:
    """A fact that both sides of a merge had changed, to different answers."""

    prompt: str
    ours: str | None
    """The first parent's answer; None: the fact is not there, or is to be forgotten."""
    theirs: str | None
    kept: Literal["ours", "theirs"]

    def to_dict(self) -> dict[str, Any]:
        """Return the resolution as JSON values."""
        return asdict(self)


def resolutions(repository: Repository, entry: LogEntry) -> list[Resolution]:
    """Return how a merge's conflicts were settled, by its trailers; none for other commits."""
    found: list[Resolution] = []
    if len(entry.parents) < 2:
        return found
    sides: tuple[tuple[str, Literal["ours", "theirs"]], ...] = (
        ("Resolved-Ours", "ours"),
        ("Resolved-Theirs", "theirs"),
    )
    for trailer, kept in sides:
        for digest in entry.trailers.get(trailer, "").replace(",", " ").split():
            ours, theirs = (
                _entry_at(repository, parent, f"{LEDGER}/{digest[:2]}/{digest}.json")
                for parent in entry.parents[:2]
            )
            prompt = (ours or theirs or {}).get("prompt") or digest
            answers = [(side or {}).get("answer") for side in (ours, theirs)]
            found.append(Resolution(prompt, answers[0], answers[1], kept))
    return sorted(found, key=lambda resolution: resolution.prompt)


def _entry_at(repository: Repository, commit: CommitId, path: str) -> dict[str, Any] | None:
    try:
        return _entry(repository, repository.commit(commit).tree[path].id)
    except KeyError:
        return None


def _entry(repository: Repository, blob: pygit2.Oid | None) -> dict[str, Any] | None:
    if blob is None:
        return None
    where = f"ledger entry {blob}"
    try:
        content = json.loads(repository.blob(blob))
    except (ValueError, RecursionError) as error:
        raise CorruptStore(where, f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise CorruptStore(where, "not a JSON object")
    return content
