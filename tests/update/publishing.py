"""Publish updates as `run_update` does, with figures made up instead of measured: no model."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adapterstore import Store
from adapterstore.evaluation.metrics import Failure, Report, Score
from adapterstore.history.ingest import ingest
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.snapshot import RECIPE_NAME, REPORT_NAME, read_snapshot
from adapterstore.history.updates import Phase, new_update_id, publish_update
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import ledger_changes
from adapterstore.learning.recipe import Recipe
from adapterstore.update.result import UpdateResult

RECIPE = b"rank: 2\n"


def publish(
    store: Store,
    adapter: Path,
    name: str,
    text: str,
    *,
    branch: str = "main",
    accepted: bool = True,
    failures: tuple[Failure, ...] = (),
    notes: tuple[str, ...] = (),
) -> UpdateId:
    """Put a learn commit on a branch (or beside it) whose delta is the adapter."""
    file: FactFile = parse_fact_file(text.encode(), name)
    repository = store.repository
    ref, start = store.tip(branch)
    snapshot = read_snapshot(repository, start)
    update = new_update_id(repository, file.digest)
    asked = len(file.facts) + len(failures)
    result = UpdateResult(
        update=update,
        status="applied" if accepted else "rejected",
        commits=[],
        report=Report(retention=Score(asked - len(failures), asked, list(failures))),
        coefficient=None,
        curve=[],
        reasons=[] if accepted else ["retention 0.00 is below 1"],
        notes=list(notes),
    )
    made = {
        "facts": [{"name": name, "sha256": file.digest}],
        "recipe_sha256": hashlib.sha256(RECIPE).hexdigest(),
        "seed": Recipe().seed,
        "base": {"digests": snapshot.base.digests},
    }
    with repository.writing():
        delta = ingest(repository, adapter, snapshot.base, (), lambda: adapter)
        publish_update(
            repository,
            ref,
            start,
            update,
            file.digest,
            [
                Phase(
                    operation="learn",
                    subject=f"Learn {len(file.facts)} facts: {name}",
                    composition=snapshot.composition + delta.composition("learn"),
                    base=delta.fit(snapshot.base),
                    trailers={"Scale": "1", "Delta": delta.delta},
                )
            ],
            {
                name: file.data,
                RECIPE_NAME: RECIPE,
                REPORT_NAME: result.to_bytes({"provenance": made}),
            },
            ledger_changes(
                read_ledger(repository, start), file.facts, update, [file.source] * len(file.facts)
            ),
            accepted=accepted,
            body=f"Source: {file.source}.",
        )
    return update


def tip_of(store: Store, ref: str) -> CommitId:
    """Return the commit that a revision names."""
    return store.resolve(ref)
