"""Publish updates without training, so that a test says what they change."""

from __future__ import annotations

from adapterstore import Store
from adapterstore.algebra.composition import Composition
from adapterstore.history.snapshot import LEDGER
from adapterstore.history.updates import Phase, publish_update
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes


def publish(
    store: Store,
    update: str,
    facts: list[Fact],
    branch: str | None = None,
    change: Composition | None = None,
) -> str:
    """Publish an update of one phase: facts into the ledger, a change into the sum."""
    ref, start = store.tip(branch)
    snapshot = store.snapshot(start)
    phase = Phase(
        "learn",
        f"Learn {update}",
        snapshot.composition + (change or Composition()),
        snapshot.base,
        {"Scale": "1"},
    )
    commits = publish_update(
        store.repository,
        ref,
        start,
        UpdateId(update),
        update * 5,
        [phase],
        {"facts.yaml": b"[]"},
        ledger_changes(entries(store, start), facts, update, [None] * len(facts)),
        accepted=True,
        body="",
    )
    return commits[-1]


def entries(store: Store, revision: str = "HEAD") -> dict[str, LedgerEntry]:
    """Return the ledger of a revision by key."""
    blobs = store.repository.files(store.resolve(revision), LEDGER).values()
    found = [LedgerEntry.from_bytes(store.repository.blob(blob)) for blob in blobs]
    return {entry.key: entry for entry in found}


def answers(store: Store, revision: str = "HEAD") -> dict[str, str | None]:
    """Return prompt → answer of a revision's ledger."""
    return {entry.prompt: entry.answer for entry in entries(store, revision).values()}
