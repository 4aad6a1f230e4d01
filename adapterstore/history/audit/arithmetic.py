"""From what a commit says of itself and from its parents, its composition again.

One pure function an operation. They know no git: what they need of other commits is asked of a
`History`. P is the first parent, T the second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from adapterstore.algebra.coefficient import ONE, parse_coefficient
from adapterstore.algebra.composition import Composition, Term
from adapterstore.errors import AdapterStoreError
from adapterstore.identifiers import CommitId, DeltaId

_NO_SCALE = "1"
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")


class History(Protocol):
    """The commits as far as the arithmetic asks for them."""

    def composition(self, commit: CommitId) -> Composition:
        """Return what a commit's state is recorded as."""

    def parents(self, commit: CommitId) -> Sequence[CommitId]:
        """Return a commit's parents."""

    def record(self, commit: CommitId) -> Record:
        """Return what a commit says of itself."""

    def update_commits(self, update: str, tips: Sequence[CommitId]) -> Sequence[CommitId]:
        """Return the commits of an update that ``tips`` reach, oldest first."""


class CannotCompute(ValueError):
    """The trailers do not say enough, or contradict the parents; the text says how."""


@dataclass(frozen=True)
class Record:
    """What a commit says of itself, without its composition."""

    parents: Sequence[CommitId]
    trailers: Mapping[str, str] = field(default_factory=dict)

    def required(self, name: str) -> str:
        """Return a trailer's value."""
        if name not in self.trailers:
            raise CannotCompute(f"the trailer {name} is missing")
        return self.trailers[name]

    def listed(self, name: str) -> list[str]:
        """Return the values of a trailer that holds a list."""
        return [part.strip() for part in self.trailers.get(name, "").split(",") if part.strip()]

    def parent(self, number: int, count: int) -> CommitId:
        """Return one parent of a commit that has to have ``count`` of them."""
        if len(self.parents) != count:
            raise CannotCompute(f"it has {len(self.parents)} parents, not {count}")
        return self.parents[number]


def expected_composition(record: Record, history: History) -> Composition:
    """Return the composition that a commit must have.

    Raises:
        CannotCompute: no operation that is known, or a trailer that is missing or senseless.
    """
    operation = record.required("Operation")
    compute = OPERATIONS.get(operation)
    if compute is None:
        raise CannotCompute(f"{operation!r} is no operation of a store")
    try:
        return compute(record, history)
    except AdapterStoreError as error:
        raise CannotCompute(str(error)) from error


def initial(record: Record, history: History) -> Composition:
    """Return the empty sum."""
    if record.parents:
        raise CannotCompute("it starts a store, but has a parent")
    return Composition()


def unchanged(record: Record, history: History) -> Composition:
    """Return comp(P)."""
    return history.composition(record.parent(0, 1))


def replaced(record: Record, history: History) -> Composition:
    """Return 1·Delta."""
    record.parent(0, 1)
    return _delta(record)


def added(record: Record, history: History) -> Composition:
    """Return comp(P) + change."""
    return history.composition(record.parent(0, 1)) + change(record, history)


def subtracted(record: Record, history: History) -> Composition:
    """Return comp(P) − change."""
    return history.composition(record.parent(0, 1)) - change(record, history)


def merged(record: Record, history: History) -> Composition:
    """Return comp(P) + comp(T) − comp(B) − Σ dropped + Σ restored; if lossy, comp(B) + Delta.

    B is the merge base, a virtual one where there are several. Dropped are updates or commits,
    restored are commits, each with what it changed by itself.
    """
    ours, theirs = record.parent(0, 2), record.parent(1, 2)
    if record.required("Merged") != theirs:
        raise CannotCompute(f"Merged is not the second parent, {theirs}")
    base = merge_base(history, ours, theirs)
    if "Method" in record.trailers:
        return base + _delta(record)
    total = history.composition(ours) + history.composition(theirs) - base
    return total + _corrections(record, history)


def _corrections(record: Record, history: History) -> Composition:
    """Return what a merge left out of the plain sum, or put back into it."""
    total = Composition()
    for name in record.listed("Dropped"):
        if _COMMIT_ID.fullmatch(name):
            total = total - own_change(history, CommitId(name))
        else:
            total = total - update_change(history, name, record.parents)
    for name in record.listed("Restored"):
        total = total + own_change(history, CommitId(name))
    return total


