"""`Store`: one knowledge history over one base model.

store = Store.open(".")
store.add("main", "./new-prices", coefficient="-0.7")
model = store.load("main", model)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.coefficient import ONE, format_coefficient, parse_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.history.advance import Result, advance, branch_tip
from adapterstore.history.base import check_base, find_base, name_base
from adapterstore.history.export import ExportKind, export_state
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.log import LogEntry, find_revert, log_entry, read_log
from adapterstore.history.operands import (
    describe_revision,
    operand_path,
    resolve_change,
    resolve_operand,
)
from adapterstore.history.reverting import check_part_of_history, revert_ledger
from adapterstore.history.settings import Settings
from adapterstore.history.snapshot import (
    LEDGER,
    NewCommit,
    Snapshot,
    read_snapshot,
    write_snapshot,
)
from adapterstore.identifiers import CommitId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.refs import move_ref
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import resolve

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def writing(
    method: Callable[Concatenate[Store, Arguments], Returned],
) -> Callable[Concatenate[Store, Arguments], Returned]:
    """Keep `gc` away from the first object that a verb writes until its ref has moved."""

    @wraps(method)
    def held(store: Store, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        with store.repository.writing():
            return method(store, *args, **kwargs)

    return held


class Store:
    """A store: ``.adapterstore`` in a working folder."""

    def __init__(self, repository: Repository):
        self.repository = repository

    @classmethod
    def open(cls, folder: Path | str = ".") -> Store:
        """Open the store of a folder, or of the nearest folder above it.

        Raises:
            NotAStore: there is none.
            UnsupportedFormat: a newer release wrote it.
        """
        return cls(Repository.discover(Path(folder)))

    @classmethod
    def init(
        cls, folder: Path | str = ".", base: str | None = None, revision: str | None = None
    ) -> Store:
        """Make a store.

        Args:
            folder: where ``.adapterstore`` shall be.
            base: ``demo``, a model's folder, or its name on the Hub; None takes the name from the
                first adapter.
            revision: the Hub revision of the base.

        Raises:
            StoreExists: there is one.
            UnreadableFile, BaseModelUnavailable: ``base`` names no model.
        """
        described, weights = name_base(base, revision) if base is not None else (BaseModel(), None)
        first = NewCommit(
            composition=Composition(),
            base=described,
            subject=f"Start from {described.name or 'a base model yet to be named'}",
            trailers={"Operation": "init"},
        )

        def fill(repository: Repository) -> None:
            commit = write_snapshot(repository, None, first)
            move_ref(repository, "refs/heads/main", None, commit, "init")
            if weights is not None and base != "demo":
                Settings.read(repository.folder).with_value("base.path", str(weights)).write()

        return cls(Repository.create(Path(folder), fill))

    # --- reading ---------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The store's local settings, as they stand in the file now."""
        return Settings.read(self.repository.folder)

    def resolve(self, revision: str = "HEAD") -> CommitId:
        """Return the commit that a revision names; see `adapterstore.store.revisions`."""
        return resolve(self.repository, revision)

    def snapshot(self, revision: str = "HEAD") -> Snapshot:
        """Return what a revision's commit holds."""
        return read_snapshot(self.repository, self.resolve(revision))

    def log(self, revision: str = "HEAD") -> Iterator[LogEntry]:
        """Yield a revision's history, newest first."""
        return read_log(self.repository, self.resolve(revision))

    def entry(self, revision: str = "HEAD") -> LogEntry:
        """Return what the log shows of one revision."""
        return log_entry(self.repository.commit(self.resolve(revision)))

    def tip(self, branch: str | None = None) -> tuple[str, CommitId]:
        """Return a branch's full ref name and its commit (None: the current branch)."""
        return branch_tip(self.repository, branch)

    # --- writing ---------------------------------------------------------------------------------

    @writing
    def commit(
        self,
        branch: str | None,
        path: Path | str,
        *,
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Make the state exactly the adapter, delta or model at ``path``, as git's commit does.

        Earlier facts leave the ledger: this state is not known to hold them.

        Args:
            branch: which branch (None: the current one).
            path: a PEFT folder, delta folder, fine-tuned model, or the safetensors file in one.
            message: the commit's subject (None: one that names the path).
            expect: move the branch only from this revision; run again after a kill, the same call
                finds its own commit and makes no second one.
            progress: told of every byte.

        Raises:
            RefMoved: the branch is not, or no longer, at ``expect``.
            AdapterStoreError: as `adapterstore.history.ingest.ingest`.
        """
        delta = self._ingest(Path(path), branch, progress)

        def plan(tip: Snapshot) -> NewCommit | None:
            composition = delta.composition()
            if composition == tip.composition:
                return None
            return NewCommit(
                composition=composition,
                base=delta.fit(tip.base),
                subject=message or f"Commit {Path(path).name}",
                trailers={
                    "Operation": "commit",
                    "Operand": str(path),
                    "Delta": delta.delta,
                },
                ledger=dict.fromkeys(self.repository.files(tip.commit, LEDGER)),
            )

        return advance(self.repository, branch, plan, expect)

    def add(
        self,
        branch: str | None,
        operand: Path | str,
        *,
        coefficient: str = "1",
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Add coefficient · operand to the state, exactly; no tensor is computed.

        θ → θ + c·Σ dⱼΔⱼ, where Σ dⱼΔⱼ is what the operand stands for.

        Args:
            branch: which branch (None: the current one).
            operand: a revision (its whole state), ``A..B`` or ``update/ID`` (a change), or a path.
            coefficient: c, a decimal number as text.
            message: the commit's subject.
            expect: see `commit`.
            progress: told of every byte of a path.

        Raises:
            InvalidCoefficient: not a decimal number.
            UnknownRevision, AmbiguousRevision: the operand names nothing, or several things.
            RefMoved: see `commit`.
            AdapterStoreError: as `adapterstore.history.ingest.ingest`, for a path.
        """
        return self._combine("add", branch, operand, coefficient, message, expect, progress)

    def subtract(
        self,
        branch: str | None,
        operand: Path | str,
        *,
        coefficient: str = "1",
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Subtract coefficient · operand from the state; the same as `add` with −coefficient."""
        return self._combine("subtract", branch, operand, coefficient, message, expect, progress)

    @writing
    def _combine(
        self,
        operation: str,
        branch: str | None,
        operand: Path | str,
        coefficient: str,
        message: str | None,
        expect: str | None,
        progress: Progress,
    ) -> Result:
        scale = parse_coefficient(coefficient)
        factor = scale if operation == "add" else -scale
        path = operand_path(self.repository, str(operand))
        delta = self._ingest(path, branch, progress) if path is not None else None
        if delta is not None:
            summed, shown = delta.composition(), str(operand)
            trailers = {"Delta": str(delta.delta)}
        else:
            source = resolve_operand(self.repository, str(operand))
            summed, trailers = source.composition(self.repository), source.trailers()
            shown = describe_revision(self.repository, str(operand))
        change = summed.scaled(factor)

        def plan(tip: Snapshot) -> NewCommit | None:
            if not change.terms:
                return None
            times = "" if scale == ONE else f"{format_coefficient(scale)} × "
            return NewCommit(
                composition=tip.composition + change,
                base=delta.fit(tip.base) if delta else tip.base,
                subject=message or f"{operation.capitalize()} {times}{shown}",
                trailers={
                    "Operation": operation,
                    "Operand": shown,
                    "Scale": format_coefficient(scale),
                    **trailers,
                },
            )

        return advance(self.repository, branch, plan, expect)

    @writing
    def revert(
        self,
        branch: str | None,
        revision: str,
        *,
        message: str | None = None,
        expect: str | None = None,
    ) -> Result:
        """Take a commit, ``A..B`` or ``update/ID`` back: current − (after − before), exactly.

        The ledger goes back too, except for facts that a later update has changed; those are
        listed in the result's notes. What is reverted already stays so.

        Raises:
            UnknownRevision: no such thing, or not in this branch's history.
            RefMoved: see `commit`.
        """
        change = resolve_change(self.repository, revision)
        shown = describe_revision(self.repository, revision)
        notes: list[str] = []

        def plan(tip: Snapshot) -> NewCommit | None:
            check_part_of_history(self.repository, tip.commit, change, revision)
            notes.clear()
            earlier = find_revert(self.repository, tip.commit, change.after)
            if earlier is not None:
                notes.append(f"{shown} was reverted already, by {earlier[:12]}")
                return None
            ledger = revert_ledger(self.repository, tip.commit, change)
            notes.extend(f"kept, as a later update changed it: {fact}" for fact in ledger.kept)
            return NewCommit(
                composition=tip.composition - change.composition(self.repository),
                base=tip.base,
                subject=message or f"Revert {shown}",
                trailers={
                    "Operation": "revert",
                    "Operand": shown,
                    "Reverts": change.after,
                    **change.trailers(),
                },
                ledger=ledger.changes,
            )

        result = advance(self.repository, branch, plan, expect)
        return Result(result.commit, result.changed, notes)

    def _ingest(self, path: Path, branch: str | None, progress: Progress) -> IngestedDelta:
        _, tip = self.tip(branch)
        base = read_snapshot(self.repository, tip).base
        settings = self.settings
        return ingest(
            self.repository,
            path,
            base,
            settings.base_aliases,
            lambda: self.base_folder(branch),
            progress,
        )

    # --- the base model's weights, and what becomes of a state ------------------------------------

    def base_folder(self, branch: str | None = None) -> Path:
        """Return the folder of the base's weights, after comparing them with the record.

        On first sight the record is completed: a commit without any change of the state.

        Raises:
            BaseModelUnavailable: not on this machine.
            BaseModelMismatch: these are other weights than the store was made over.
        """
        _, tip = self.tip(branch)
        base = read_snapshot(self.repository, tip).base
        folder = find_base(base, self.settings)
        loaded = check_base(base, folder)
        if base.digests is None:

            def plan(snapshot: Snapshot) -> NewCommit | None:
                if snapshot.base.digests is not None:
                    return None
                return NewCommit(
                    composition=snapshot.composition,
                    base=loaded,
                    subject=f"Record the base model {loaded.name}",
                    trailers={"Operation": "record-base"},
                )

            advance(self.repository, branch, plan)
        return folder

    def export(
        self,
        revision: str,
        target: Path | str,
        kind: ExportKind | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> ExportKind:
        """Write a state as files that peft, transformers or a server load.

        Raises:
            CannotExport: the state has no such form.
            CorruptStore: a delta's bytes are not what its id says.
        """
        snapshot = self.snapshot(revision)
        base_folder = self.base_folder() if kind == "model" else None
        return export_state(
            self.repository, snapshot, revision, Path(target), kind, base_folder, progress
        )

    def load(self, revision: str, model: Any) -> Any:
        """Return ``model`` (the base, loaded by the caller) in the state of a revision.

        Low-rank terms are attached as one frozen PEFT adapter; dense terms are added in float64
        and rounded once to the base's dtype.
        """
        from adapterstore.history.attach import attach_composition

        return attach_composition(self.repository, self.snapshot(revision).composition, model)
