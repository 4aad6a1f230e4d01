"""`Store`: one knowledge history over one base model.

store = Store.open(".")
store.add("main", "./new-prices", coefficient="-0.7")
model = store.load("main", model)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.errors import BaseModelUnavailable, InvalidSetting, UnreadableFile
from adapterstore.history import combining
from adapterstore.history.advance import Result, advance, branch_tip
from adapterstore.history.base import (
    base_folders,
    check_base,
    find_base,
    name_base,
    name_for_peft,
)
from adapterstore.history.base_digests import remembered_digest
from adapterstore.history.ingest import IngestedDelta, ingest
from adapterstore.history.log import LogEntry, log_entry, read_log
from adapterstore.history.operands import as_path
from adapterstore.history.settings import Settings
from adapterstore.history.snapshot import NewCommit, Snapshot, read_snapshot, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.refs import head_branch, move_ref, read_ref
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import resolve

# Verbs import what only they need when they are called: a command starts sooner for it.
if TYPE_CHECKING:
    from adapterstore.history import branching
    from adapterstore.history.export import Exported, ExportKind
    from adapterstore.history.merging.lossy import LossyMethod
    from adapterstore.history.merging.plan import FastForward, MergePlan
    from adapterstore.store.reflog import ReflogEntry

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied, or sent to another process, a store is opened anew there."""
        return _reopened, (self.repository.folder, self.repository.sign)

    @classmethod
    def open(cls, folder: Path | str = ".") -> Store:
        """Open the store of a folder, or of the nearest folder above it.

        Raises:
            NotAStore: there is none.
            UnsupportedFormat: a newer release wrote it.
        """
        return cls(Repository.discover(as_path(folder)))

    @classmethod
    def init(
        cls,
        folder: Path | str = ".",
        base: Path | str | None = None,
        revision: str | None = None,
    ) -> Store:
        """Make a store.

        Args:
            folder: where ``.adapterstore`` shall be.
            base: ``demo``, a model's folder, or its name on the Hub; None takes the name from the
                first adapter. A `Path` is always a folder.
            revision: the Hub revision of the base.

        Raises:
            StoreExists: there is one.
            UnreadableFile, BaseModelUnavailable: ``base`` names no model; or a file is in the way.
            InvalidSetting: ``base`` or ``revision`` is of another type.
        """
        where = as_path(folder)
        if isinstance(base, Path):
            base = str(base.absolute())
        if not isinstance(base, str | None):
            raise InvalidSetting("base", f"must be text or a Path, not {type(base).__name__}")
        if not isinstance(revision, str | None) or not (revision or "").isprintable():
            raise InvalidSetting("revision", f"must be text on one line, not {revision!r}")
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

        return cls(Repository.create(where, fill))

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
        if not str(path).strip():
            # Path("") would be the current folder: an empty variable of a script is no operand.
            raise UnreadableFile(repr(str(path)), "names no file or folder")
        return combining.commit(
            self.repository,
            branch,
            as_path(path),
            lambda path: self._ingest(path, branch, progress),
            message=message,
            expect=expect,
        )

    def add(
        self,
        branch: str | None,
        operand: Path | str,
        *,
        coefficient: str | int | Decimal = "1",
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Add coefficient · operand to the state, exactly; no tensor is computed.

        θ → θ + c·Σ dⱼΔⱼ, where Σ dⱼΔⱼ is what the operand stands for.

        Args:
            branch: which branch (None: the current one).
            operand: a revision (its whole state), ``A..B`` or ``update/ID`` (a change), or a path.
                A `Path` is always a path.
            coefficient: c, exact: a decimal number as text, a `Decimal` or a whole number.
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
        coefficient: str | int | Decimal = "1",
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Subtract coefficient · operand from the state; the same as `add` with −coefficient."""
        return self._combine("subtract", branch, operand, coefficient, message, expect, progress)

    @writing
    def _combine(
        self,
        operation: Literal["add", "subtract"],
        branch: str | None,
        operand: Path | str,
        coefficient: str | int | Decimal,
        message: str | None,
        expect: str | None,
        progress: Progress,
    ) -> Result:
        return combining.combine(
            self.repository,
            operation,
            branch,
            operand,
            lambda path: self._ingest(path, branch, progress),
            coefficient=coefficient,
            aliases=self.settings.base_aliases,
            message=message,
            expect=expect,
        )

    @writing
    def revert(
        self,
        branch: str | None,
        revision: str,
        *,
        mainline: int | None = None,
        message: str | None = None,
        expect: str | None = None,
    ) -> Result:
        """Take a commit, ``A..B`` or ``update/ID`` back: current − (after − before), exactly.

        It may lie in the middle of history: what came later stays. The ledger goes back too, except
        for facts that a later update has changed; those are listed in the result's notes. What is
        reverted already stays so.

        Args:
            branch: which branch (None: the current one).
            revision: what to take back.
            mainline: of a merge, the number of the parent that stays (from 1): what the merge
                brought beside it is taken back.
            message: the commit's subject.
            expect: see `commit`.

        Raises:
            UnknownRevision: no such thing, or not in this branch's history.
            MainlineNeeded: a merge, and no ``mainline``.
            PartlyInEffect: a part of it was taken back already.
            RefMoved: see `commit`.
        """
        from adapterstore.history import reverting

        return reverting.revert(
            self.repository, branch, revision, mainline=mainline, message=message, expect=expect
        )

    def cherry_pick(
        self,
        branch: str | None,
        revision: str,
        *,
        mainline: int | None = None,
        message: str | None = None,
        expect: str | None = None,
    ) -> Result:
        """Bring a commit, ``A..B`` or ``update/ID`` into a branch: current + (after − before).

        Its facts come along, under the update that taught them. What is in effect already is not
        brought again.

        Args:
            branch: which branch (None: the current one).
            revision: what to bring.
            mainline: of a merge, the number of the parent against which it is a change (from 1).
            message: the commit's subject.
            expect: see `commit`.

        Raises:
            UnknownRevision: no such thing.
            MergeConflict: the branch has another answer to a fact.
            MainlineNeeded: a merge, and no ``mainline``.
            PartlyInEffect: a part of it is in effect here.
            BaseModelMismatch: it is of another base model.
            RefMoved: see `commit`.
        """
        from adapterstore.history.merging.cherry import cherry_pick

        return cherry_pick(
            self.repository,
            branch,
            revision,
            aliases=self.settings.base_aliases,
            mainline=mainline,
            message=message,
            expect=expect,
        )

    def merge(
        self,
        branch: str | None,
        revision: str,
        *,
        fast_forward: FastForward = "auto",
        ours: Collection[str] = (),
        theirs: Collection[str] = (),
        lossy: LossyMethod | None = None,
        message: str | None = None,
        expect: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Result:
        """Merge a revision into a branch: comp(ours) + comp(theirs) − comp(base), exactly.

        What both sides did counts once. Facts that only one side changed are taken over; an update
        that lost all its facts to the other side is left out of the sum.

        Args:
            branch: which branch (None: the current one).
            revision: what to merge.
            fast_forward: ``never`` makes a commit where moving the branch would do; ``only`` makes
                none.
            ours: facts in conflict whose answer here stays ("subject, relation", a prompt, or
                ``all``).
            theirs: facts in conflict that shall be answered as there.
            lossy: merge ΔW of the two sides by TIES or DARE instead, into one new dense delta.
            message: the commit's subject.
            expect: see `commit`.
            progress: told of every weight of a lossy merge.

        Raises:
            MergeConflict: both sides changed a fact to different answers, and nobody chose.
            NoSuchConflict: a fact that is not in conflict.
            NotFastForward: ``only``, and the branch has commits of its own.
            BaseModelMismatch: they are of different base models.
            BaseModelUnavailable: a lossy merge of a LoRA on embedding or output layer, which the
                base may tie.
            InvalidSetting: the base does tie them.
            UnknownRevision: no such thing.
            RefMoved: see `commit`.
        """
        from adapterstore.history.merging.merge import merge

        return merge(
            self.repository,
            branch,
            revision,
            fast_forward=fast_forward,
            keep_ours=ours,
            keep_theirs=theirs,
            lossy=lossy,
            aliases=self.settings.base_aliases,
            message=message,
            expect=expect,
            base_folder=self._checked_folder,
            progress=progress,
        )

    def plan_merge(
        self,
        branch: str | None,
        revision: str,
        *,
        fast_forward: FastForward = "auto",
        ours: Collection[str] = (),
        theirs: Collection[str] = (),
    ) -> MergePlan:
        """Return what `merge` would do, with every conflict; nothing is changed.

        Raises:
            NoSuchConflict: a fact that is not in conflict.
            UnknownRevision: no such revision or branch.
        """
        from adapterstore.history.merging.plan import plan_merge

        return plan_merge(
            self.repository,
            self.tip(branch)[1],
            self.resolve(revision),
            fast_forward=fast_forward,
            keep_ours=ours,
            keep_theirs=theirs,
        )

    def reset(self, branch: str | None, revision: str, *, expect: str | None = None) -> Result:
        """Move a branch to a revision. What it had stays in the store; the reflog names it.

        Raises:
            UnknownRevision: no such revision or branch.
            RefMoved: see `commit`.
        """
        from adapterstore.history import branching

        return branching.reset(self.repository, branch, revision, expect=expect)

    # --- branches and tags -----------------------------------------------------------------------

    def branches(self) -> list[branching.Branch]:
        """Return every branch, by name."""
        from adapterstore.history import branching

        return branching.list_branches(self.repository)

    def create_branch(self, name: str, start: str = "HEAD") -> CommitId:
        """Make a branch at a revision; see `adapterstore.history.branching.create_branch`."""
        from adapterstore.history import branching

        return branching.create_branch(self.repository, name, start)

    def delete_branch(self, name: str, *, force: bool = False) -> CommitId:
        """Delete a branch; see `adapterstore.history.branching.delete_branch`."""
        from adapterstore.history import branching

        return branching.delete_branch(self.repository, name, force=force)

    def rename_branch(self, old: str | None, new: str) -> None:
        """Rename a branch (None: the current one)."""
        from adapterstore.history import branching

        branching.rename_branch(self.repository, old, new)

    def switch(self, branch: str) -> CommitId:
        """Make a branch the current one; return its commit."""
        from adapterstore.history import branching

        return branching.switch_branch(self.repository, branch)

    def tags(self) -> list[branching.Tag]:
        """Return every tag of a commit, by name."""
        from adapterstore.history import branching

        return branching.list_tags(self.repository)

    @writing
    def create_tag(self, name: str, revision: str = "HEAD", message: str | None = None) -> CommitId:
        """Make an annotated tag; see `adapterstore.history.branching.create_tag`."""
        from adapterstore.history import branching

        return branching.create_tag(self.repository, name, revision, message)

    def delete_tag(self, name: str) -> CommitId:
        """Delete a tag; return the commit that it named."""
        from adapterstore.history import branching

        return branching.delete_tag(self.repository, name)

    def reflog(self, name: str = "HEAD") -> list[ReflogEntry]:
        """Return where HEAD or a branch has been, newest first."""
        from adapterstore.history import branching

        return branching.reflog(self.repository, name)

    def _ingest(self, path: Path, branch: str | None, progress: Progress) -> IngestedDelta:
        _, tip = self.tip(branch)
        base = read_snapshot(self.repository, tip).base
        settings = self.settings
        return ingest(
            self.repository,
            path,
            base,
            [*settings.base_aliases, *base_folders(base, settings)],
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
        loaded = check_base(base, folder, remembered_digest(self.repository.folder))
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

    def base_folder_at(self, revision: str) -> Path:
        """Return the folder of the weights under a revision's state, after comparing them.

        Where the current branch has the state in its history, that is `base_folder`. A state beside
        it may be over another base: it is compared with its own record, and nothing is recorded.

        Raises:
            BaseModelUnavailable: not on this machine.
            BaseModelMismatch: these are other weights than the state's; or it was never seen over
                any, and the setting ``base.path`` is for the current branch's model.
        """
        from adapterstore.history.fit import join_bases
        from adapterstore.history.merging.ancestry import is_ancestor

        snapshot = self.snapshot(revision)
        branch = head_branch(self.repository)
        tip = read_ref(self.repository, branch) if branch is not None else None
        if tip is not None and is_ancestor(self.repository, snapshot.commit, tip):
            return self.base_folder()
        base, settings = snapshot.base, self.settings
        if base.digests is None and settings.base_path is not None and tip is not None:
            here = read_snapshot(self.repository, tip).base
            base = join_bases(base, here, settings.base_aliases)
        return self._checked_folder(base)

    def _checked_folder(self, base: BaseModel) -> Path:
        """Return the folder of a base's weights, compared with its record; nothing is recorded."""
        folder = find_base(base, self.settings)
        check_base(base, folder, remembered_digest(self.repository.folder))
        return folder

    def export(
        self,
        revision: str,
        target: Path | str,
        kind: ExportKind | None = None,
        progress: Progress = NO_PROGRESS,
        rank: int | None = None,
    ) -> Exported:
        """Write a state as files that peft, transformers or a server load.

        ``rank`` folds a lora to that rank, as `compact` does; the result states the error. A lora
        names its base as peft can load it: by the name on the Hub, or, where the base is a local
        folder, by that folder on this machine.

        Raises:
            CannotExport: the state has no such form.
            CorruptStore: a delta's bytes are not what its id says.
            BaseModelUnavailable, BaseModelMismatch: of a model, or of a delta where a LoRA is on
                the embedding or the output layer, which the base may tie; see `base_folder_at`.
        """
        snapshot = self.snapshot(revision)
        base = snapshot.base
        from adapterstore.history.export import export_state

        return export_state(
            self.repository,
            snapshot,
            revision,
            as_path(target),
            kind,
            lambda: self.base_folder_at(snapshot.commit),
            progress,
            rank,
            name_for_peft(base, self.settings) if self._is_current_base(base) else base.name,
        )

    def load(self, revision: str, model: Any) -> Any:
        """Return ``model`` (the base, loaded by the caller) in the state of a revision.

        Low-rank terms are attached as one PEFT adapter: a PEFT model comes back, whose
        ``save_pretrained`` writes that adapter. Without them, it is ``model`` itself. Dense terms
        are added to its weights, in place, in float64 and rounded once to the dtype that each
        weight has there.

        Whatever the terms are, the model comes back in eval mode, as ``from_pretrained`` gives it,
        and frozen, as peft's ``inference_mode`` leaves an adapter and its base: no parameter
        requires a gradient.

        Names and shapes are compared with the base's; where its files are at hand, so are the first
        rows of the weights that the state changes. For another state over the same model, take the
        first off again (``.unload()``), or, where it has dense terms, load the base anew.

        Raises:
            BaseModelMismatch, ShapeMismatch: the model is not the deltas' base, or it is in a state
                already, has adapters, or no values (torch's meta device); nothing was changed.
            CorruptStore: a delta's bytes are not what its id says.
            CannotExport: a term is not finite, or the sum is beyond the weights' dtype. Where there
                are dense terms, load the model anew.
        """
        from adapterstore.history.attach import attach_to_base

        snapshot = self.snapshot(revision)
        folder = None
        if self._is_current_base(snapshot.base):
            with suppress(BaseModelUnavailable):
                folder = find_base(snapshot.base, self.settings)
        return attach_to_base(self.repository, snapshot.composition, model, folder)

    def _is_current_base(self, base: BaseModel) -> bool:
        """Return whether a base is the current branch's, for which the setting base.path is."""
        branch = head_branch(self.repository)
        tip = read_ref(self.repository, branch) if branch is not None else None
        return tip is not None and read_snapshot(self.repository, tip).base.name == base.name


def _reopened(folder: Path, sign: bool | None) -> Store:
    store = Store(Repository(folder))
    store.repository.sign = sign
    return store
