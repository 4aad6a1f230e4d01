"""A merged model: the base's weights plus the sum, weight by weight, rounded once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.model_folder import ModelFolder, StoredWeight, read_model_folder
from adapterstore.adapters.tensor_file import FLOAT_DTYPES
from adapterstore.adapters.tensor_writer import write_tensor_file
from adapterstore.algebra.dense import DenseSum, Leaf, match_weight
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import BaseModelMismatch, CannotExport, ShapeMismatch
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch


def merge_into_base(
    base_folder: Path,
    terms: Sequence[tuple[Decimal, Leaf]],
    folder: Path,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Write θ_base + Σ cᵢ·ΔWᵢ as a model folder, sharded as the base is.

    Each weight is summed in float64 and rounded once to the base's dtype; memory is bounded by the
    largest weight. The base's other files (config, tokenizer, …) are copied.

    Args:
        base_folder: the base model, in the transformers layout.
        terms: (coefficient, leaf).
        folder: an empty folder.
        progress: told of every weight.

    Raises:
        BaseModelMismatch: a term changes a weight that the base does not have.
        ShapeMismatch: a weight has another shape.
        CannotExport: the base's weight is no float (it is quantized), or a term is not finite.
    """
    base = read_model_folder(base_folder)
    weights = base.weights
    total = DenseSum(terms)
    changes = _place(total, weights, base)
    progress.start("merging", len(weights))

    def load(name: str) -> torch.Tensor:
        import torch

        tensor = weights[name].load()
        if name not in changes:
            return tensor
        return tensor.to(torch.float64) + changes[name].load()

    for file_name, tensor_file in base.files.items():
        described = {n: (info.dtype, info.shape) for n, info in tensor_file.tensors.items()}
        metadata = tensor_file.metadata or {"format": "pt"}
        write_tensor_file(folder / file_name, described, load, metadata, progress)
    for path in sorted(base_folder.iterdir()):
        if path.is_file() and path.suffix not in {".safetensors", ".bin", ".pt", ".pth"}:
            shutil.copyfile(path, folder / path.name)


def _place(
    total: DenseSum, weights: Mapping[str, StoredWeight], base: ModelFolder
) -> dict[str, DenseWeight]:
    """Return the change of each of the base's weights, by its name in the base's files."""
    changes = {}
    for name, change in total.items():
        stored = match_weight(name, weights)
        if stored is None:
            raise BaseModelMismatch(
                str(base.folder),
                name,
                f"{base.folder}: has no weight {name!r}, which the state changes",
            )
        info = weights[stored].info
        if info.dtype not in FLOAT_DTYPES:
            raise CannotExport(
                f"weight {name}", f"the base stores it as {info.dtype}; export lora instead"
            )
        if info.shape != change.shape:
            raise ShapeMismatch(name, str(base.folder), info.shape, "the state", change.shape)
        changes[stored] = change
    return changes
