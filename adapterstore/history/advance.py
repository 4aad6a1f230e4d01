"""Put one commit on a branch: computed from its tip, published only if the tip is still the tip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adapterstore.errors import AdapterStoreError, RefMoved
from adapterstore.history.log import read_log
from adapterstore.history.snapshot import NewCommit, Snapshot, read_snapshot, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.store.refs import move_ref, read_ref
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import branch_ref, resolve

ATTEMPTS = 20
"""How often a verb is computed anew because another writer was faster."""


@dataclass(frozen=True)
class Result:
    """What a writing verb did."""

    commit: CommitId
    changed: bool = True
    """False: the state was as asked for already, and no commit was made."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Forward:
    """A plan that makes no commit: the branch goes to one that is there."""

    commit: CommitId
    reflog: str
    """What the reflog shall say."""


Plan = Callable[[Snapshot], NewCommit | Forward | None]
"""From a branch's tip to what shall become of the branch; None leaves it as it is."""


def branch_tip(repository: Repository, branch: str | None) -> tuple[str, CommitId]:
    """Return a branch's full ref name and its commit (None: the current branch)."""
    ref = branch_ref(repository, branch)
    commit = read_ref(repository, ref)
    return ref, commit if commit is not None else resolve(repository, ref)


def advance(
    repository: Repository,
    branch: str | None,
    plan: Plan,
    expect: str | None = None,
) -> Result:
    """Put the commit that ``plan`` makes of the tip on a branch, or move it where the plan says.

    Without ``expect``, a plan that came too late is made anew from the new tip. With it, the branch
    moves from that revision only; the same call made again finds its own commit. A commit that
    only records the base model, which a verb may have to make before its own, is no move.

    Raises:
        RefMoved: the branch is not, or no longer, where it was expected.
    """
    with repository.writing():
        ref, tip = branch_tip(repository, branch)
        if expect is not None:
            return _advance_from(repository, ref, tip, resolve(repository, expect), plan)
        return _advance_tip(repository, ref, tip, plan)


def _advance_tip(
    repository: Repository,
    ref: str,
    tip: CommitId,
    plan: Plan,
) -> Result:
    for attempt in range(1, ATTEMPTS + 1):
        new = plan(read_snapshot(repository, tip))
        if new is None:
            return Result(tip, changed=False)
        commit, message = _write(repository, tip, new)
        try:
            move_ref(repository, ref, tip, commit, message)
        except RefMoved:
            if attempt == ATTEMPTS:
                raise
            _, tip = branch_tip(repository, ref)
        else:
            return Result(commit)
    raise AssertionError("the last attempt returns or raises")


def _advance_from(
    repository: Repository,
    ref: str,
    tip: CommitId,
    expected: CommitId,
    plan: Plan,
) -> Result:
    expected = _with_its_base(repository, tip, expected)
    elsewhere = RefMoved(ref, expected, tip, stated=True)
    try:
        new = plan(read_snapshot(repository, expected))
    except AdapterStoreError as error:
        if tip == expected:
            raise
        # What is refused from there was not done by an earlier run.
        raise elsewhere from error
    if new is None:
        # Nothing was to do there; where the branch has gone on, that has to hold of its tip, too.
        if tip != expected and not _is_as_asked(repository, tip, plan):
            raise elsewhere
        return Result(tip, changed=False)
    commit, message = _write(repository, expected, new)
    if tip == expected:
        move_ref(repository, ref, expected, commit, message)
        return Result(commit)
    if isinstance(new, Forward):
        done = commit if tip == commit else None
    else:
        done = _find_twin(repository, tip, commit)
    if done is None:
        raise elsewhere
    return Result(done, changed=False, notes=["an earlier run of this command did it already"])


def _is_as_asked(repository: Repository, tip: CommitId, plan: Plan) -> bool:
    try:
        return plan(read_snapshot(repository, tip)) is None
    except AdapterStoreError:
        # It is not, if it can't even be made so.
        return False


def _with_its_base(repository: Repository, tip: CommitId, expected: CommitId) -> CommitId:
    """Return the commit on ``expected`` that records its base, if the branch went there next."""
    for entry in read_log(repository, tip, hidden=[expected]):
        if entry.operation == "record-base" and entry.parents == (expected,):
            return entry.commit
    return expected


def _write(
    repository: Repository, parent: CommitId, new: NewCommit | Forward
) -> tuple[CommitId, str]:
    """Return the commit to which the branch shall go, and what the reflog shall say."""
    if isinstance(new, Forward):
        return new.commit, new.reflog
    commit = write_snapshot(repository, parent, new)
    return commit, f"{new.trailers['Operation']}: {new.subject}"


def _find_twin(repository: Repository, tip: CommitId, wanted: CommitId) -> CommitId | None:
    """Return the commit below ``tip`` that has the wanted one's parents, tree and message."""
    want = repository.commit(wanted)
    for entry in read_log(repository, tip):
        made = repository.commit(entry.commit)
        if (
            made.parent_ids == want.parent_ids
            and made.tree_id == want.tree_id
            and made.message == want.message
        ):
            return entry.commit
    return None
