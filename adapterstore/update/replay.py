"""Train an update again, from what its commits carry, and compare what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from adapterstore.algebra.coefficient import ONE
from adapterstore.algebra.compare import compare
from adapterstore.algebra.composition import Composition, Term
from adapterstore.errors import CorruptStore, UnknownRevision
from adapterstore.history.base import check_base, find_base
from adapterstore.history.leaves import open_leaves
from adapterstore.history.snapshot import read_snapshot
from adapterstore.history.store import Store
from adapterstore.identifiers import CommitId, DeltaId, UpdateId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.messages import parse_trailers
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update
from adapterstore.update.provenance import environment, environment_differences
from adapterstore.update.record import read_update_record
from adapterstore.update.run import prepare_attempt
from adapterstore.update.step import Step


@dataclass(frozen=True)
class Leaf:
    """One delta of an update, recorded and trained again."""

    commit: CommitId
    operation: str
    recorded: DeltaId
    replayed: DeltaId
    relative_difference: float
    """‖ΔW_replayed − ΔW_recorded‖ / ‖ΔW_recorded‖, Frobenius norms over all weights; 0 where the
    bits are equal."""

    @property
    def identical(self) -> bool:
        """Whether every byte is equal."""
        return self.recorded == self.replayed

    def to_dict(self) -> dict[str, Any]:
        """Return the leaf as JSON values."""
        return {
            "commit": self.commit,
            "operation": self.operation,
            "recorded": self.recorded,
            "replayed": self.replayed,
            "identical": self.identical,
            "relative_difference": self.relative_difference,
        }


@dataclass(frozen=True)
class Replay:
    """What came of training an update again."""

    update: UpdateId
    leaves: list[Leaf]
    differences: list[str] = field(default_factory=list)
    """What else came out otherwise: phases, λ."""
    environment: list[str] = field(default_factory=list)
    """What of the machine and the versions is not as recorded."""

    @property
    def identical(self) -> bool:
        """Whether the update came out the same, bit for bit."""
        return not self.differences and all(leaf.identical for leaf in self.leaves)


def replay(store: Store, update: str, progress: Progress = NO_PROGRESS) -> Replay:
    """Train an update again through the same code, from its recorded inputs; publish nothing.

    The recorded number of threads is used for the time of the replay: the order of sums depends on
    it.

    Args:
        store: the store.
        update: an update's id or ``update/ID``.
        progress: told of every stage.

    Raises:
        UnknownRevision, AmbiguousRevision: no such update, or several.
        CorruptStore: what was recorded can't be read.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
        TrainingFailed: it comes to no usable result.
    """
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.prepared import forget_prepared

    repository = store.repository
    commits = find_update(repository, update.removeprefix("update/"))
    parents = repository.parents(commits[0])
    if not parents:
        raise UnknownRevision(update, "nothing is recorded of the state before it")
    record = read_update_record(repository, commits[-1])
    recipe, recorded = record.recipe(), record.provenance.get("environment")
    name = UpdateId(parse_trailers(repository.commit(commits[-1]).message)["Update"])
    if record.removed or not record.files:
        raise UnknownRevision(f"update/{name}", "its fact files were taken out of history")
    if not isinstance(recorded, dict):
        raise CorruptStore(f"update/{name}", "its report does not say how it was made")
    base = read_snapshot(repository, parents[0]).base
    folder = find_base(base, store.settings)
    check_base(base, folder)
    attempt = prepare_attempt(
        repository,
        parents[0],
        record.files,
        base_folder=folder,
        recipe=recipe,
        # What is decided about the figures does not matter here.
        gate=Gate.parse(dict.fromkeys(Gate.model_fields), "gate"),
        update=name,
        progress=progress,
    )
    if not _subtracted(repository, commits):
        # Whether the gate, or an alarm, had something against a subtraction is what the gate that
        # lets all pass can't tell; the commits can.
        attempt = replace(attempt, superseded=())
    with (
        _threads(recorded.get("threads")),
        ExitStack() as held,
        repository.trial() as trial,
    ):
        now = environment(recipe.device)
        forget_prepared()
        trained = attempt.run(trial, held)
        leaves, differences = _compare(trial, commits, trained.steps, progress)
    return Replay(name, leaves, differences, environment_differences(recorded, now))


def _subtracted(repository: Repository, commits: list[CommitId]) -> bool:
    """Return whether a phase of an update took out what an earlier one had learned."""
    recorded = (parse_trailers(repository.commit(commit).message) for commit in commits)
    return any(t.get("Operation") == "forget" and "Change-To" in t for t in recorded)


@contextmanager
def _threads(count: Any) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if isinstance(count, int) and 0 < count <= 1024:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(
    repository: Repository, commits: list[CommitId], steps: list[Step], progress: Progress
) -> tuple[list[Leaf], list[str]]:
    leaves: list[Leaf] = []
    differences: list[str] = []
    recorded = [parse_trailers(repository.commit(commit).message) for commit in commits]
    before, after = [t.get("Operation") for t in recorded], [s.operation for s in steps]
    if before != after:
        return [], [f"the phases were {', '.join(map(str, before))}, are {', '.join(after)}"]
    for commit, trailers, step in zip(commits, recorded, steps, strict=True):
        for name in ("Scale", "Change-From", "Change-To"):
            if trailers.get(name) != step.trailers.get(name):
                differences.append(
                    f"{step.operation}: {name} was {trailers.get(name)}, "
                    f"is {step.trailers.get(name)}"
                )
        old, new = trailers.get("Delta"), step.trailers.get("Delta")
        if old is None or new is None:
            if old != new:
                differences.append(f"{step.operation}: Delta was {old}, is {new}")
            continue
        distance = 0.0 if old == new else _distance(repository, old, new, progress)
        leaves.append(Leaf(commit, step.operation, DeltaId(old), DeltaId(new), distance))
    return leaves, differences


def _distance(repository: Repository, old: str, new: str, progress: Progress) -> float:
    def single(delta: str) -> Composition:
        return Composition.of([Term(DeltaId(delta), ONE, "adapter")])

    with (
        open_leaves(repository, single(new), progress) as left,
        open_leaves(repository, single(old), progress) as right,
    ):
        rows = compare(left.terms, right.terms)
    difference = sum(row.norm_difference**2 for row in rows) ** 0.5
    size = sum(row.norm_right**2 for row in rows) ** 0.5
    return difference / size if size else float("inf") if difference else 0.0
