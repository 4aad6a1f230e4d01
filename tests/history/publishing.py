"""Publish updates without training, so that a test says what they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.history.snapshot import LEDGER
from adapterstore.history.updates import Phase, publish_update
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes
from adapterstore.store.repository import Change


def publish(
    store: Store,
    update: str,
    facts: list[Fact],
    branch: str | None = None,
    change: Composition | None = None,
) -> str:
    """Publish an update of one phase: facts into the ledger, a change into the sum."""
    _, start = store.tip(branch)
    snapshot = store.snapshot(start)
    phase = Phase(
        "learn",
        f"Learn {update}",
        snapshot.composition + (change or Composition()),
        snapshot.base,
        {"Scale": "1"},
    )
    ledger = ledger_changes(entries(store, start), facts, update, [None] * len(facts))
    return publish_phases(store, branch, update, update * 5, [phase], ledger)[-1]


def publish_phases(
    store: Store,
    branch: str | None,
    update: str,
    digest: str,
    phases: Sequence[Phase],
    ledger: Mapping[str, Change] | None = None,
    accepted: bool = True,
) -> list[CommitId]:
    """Publish an update of phases at hand, by facts of a digest; return its commits."""
    ref, start = store.tip(branch)
    return publish_update(
        store.repository,
        ref,
        start,
        UpdateId(update),
        digest,
        phases,
        {"facts.yaml": b"[]"},
        ledger or {},
        accepted=accepted,
        body="",
    )


def entries(store: Store, revision: str = "HEAD") -> dict[str, LedgerEntry]:
    """Return the ledger of a revision by key."""
    blobs = store.repository.files(store.resolve(revision), LEDGER).values()
    found = [LedgerEntry.from_bytes(store.repository.blob(blob)) for blob in blobs]
    return {entry.key: entry for entry in found}


def answers(store: Store, revision: str = "HEAD") -> dict[str, str | None]:
    """Return prompt → answer of a revision's ledger."""
    return {entry.prompt: entry.answer for entry in entries(store, revision).values()}