def own_change(history: History, commit: CommitId) -> Composition:
    """Return what a commit changed by itself: comp(c) − comp(P).

    Of a merge, comp(c) − (comp(P) + comp(T) − comp(B)) without what it left out or put back.
    """
    record = history.record(commit)
    below = ancestors(history, record.parents)
    own = history.composition(commit) - _sum_below(history, below)
    return own - _corrections(record, history) if len(record.parents) > 1 else own


def compacted(record: Record, history: History) -> Composition:
    """Return comp(P) − the folded terms + 1·Delta."""
    before = history.composition(record.parent(0, 1))
    folded = set(record.listed("Folded"))
    missing = sorted(folded - {str(term.delta) for term in before})
    if missing or not folded:
        raise CannotCompute(f"folds {missing or 'nothing'}, which the state before does not hold")
    kept = Composition.of(term for term in before if term.delta not in folded)
    return kept + _delta(record)


OPERATIONS: Mapping[str, Callable[[Record, History], Composition]] = {
    "init": initial,
    "record-base": unchanged,
    "protect": unchanged,
    "suite": unchanged,
    "commit": replaced,
    "add": added,
    "cherry-pick": added,
    "forget": added,
    "learn": added,
    "subtract": subtracted,
    "revert": subtracted,
    "merge": merged,
    "compact": compacted,
}
_ROLES = {"forget": "forget", "learn": "learn", "merge": "merge", "compact": "compact"}


def change(record: Record, history: History) -> Composition:
    """Return Scale·Delta or Scale·(comp(To) − comp(From)), as the trailers say."""
    trailers = record.trailers
    if ("Delta" in trailers) == ("Change-To" in trailers):
        raise CannotCompute("of the trailers Delta and Change-To there must be exactly one")
    if "Delta" in trailers:
        total = _delta(record)
    else:
        total = history.composition(CommitId(trailers["Change-To"]))
        if "Change-From" in trailers:
            total = total - history.composition(CommitId(trailers["Change-From"]))
    return total.scaled(parse_coefficient(trailers.get("Scale", _NO_SCALE)))


def _delta(record: Record) -> Composition:
    role = _ROLES.get(record.required("Operation"), "adapter")
    return Composition.of([Term(DeltaId(record.required("Delta")), ONE, role)])


def update_change(history: History, update: str, tips: Sequence[CommitId]) -> Composition:
    """Return what all commits of an update changed together."""
    commits = history.update_commits(update, tips)
    if not commits:
        raise CannotCompute(f"update/{update} is not below its parents")
    before = history.parents(commits[0])
    if not before:
        raise CannotCompute(f"update/{update} has nothing before it")
    return history.composition(commits[-1]) - history.composition(before[0])


def merge_base(history: History, ours: CommitId, theirs: CommitId) -> Composition:
    """Return the composition of the merge base of two commits.

    Where there are several best common ancestors, it is that of their merge, and so on down: the
    sum of all that the common ancestors changed.
    """
    common = ancestors(history, [ours]) & ancestors(history, [theirs])
    return _sum_below(history, common)


def best_common_ancestors(history: History, ours: CommitId, theirs: CommitId) -> list[CommitId]:
    """Return the common ancestors of two commits that no other common ancestor reaches."""
    return _heads(history, ancestors(history, [ours]) & ancestors(history, [theirs]))


def _sum_below(history: History, commits: set[CommitId]) -> Composition:
    """Return the sum of the changes of a set of commits that holds all parents of its members.

    S(A ∪ B) = S(A) + S(B) − S(A ∩ B), and S of all that one commit reaches is its composition.
    """
    heads = _heads(history, commits)
    total, seen = Composition(), set[CommitId]()
    for head in heads:
        below = ancestors(history, [head])
        total = total + history.composition(head)
        if seen:
            total = total - _sum_below(history, seen & below)
        seen |= below
    return total


def _heads(history: History, commits: set[CommitId]) -> list[CommitId]:
    inner = {parent for commit in commits for parent in history.parents(commit)}
    return sorted(commits - inner)


def ancestors(history: History, tips: Sequence[CommitId]) -> set[CommitId]:
    """Return all that ``tips`` reach, themselves included."""
    found: set[CommitId] = set()
    waiting = list(tips)
    while waiting:
        commit = waiting.pop()
        if commit not in found:
            found.add(commit)
            waiting += history.parents(commit)
    return found
