"""A merged model: the base's weights plus the sum, weight by weight, rounded once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.model_folder import (
    OUTPUT_WEIGHT,
    ModelFolder,
    StoredWeight,
    read_model_folder,
)
from adapterstore.adapters.tensor_file import FLOAT_DTYPES
from adapterstore.adapters.tensor_writer import write_tensor_file
from adapterstore.algebra.dense import DenseSum, Leaf, match_weight
from adapterstore.algebra.leaves import DenseWeight, LoraLeaf
from adapterstore.errors import BaseModelMismatch, CannotExport, ShapeMismatch
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch

_OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.h5", "*.gguf")


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
        CannotExport: the base's weight is no float (it is quantized), a term is not finite, the
            sum is beyond the base's dtype, or see `check_tied`.
    """
    base = read_model_folder(base_folder)
    weights = base.weights
    check_tied(terms, base, "model")
    changes = _place(DenseSum(terms), weights, base)
    embedding = base.tied_embedding
    # The files may hold the one weight twice: two that differ would be two when they are loaded.
    if embedding in changes and OUTPUT_WEIGHT in weights:
        changes[OUTPUT_WEIGHT] = changes[embedding]
    progress.start("merging", len(weights))

    def load(name: str) -> torch.Tensor:
        import torch

        tensor = weights[name].load()
        dtype = tensor.dtype
        for change in changes.get(name, ()):
            tensor = tensor.to(torch.float64) + change.load()
        if name in changes and not bool(tensor.to(dtype).isfinite().all()):
            raise CannotExport(f"weight {name}", f"the sum has values beyond {dtype}")
        return tensor

    for file_name, tensor_file in base.files.items():
        described = {n: (info.dtype, info.shape) for n, info in tensor_file.tensors.items()}
        metadata = tensor_file.metadata or {"format": "pt"}
        write_tensor_file(folder / file_name, described, load, metadata, progress)
    for path in sorted(base_folder.iterdir()):
        if path.is_file() and not any(fnmatch(path.name, kind) for kind in _OTHER_WEIGHTS):
            shutil.copyfile(path, folder / path.name)


def changes_a_shared_layer(leaf: LoraLeaf) -> bool:
    """Return whether a LoRA adapts an embedding or the output layer, which may share a weight."""
    return any(
        factors.embedding or match_weight(f"{name}.weight", (OUTPUT_WEIGHT,)) is not None
        for name, factors in leaf.modules.items()
    )


def check_tied(terms: Sequence[tuple[Decimal, Leaf]], base: ModelFolder, form: str) -> None:
    """Refuse a change of one of two layers that share a weight: written, it would change both.

    Raises:
        CannotExport: a LoRA adapts one of them alone; or a dense term changes the output layer,
            and the sum does not change the embedding alike.
    """
    if (embedding := base.tied_embedding) is None:
        return
    shared = (embedding, OUTPUT_WEIGHT)
    one = f"in {base.folder} embedding and output layer are one weight"
    dense: dict[str, str] = {}
    for _, leaf in terms:
        if isinstance(leaf, LoraLeaf):
            for name in leaf.modules:
                if match_weight(f"{name}.weight", shared) is not None:
                    raise CannotExport(
                        f"{leaf.label} as {form}",
                        f"it adapts {name} alone, but {one}; export lora instead, or where there "
                        "are dense terms load the state in Python (Store.load)",
                    )
        else:
            dense.update({str(match_weight(name, shared)): name for name in leaf.weights})
    if OUTPUT_WEIGHT not in dense:
        return
    total, output = DenseSum(terms), dense[OUTPUT_WEIGHT]
    if embedding not in dense or not total[output].load().equal(total[dense[embedding]].load()):
        raise CannotExport(
            f"weight {output}", f"the state changes it and the embedding differently, but {one}"
        )


def _place(
    total: DenseSum, weights: Mapping[str, StoredWeight], base: ModelFolder
) -> dict[str, list[DenseWeight]]:
    """Return the changes of each of the base's weights, by its name in the base's files."""
    changes: dict[str, list[DenseWeight]] = {}
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
        # A model and its files may name one weight differently, so it may have two changes.
        changes.setdefault(stored, []).append(change)
    return changes
