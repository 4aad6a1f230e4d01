"""Whether base.json stays what it was along history, and tells of the weights at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapterstore.adapters.base_model import BaseModel, describe_base
from adapterstore.errors import AdapterStoreError
from adapterstore.history.audit.arithmetic import Record
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.base import find_base
from adapterstore.history.leaves import fit_delta
from adapterstore.history.settings import Settings
from adapterstore.identifiers import CommitId, DeltaId
from adapterstore.store.repository import Repository

Difference = tuple[str, object, object]
"""What, the expected value, the found one."""


class BaseVerifier:
    """Compares each commit's base with its parents', and with the weights, hashed once."""

    def __init__(self, repository: Repository, history: StoreHistory, settings: Settings):
        self._repository, self._history, self._settings = repository, history, settings
        self._described: dict[Path, BaseModel] = {}
        self._compared: set[bytes] = set()

    def verify(self, commit: CommitId, verification: Verification) -> None:
        """Report what of a commit's base.json does not follow from its parents' or the weights."""
        base, record = self._history.snapshot(commit).base, self._history.record(commit)
        for number, parent in enumerate(record.parents):
            before = self._history.snapshot(parent).base
            for what, expected, found in changes(before, base, record):
                # The other side of a merge may know the same base by an alias.
                if number == 0 or what not in ("name", "revision"):
                    verification.report(commit, f"base.json: {what}", expected, found)
        self._verify_growth(commit, base, record, verification)
        data = base.to_bytes()
        if base.digests is not None and data not in self._compared:
            self._compared.add(data)
            self._compare_with_weights(commit, base, verification)

    def _verify_growth(
        self, commit: CommitId, base: BaseModel, record: Record, verification: Verification
    ) -> None:
        """Read the delta again that a commit brought: what it shows is all that may be new."""
        if "Delta" not in record.trailers or len(record.parents) != 1:
            return
        before = self._history.snapshot(record.parents[0]).base
        if before.digests is not None or before == base:
            return
        try:
            expected = fit_delta(self._repository, DeltaId(record.trailers["Delta"]), before)
        except AdapterStoreError as error:
            verification.note(f"what a delta shows of its base was not compared: {error}")
            return
        for what, wanted, found in differences(expected, base):
            verification.report(commit, f"base.json: {what}", wanted, found)

    def _compare_with_weights(
        self, commit: CommitId, base: BaseModel, verification: Verification
    ) -> None:
        try:
            folder = find_base(base, self._settings)
            if folder not in self._described:
                self._described[folder] = describe_base(folder, base.name, base.revision)
        except AdapterStoreError as error:
            verification.note(f"the base's digests were not compared with its weights: {error}")
            return
        verification.count("base models")
        loaded = self._described[folder]
        for what, expected, found in differences(loaded, base):
            # Name and revision are what the user called it; the weights do not know them.
            if what not in ("name", "revision"):
                verification.report(
                    commit, f"base.json: {what}", f"{expected} (the weights')", found
                )


def changes(before: BaseModel, after: BaseModel, record: Record) -> Iterator[Difference]:
    """Yield what changed in base.json and may not.

    The weights once seen, nothing may. Before that, a commit that brings a delta may add shapes
    and the name that its adapter shows, record-base the whole description, and a commit that takes
    from another state what that one knew.
    """
    operation = record.trailers.get("Operation")
    if before.digests is not None:
        yield from differences(before, after)
        return
    from_elsewhere = operation == "merge" or "Change-To" in record.trailers
    may_grow = "Delta" in record.trailers or operation == "record-base" or from_elsewhere
    if not may_grow:
        yield from differences(before, after)
        return
    for name in ("name", "revision"):
        old, new = getattr(before, name), getattr(after, name)
        if old is not None and old != new:
            yield name, old, new
    if operation == "record-base":
        if after.digests is None:
            yield "digests", "those of the weights", None
    elif not from_elsewhere and after.digests is not None:
        yield "digests", None, after.digests
    if after.digests is None:
        # The weights' own names may be longer than those that adapters give them.
        for weight, shape in before.shapes.items():
            if after.shapes.get(weight) != shape:
                yield f"shape of {weight}", shape, after.shapes.get(weight)


def differences(expected: BaseModel, found: BaseModel) -> Iterator[Difference]:
    """Yield every field in which two descriptions differ; digests and shapes one by one."""
    for name in ("name", "revision", "quantization", "rope"):
        old, new = getattr(expected, name), getattr(found, name)
        if old != new:
            yield name, old, new
    old_digests, new_digests = expected.digests or {}, found.digests or {}
    for role in sorted({*old_digests, *new_digests}):
        if old_digests.get(role) != new_digests.get(role):
            yield f"digest of {role}", old_digests.get(role), new_digests.get(role)
    for weight in sorted({*expected.shapes, *found.shapes}):
        old_shape, new_shape = expected.shapes.get(weight), found.shapes.get(weight)
        if old_shape != new_shape:
            yield f"shape of {weight}", old_shape, new_shape
