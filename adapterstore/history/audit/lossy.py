"""Whether the leaf of a lossy merge is what its method makes of the merge's two sides."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from pathlib import Path

from adapterstore.adapters.base_model import file_digest
from adapterstore.adapters.dense import DELTA_NAME
from adapterstore.algebra.coefficient import parse_coefficient
from adapterstore.errors import AdapterStoreError
from adapterstore.history.audit.arithmetic import Record, ancestors
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.housekeeping.rewriting import REDACTED
from adapterstore.history.merging.lossy import LossyMethod, write_lossy_delta
from adapterstore.history.merging.plan import plan_merge
from adapterstore.history.snapshot import delta_files
from adapterstore.identifiers import CommitId, DeltaId, ObjectId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository


def verify_lossy_merge(
    repository: Repository,
    history: StoreHistory,
    commit: CommitId,
    verification: Verification,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Merge again what a commit says was merged by TIES or DARE; report a leaf of other bytes.

    It goes through the code that merges, as there is no second implementation to hold it against,
    and is written beside the store. The same releases of torch and peft give the same bytes.
    """
    record = history.record(commit)
    if record.trailers.get("Operation") != "merge" or "Method" not in record.trailers:
        return
    if any(REDACTED in history.record(c).trailers for c in ancestors(history, record.parents)):
        verification.note(
            f"commit {commit[:12]}: its leaf was not computed again, as the facts by which it was "
            "merged were taken out of history"
        )
        return
    verification.count("lossy merges")
    try:
        method = _method(record)
    except (KeyError, ValueError, TypeError, AdapterStoreError) as error:
        verification.report(commit, "trailers", "how the two sides were merged", error)
        return
    try:
        expected = _merge_again(repository, history, commit, method, progress)
        found = delta_files(repository, DeltaId(record.required("Delta")))
    except (ValueError, AdapterStoreError) as error:
        verification.report(commit, "the merge", "what can be merged again", error)
        return
    found["Relative-Error"] = record.trailers.get("Relative-Error", "").encode()
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            wanted, there = (_show(files.get(name)) for files in (expected, found))
            verification.report(commit, f"{method.name} merge: {name}", wanted, there)


def _show(data: bytes | None) -> str:
    return "nothing" if data is None else " ".join(data.decode("utf-8", "replace").split())[:200]


def _method(record: Record) -> LossyMethod:
    stated = json.loads(record.trailers["Parameters"])
    ours, theirs = (parse_coefficient(weight) for weight in stated["weights"])
    return LossyMethod(
        record.trailers["Method"],  # type: ignore[arg-type]
        Decimal(stated["density"]),
        int(record.trailers["Seed"]),
        (ours, theirs),
    )


def _merge_again(
    repository: Repository,
    history: StoreHistory,
    commit: CommitId,
    method: LossyMethod,
    progress: Progress,
) -> dict[str, bytes]:
    """Return the files of the delta as git would hold them, and the error that is to be stated."""
    record = history.record(commit)
    plan = plan_merge(
        repository,
        record.parent(0, 2),
        record.parent(1, 2),
        fast_forward="never",
        keep_ours=record.listed("Resolved-Ours"),
        keep_theirs=record.listed("Resolved-Theirs"),
    )
    base = history.snapshot(commit).base.name
    with tempfile.TemporaryDirectory() as scratch:
        delta, relative = write_lossy_delta(
            repository, plan, method, base, Path(scratch) / "delta", progress
        )
        shards = {
            name: Pointer(ObjectId(file_digest(shard.path)), shard.size).to_bytes()
            for name, shard in delta.shards.items()
        }
        config = (delta.folder / DELTA_NAME).read_bytes()
    return {**shards, DELTA_NAME: config, "Relative-Error": relative.encode()}
