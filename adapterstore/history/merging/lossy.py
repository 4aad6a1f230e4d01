"""Merge two states by TIES or DARE: one new dense leaf, computed weight by weight. Lossy."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from adapterstore.adapters.dense import DenseDelta, write_delta
from adapterstore.adapters.merged import changes_a_shared_layer, check_tied
from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.algebra.coefficient import ONE, format_coefficient
from adapterstore.algebra.composition import Composition, Term
from adapterstore.algebra.dense import DenseSum, Leaf
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import CannotExport, InvalidSetting
from adapterstore.history.ingest import store_dense
from adapterstore.history.leaves import open_leaves
from adapterstore.history.merging.ancestry import virtual_sum
from adapterstore.history.merging.effect import Atoms, Effects, difference
from adapterstore.history.merging.plan import MergePlan
from adapterstore.history.snapshot import read_snapshot
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    import torch

MethodName = Literal["ties", "dare_linear", "dare_ties"]
_SIGN_METHOD: Literal["total"] = "total"


@dataclass(frozen=True)
class LossyMethod:
    """How ΔW of two sides become one, as in peft.

    ``ties`` (arXiv 2306.01708) keeps of each side the ``density`` share of values that are largest,
    elects one sign for each place, and takes the mean of those that have it. ``dare_linear`` and
    ``dare_ties`` (arXiv 2311.03099) keep a random share and divide it by ``density``, then sum, or
    go on as TIES.
    """

    name: MethodName
    density: Decimal = Decimal("0.5")
    """Which share of the values stays: over 0, at most 1."""
    seed: int = 0
    """Of DARE's random choice; TIES makes none."""
    weights: tuple[Decimal, Decimal] = (ONE, ONE)
    """Of ours and theirs."""

    def __post_init__(self) -> None:
        if self.name not in get_args(MethodName):
            raise InvalidSetting("method", f"must be of {', '.join(get_args(MethodName))}")
        if not 0 < self.density <= 1:
            raise InvalidSetting("density", f"must be over 0 and at most 1, not {self.density}")
        if not 0 <= self.seed < 1 << 63:
            raise InvalidSetting("seed", f"must be from 0 to 2^63 - 1, not {self.seed}")

    def trailers(self) -> dict[str, str]:
        """Return what a commit records of the method."""
        parameters: dict[str, object] = {
            "density": format_coefficient(self.density),
            "weights": [format_coefficient(weight) for weight in self.weights],
        }
        if self.name != "dare_linear":
            parameters["majority_sign_method"] = _SIGN_METHOD
        return {
            "Method": self.name,
            "Parameters": json.dumps(parameters, sort_keys=True),
            "Seed": str(self.seed),
        }


def merge_lossily(
    repository: Repository,
    merge: MergePlan,
    method: LossyMethod,
    base_name: str | None,
    progress: Progress,
    base_folder: Callable[[], Path],
) -> tuple[Composition, dict[str, str], str]:
    """Return comp(base) + 1·Δ, the trailers, and a note; Δ's tensor file is in the store.

    Raises:
        InvalidSetting, CorruptStore, ObjectMissing, ShapeMismatch, NotLinear: as
            `write_lossy_delta`.
    """
    with repository.objects.scratch() as scratch:
        written, relative = write_lossy_delta(
            repository, merge, method, base_name, scratch / "delta", progress, base_folder
        )
        delta = store_dense(repository, written, (), progress, move=True)
    trailers = {**method.trailers(), "Delta": delta.delta, "Relative-Error": relative}
    note = f"{method.name} is lossy: ‖result − exact merge‖ / ‖exact merge‖ = {relative}"
    start = virtual_sum(repository, merge.bases)
    return start + Composition.of([Term(delta.delta, ONE, "merge")]), trailers, note


