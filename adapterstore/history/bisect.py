"""Find the commit at which something about the state changed, by asking few states.

Pure search: what is asked of a state is the caller's. States that are equal sums are one state and
are asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, log2

from adapterstore.algebra.composition import Composition
from adapterstore.errors import CorruptStore, UnknownRevision
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class State:
    """Consecutive commits of a first-parent history that all have one composition."""

    first: CommitId
    last: CommitId
    blob: str
    """Git blob id of the composition: equal states have equal ids."""


@dataclass(frozen=True)
class Flip:
    """Two neighbouring states between which the asked thing changed."""

    before: State
    after: State


def read_states(
    repository: Repository, newest: CommitId, oldest: CommitId | None = None
) -> list[State]:
    """Return the states of a first-parent history, oldest first; neighbours differ.

    Args:
        repository: the store.
        newest: where it ends.
        oldest: where it begins (None: with the store's first commit).

    Raises:
        UnknownRevision: ``oldest`` is not on that history.
    """
    runs: list[State] = []
    for commit in _first_parents(repository, newest, oldest):
        blob = _composition_blob(repository, commit)
        if runs and runs[-1].blob == blob:
            runs[-1] = State(commit, runs[-1].last, blob)
        else:
            runs.append(State(commit, commit, blob))
    return runs[::-1]


def most_evaluations(states: int) -> int:
    """Return the most states that are asked among so many: ⌈log₂ n⌉ + 2."""
    return ceil(log2(states)) + 2 if states else 0


def find_flip(states: list[State], holds: Callable[[State], bool]) -> Flip | None:
    """Return two neighbours of which ``holds`` is as at the oldest, and as at the newest, state.

    None: it is the same at both ends. Asks the ends and then halves what lies between them, so at
    most `most_evaluations` states, each with its own composition once. If the thing changed more
    than once in between, one of the changes is found, not all of them.
    """
    known: dict[str, bool] = {}

    def asked(state: State) -> bool:
        if state.blob not in known:
            known[state.blob] = holds(state)
        return known[state.blob]

    low, high = 0, len(states) - 1
    end = asked(states[high])
    if asked(states[low]) == end:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if asked(states[middle]) == end:
            high = middle
        else:
            low = middle
    return Flip(states[low], states[high])


def composition_of(repository: Repository, state: State) -> Composition:
    """Return the sum that a state is."""
    return Composition.from_bytes(repository.blob(state.blob), f"commit {state.last[:12]}")


def _first_parents(
    repository: Repository, newest: CommitId, oldest: CommitId | None
) -> Iterator[CommitId]:
    commit = newest
    while True:
        yield commit
        if commit == oldest:
            return
        parents = repository.parents(commit)
        if not parents:
            if oldest is not None:
                problem = f"is not on the first-parent history of {newest[:12]}"
                raise UnknownRevision(oldest[:12], problem)
            return
        commit = parents[0]


def _composition_blob(repository: Repository, commit: CommitId) -> str:
    tree = repository.tree(commit)
    if tree is None or "composition.json" not in tree:
        raise CorruptStore(f"commit {commit[:12]}", "the commit has no composition.json")
    return str(tree["composition.json"].id)
