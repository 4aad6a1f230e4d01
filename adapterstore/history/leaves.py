"""A composition's deltas as the algebra wants them: verified files behind lazy loaders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from adapterstore.adapters.base_model import BaseModel
from adapterstore.adapters.dense import dense_leaf, read_delta
from adapterstore.adapters.lora import largest_rank, lora_leaf, read_lora
from adapterstore.adapters.tensor_file import read_tensor_file
from adapterstore.algebra.composition import Composition
from adapterstore.algebra.dense import Leaf
from adapterstore.algebra.leaves import DenseLeaf, LoraLeaf
from adapterstore.errors import CorruptStore
from adapterstore.history.fit import base_with_adapter, base_with_delta
from adapterstore.history.ingest import DELTA_CONFIG, LORA_CONFIG, LORA_WEIGHTS
from adapterstore.history.snapshot import delta_files
from adapterstore.identifiers import DeltaId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class Leaves:
    """The terms of a composition, in canonical order."""

    terms: list[tuple[Decimal, Leaf]]

    @property
    def lora(self) -> list[tuple[Decimal, LoraLeaf]]:
        """The low-rank terms."""
        return [(c, leaf) for c, leaf in self.terms if isinstance(leaf, LoraLeaf)]

    @property
    def dense(self) -> list[tuple[Decimal, DenseLeaf]]:
        """The dense terms."""
        return [(c, leaf) for c, leaf in self.terms if isinstance(leaf, DenseLeaf)]


@dataclass(frozen=True)
class DeltaSummary:
    """What a delta is, without reading a tensor."""

    kind: str
    """``lora`` or ``dense``."""
    rank: int | None
    """The largest rank that a module of a LoRA has."""
    size: int
    """Bytes of its tensor files."""
    fan_in_fan_out: bool = False
    """Whether a LoRA's layers keep their weights as (in, out)."""


def summarize_delta(repository: Repository, delta: DeltaId) -> DeltaSummary:
    """Return what a delta is; raise `CorruptStore` if it is nothing known."""
    files = delta_files(repository, delta)
    size = sum(
        Pointer.from_bytes(data, f"delta {delta}: {name}").size
        for name, data in files.items()
        if name.endswith(".safetensors")
    )
    if LORA_CONFIG in files:
        transposed = bool(json.loads(files[LORA_CONFIG]).get("fan_in_fan_out"))
        return DeltaSummary("lora", _largest_rank(repository, delta, files), size, transposed)
    if DELTA_CONFIG in files:
        return DeltaSummary("dense", None, size)
    raise CorruptStore(f"delta {delta}", "is neither an adapter nor a dense delta")


def count_missing(repository: Repository, composition: Composition) -> int:
    """Return how many tensor files of a composition are not in the store.

    Raises:
        CorruptStore: a delta can't be read.
    """
    pointers = {
        Pointer.from_bytes(data, f"delta {delta}: {name}")
        for delta in {term.delta for term in composition}
        for name, data in delta_files(repository, delta).items()
        if name.endswith(".safetensors")
    }
    return sum(not repository.objects.path(pointer.object_id).exists() for pointer in pointers)


def _largest_rank(repository: Repository, delta: DeltaId, files: Mapping[str, bytes]) -> int:
    config = json.loads(files[LORA_CONFIG])
    patterns = config.get("rank_pattern") or {}
    if patterns and LORA_WEIGHTS in files:
        # Which modules they are for, and whether any is left for r, only the tensors say.
        where = f"delta {delta}: {LORA_WEIGHTS}"
        pointer = Pointer.from_bytes(files[LORA_WEIGHTS], where)
        with suppress(CorruptStore):
            return largest_rank(read_tensor_file(repository.objects.open_path(pointer, where)))
    return max(int(rank) for rank in (config["r"], *patterns.values()))


@contextmanager
def open_leaves(
    repository: Repository, composition: Composition, progress: Progress = NO_PROGRESS
) -> Iterator[Leaves]:
    """Verify the deltas of a composition and open them for as long as the block runs.

    Raises:
        CorruptStore, ObjectMissing: a delta is not what its id says.
    """
    leaves = Leaves([])
    with TemporaryDirectory(prefix="adapterstore-") as scratch:
        for term in composition:
            folder = Path(scratch) / term.delta
            weights = _lay_out(repository, term.delta, folder, progress)
            if (folder / LORA_CONFIG).exists():
                adapter = read_lora(folder, f"delta {term.delta}", weights[LORA_WEIGHTS])
                leaves.terms.append((term.coefficient, lora_leaf(adapter)))
            else:
                delta = read_delta(folder, weights)
                leaves.terms.append((term.coefficient, dense_leaf(delta)))
        yield leaves


def fit_delta(repository: Repository, delta: DeltaId, base: BaseModel) -> BaseModel:
    """Return a base with what a stored delta tells of it, as at ingest.

    Raises:
        CorruptStore, ObjectMissing: the delta is not what its id says.
        BaseModelMismatch, ShapeMismatch: it belongs to another base.
    """
    with TemporaryDirectory(prefix="adapterstore-") as scratch:
        folder = Path(scratch) / delta
        weights = _lay_out(repository, delta, folder, NO_PROGRESS)
        if (folder / LORA_CONFIG).exists():
            adapter = read_lora(folder, f"delta {delta}", weights[LORA_WEIGHTS])
            # By what name it knows the base was looked at when it came; aliases are local.
            known = [adapter.base_name] if adapter.base_name is not None else []
            return base_with_adapter(base, adapter, known)
        found = read_delta(folder, weights)
        return base_with_delta(base, found, [found.base_name] if found.base_name else [])


def _lay_out(
    repository: Repository, delta: DeltaId, folder: Path, progress: Progress
) -> dict[str, Path]:
    """Write a delta's small files into a folder; return where its tensor files lie."""
    folder.mkdir()
    weights = {}
    for name, data in delta_files(repository, delta).items():
        where = f"delta {delta}: {name}"
        if name.endswith(".safetensors"):
            weights[name] = repository.objects.verify(
                Pointer.from_bytes(data, where), where, progress
            )
        else:
            (folder / name).write_bytes(data)
    if LORA_CONFIG in {p.name for p in folder.iterdir()} and LORA_WEIGHTS not in weights:
        raise CorruptStore(f"delta {delta}", f"has no {LORA_WEIGHTS}")
    return weights