def write_lossy_delta(
    repository: Repository,
    merge: MergePlan,
    method: LossyMethod,
    base_name: str | None,
    folder: Path,
    progress: Progress = NO_PROGRESS,
    base_folder: Callable[[], Path] | None = None,
) -> tuple[DenseDelta, str]:
    """Write Δ as a delta folder; return it, and its relative error as the commit states it.

    Δ = method(comp(ours) − comp(base), comp(theirs) − comp(base)), float32. Each weight is computed
    in float64 by peft, with random numbers of its own that follow from the seed and its name: the
    same merge gives the same bytes.

    ``base_folder`` gives the base's weights: asked where a LoRA is on a layer that the base may
    have tied to another (None: that was looked at when the merge was made).

    Raises:
        InvalidSetting: neither side changes a weight; or the base ties a layer that a LoRA is on,
            whose dense term would change both.
        CorruptStore, ObjectMissing: a delta is not what its id says.
        ShapeMismatch, NotLinear: the sides are of different models.
    """
    effects = Effects(repository)
    start = virtual_sum(repository, merge.bases)
    ours = read_snapshot(repository, merge.ours).composition - effects.changes(merge.lost_by_ours)
    # What both sides did counts as ours.
    elsewhere = difference(merge.correction, Atoms({a: -n for a, n in merge.lost_by_ours.items()}))
    theirs = read_snapshot(repository, merge.theirs).composition + effects.changes(elsewhere)
    with (
        open_leaves(repository, ours - start, progress) as left,
        open_leaves(repository, theirs - start, progress) as right,
    ):
        terms = [*left.terms, *right.terms]
        shared = any(changes_a_shared_layer(leaf) for _, leaf in (*left.lora, *right.lora))
        if base_folder is not None and shared:
            _check_tied(terms, base_folder(), method)
        DenseSum(terms)  # Raises where the two sides disagree on a shape.
        sums = DenseSum(left.terms), DenseSum(right.terms)
        weights = {
            name: sums[0][name] if name in sums[0] else sums[1][name]
            for name in sorted({*sums[0], *sums[1]})
        }
        if not weights:
            raise InvalidSetting(f"method {method.name}", "neither side changes a weight")
        loss = _Loss()
        merged = {
            name: DenseWeight(weight.shape, partial(_merge_weight, method, name, sums, loss))
            for name, weight in weights.items()
        }
        dtypes = dict.fromkeys(merged, "F32")
        written = write_delta(folder, merged, base_name, dtypes, progress)
    return written, f"{loss.relative:.3g}"


def _check_tied(terms: Sequence[tuple[Decimal, Leaf]], base: Path, method: LossyMethod) -> None:
    try:
        check_tied(terms, read_model_folder(base), method.name)
    except CannotExport as error:
        raise InvalidSetting(
            f"method {method.name}",
            "a LoRA is on embedding or output layer, which in this base are one weight, and a "
            "dense term would change both; merge exactly, without --method",
        ) from error


class _Loss:
    """How far the result is from the exact merge, ours + theirs, over all weights."""

    def __init__(self) -> None:
        self._difference = 0.0
        self._whole = 0.0

    def add(self, result: torch.Tensor, exact: torch.Tensor) -> None:
        self._difference += float((result - exact).square().sum())
        self._whole += float(exact.square().sum())

    @property
    def relative(self) -> float:
        if self._whole == 0:
            return 0.0 if self._difference == 0 else math.inf
        return math.sqrt(self._difference / self._whole)


def _merge_weight(
    method: LossyMethod,
    name: str,
    sums: tuple[Mapping[str, DenseWeight], Mapping[str, DenseWeight]],
    loss: _Loss,
) -> torch.Tensor:
    import torch

    present = [each[name].load().to(torch.float64) if name in each else None for each in sums]
    shape = next(tensor for tensor in present if tensor is not None)
    sides = [torch.zeros_like(shape) if tensor is None else tensor for tensor in present]
    with _random(method.seed, name):
        result = _apply(method, sides)
    loss.add(result, sides[0] + sides[1])
    return result.to(torch.float32)


def _apply(method: LossyMethod, sides: list[torch.Tensor]) -> torch.Tensor:
    import torch
    from peft.utils import merge_utils

    weights = torch.tensor([float(weight) for weight in method.weights], dtype=torch.float64)
    density = float(method.density)
    with warnings.catch_warnings():
        # That nothing is pruned at a density of 1 is what was asked for.
        warnings.filterwarnings("ignore", message="The density 1", category=UserWarning)
        if method.name == "ties":
            return merge_utils.ties(sides, weights, density, _SIGN_METHOD)
        if method.name == "dare_ties":
            return merge_utils.dare_ties(sides, weights, density, _SIGN_METHOD)
        return merge_utils.dare_linear(sides, weights, density)


@contextmanager
def _random(seed: int, name: str) -> Iterator[None]:
    """Seed torch for one weight; the caller's random numbers go on as if nothing had been."""
    import torch

    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:8]) >> 1)
        yield
