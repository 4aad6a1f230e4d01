"""Histories of the ledger, written by the library's own functions without training."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore import Store
from adapterstore.history.ledger.known import find_known
from adapterstore.history.snapshot import NewCommit, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import ledger_changes
from adapterstore.store.refs import move_ref


def teach(
    store: Store,
    update: str,
    facts: Sequence[Fact],
    *,
    source: str | None = None,
    files: dict[str, bytes] | None = None,
) -> CommitId:
    """Publish an update that says facts and changes no weight; return its commit."""
    ref, tip = store.tip()
    known = find_known(store.repository, tip, facts)
    commit = write_update(
        store,
        tip,
        update,
        ledger_changes(known.current, facts, update, [source] * len(facts), known.elsewhere),
        files or {},
    )
    move_ref(store.repository, ref, tip, commit, f"update: {update}")
    return commit


def write_update(
    store: Store,
    parent: CommitId,
    update: str,
    changes: dict[str, bytes | None],
    files: dict[str, bytes],
) -> CommitId:
    """Write the commit of such an update; no ref names it."""
    snapshot = store.snapshot(parent)
    new = NewCommit(
        composition=snapshot.composition,
        base=snapshot.base,
        subject=f"Learn {update}",
        trailers={"Operation": "learn", "Phase": "1/1", "Update": update},
        ledger=changes,
        update_files=files,
    )
    return write_snapshot(store.repository, parent, new)
