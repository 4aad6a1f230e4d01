"""Publish an update: its commits at once, on the branch or beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.errors import UpdateIdTaken
from adapterstore.history.log import log_entry, read_log
from adapterstore.history.snapshot import NewCommit, read_snapshot, write_snapshot
from adapterstore.history.unfolding import unfold_once
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.messages import listed
from adapterstore.store.refs import list_refs, move_ref
from adapterstore.store.repository import Change, Repository
from adapterstore.store.revisions import PHASES, REJECTED, known_update_ids

ID_DIGITS = 12


@dataclass(frozen=True)
class Phase:
    """One commit of an update: ``forget`` or ``learn``, and the state after it."""

    operation: str
    subject: str
    composition: Composition
    base: BaseModel
    trailers: Mapping[str, str]
    """What the phase added to the state before it: ``Scale``, and ``Delta`` or ``Change-…``."""


def new_update_id(
    repository: Repository, facts_digest: str, promised: Collection[UpdateId] = ()
) -> UpdateId:
    """Return an id for an update by these facts: the start of their SHA-256, ``-2`` if taken.

    It is not one of those ``promised`` to others, either.
    """
    known = {*known_update_ids(repository), *promised}
    name, number = facts_digest[:ID_DIGITS], 1
    while (update := UpdateId(name if number == 1 else f"{name}-{number}")) in known:
        number += 1
    return update


def find_applied(repository: Repository, tip: CommitId, facts_digest: str) -> UpdateId | None:
    """Return the update by exactly these facts that is still in effect at ``tip``.

    In effect means that each delta that it added or took out has the coefficient that it had after
    it: neither reverted nor replaced nor scaled. What `compact` has folded since is in effect all
    the same.
    """
    now = read_snapshot(repository, tip).composition
    left_out: set[str] = set()
    found: dict[bool, UpdateId] = {}
    for entry in read_log(repository, tip):
        now = unfold_once(repository, now, entry)
        left_out.update(listed(entry.trailers, "Dropped"))
        if entry.trailers.get("Facts-SHA256") != facts_digest or not entry.ends_update:
            continue
        before = repository.parents(phases_of(repository, entry.commit)[0])[0]
        after = read_snapshot(repository, entry.commit).composition
        change = after - read_snapshot(repository, before).composition
        if all(now.coefficient(t.delta) == after.coefficient(t.delta) for t in change):
            # What a merge left out may have the very deltas of what stayed.
            out = not left_out.isdisjoint({entry.commit, str(entry.update)})
            found.setdefault(out, UpdateId(str(entry.update)))
    return found.get(False, found.get(True))


def phases_of(repository: Repository, last: CommitId) -> list[CommitId]:
    """Return the commits of the update whose last one this is, oldest first."""
    entry = log_entry(repository.commit(last))
    phases, update = [last], entry.update
    while entry.parents:
        entry = log_entry(repository.commit(entry.parents[0]))
        if entry.operation not in PHASES or entry.update != update:
            break
        phases.insert(0, entry.commit)
    return phases


def is_published(repository: Repository, tip: CommitId, update: UpdateId) -> bool:
    """Return whether the history of ``tip`` has an update of this id, reverted since or not."""
    return any(
        entry.update == update and entry.operation in PHASES for entry in read_log(repository, tip)
    )


def check_update_id(repository: Repository, update: UpdateId) -> None:
    """Raise `UpdateIdTaken` if any ref reaches a commit of an update of this id."""
    taken = known_update_ids(repository).get(update)
    if taken is not None:
        raise UpdateIdTaken(update, taken)


def publish_update(
    repository: Repository,
    ref: str,
    start: CommitId,
    update: UpdateId,
    facts_digest: str,
    phases: Sequence[Phase],
    files: Mapping[str, bytes],
    ledger: Mapping[str, Change],
    *,
    accepted: bool,
    body: str,
    compaction: NewCommit | None = None,
) -> list[CommitId]:
    """Write one commit a phase and make them visible by one move of one ref.

    Args:
        repository: the store.
        ref: the branch's full name.
        start: the commit that the update was computed from.
        update: the update's id.
        facts_digest: SHA-256 of the fact file.
        phases: in order; the last one carries the ledger.
        files: what goes to ``update/`` in each of the commits.
        ledger: ledger paths that change.
        accepted: True moves the branch; False leaves it and makes
            ``refs/adapterstore/rejected/<update>``.
        body: the commit messages' text.
        compaction: the commit that folds the sum on top of the phases, in the same move. It is no
            commit of the update; beside the branch, where the update is refused, there is none.

    Raises:
        RefMoved: the branch is not at ``start`` any more; nothing is visible.
        UpdateIdTaken: another update was published under this id, on any branch or beside one.
    """
    commits: list[CommitId] = []
    for number, phase in enumerate(phases, 1):
        parent = commits[-1] if commits else start
        new = NewCommit(
            composition=phase.composition,
            base=phase.base,
            subject=phase.subject,
            body=body,
            trailers={
                "Operation": phase.operation,
                **phase.trailers,
                "Phase": f"{number}/{len(phases)}",
                "Update": update,
                "Facts-SHA256": facts_digest,
            },
            ledger=ledger if number == len(phases) else {},
            update_files=files,
        )
        commits.append(write_snapshot(repository, parent, new))
    if accepted and compaction is not None:
        commits.append(write_snapshot(repository, commits[-1], compaction))
    check = partial(check_update_id, repository, update)
    if accepted:
        move_ref(repository, ref, start, commits[-1], f"update: {update}", check)
    else:
        name = f"{REJECTED}{update}"
        move_ref(repository, name, None, commits[-1], f"rejected: {update}", check)
    return commits


def find_rejected(repository: Repository, update: UpdateId) -> CommitId | None:
    """Return the last commit of a rejected update (None: no such one)."""
    return list_refs(repository, REJECTED).get(f"{REJECTED}{update}")
