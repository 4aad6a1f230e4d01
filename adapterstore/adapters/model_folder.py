"""The weights of a model folder in the transformers layout, whole or sharded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.json_file import read_json_object
from adapterstore.adapters.tensor_file import TensorFile, TensorInfo, read_tensor_file
from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.errors import MalformedAdapter

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "config.json"
SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
OUTPUT_WEIGHT = "lm_head.weight"
"""What transformers calls the output layer; not in the files where it is the embedding."""
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True)
class StoredWeight:
    """One weight of a model folder."""

    info: TensorInfo
    load: Callable[..., torch.Tensor]
    """See `TensorReader.load`."""

    def equals(self, other: StoredWeight) -> bool:
        """Return whether another weight has the same dtype, shape and values."""
        return self.info.dtype == other.info.dtype and self.load().equal(other.load())


@dataclass(frozen=True)
class ModelFolder:
    """A model folder: its config and the headers of its tensor files."""

    folder: Path
    config: dict[str, Any]
    files: dict[str, TensorFile]
    """File name → header, in the order of the names."""

    @property
    def weights(self) -> dict[str, StoredWeight]:
        """Every weight by name."""
        found = {}
        for tensor_file in self.files.values():
            reader = TensorReader(tensor_file.path)
            for name, info in tensor_file.tensors.items():
                found[name] = StoredWeight(info, partial(reader.load, name))
        return found

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Every weight's shape."""
        return {
            name: list(info.shape) for f in self.files.values() for name, info in f.tensors.items()
        }

    @cached_property
    def tied_embedding(self) -> str | None:
        """The embedding that serves as output layer too; None if the two are two weights.

        Where the files hold an output layer of other values, transformers keeps it as a weight of
        its own, whatever the config says.
        """
        if not self._text_config.get("tie_word_embeddings", True):
            return None
        embedding = self.embedding
        if embedding is None or OUTPUT_WEIGHT not in self.shapes:
            return embedding
        weights = self.weights
        return embedding if weights[OUTPUT_WEIGHT].equals(weights[embedding]) else None

    @property
    def embedding(self) -> str | None:
        """The weight with a row for each token of the vocabulary; None if that can't be told."""
        rows = self._text_config.get("vocab_size")
        found = [
            name
            for name, shape in self.shapes.items()
            if len(shape) == 2 and shape[0] == rows and name != OUTPUT_WEIGHT
        ]
        # A small vocabulary may be as large as another dimension.
        named = [name for name in found if name.endswith(_EMBEDDINGS)] or found
        return named[0] if len(named) == 1 else None

    @property
    def _text_config(self) -> dict[str, Any]:
        # Models of several modalities keep what is about their text in a part of its own.
        text = self.config.get("text_config")
        return {**text, **self.config} if isinstance(text, dict) else self.config


def read_model_folder(folder: Path) -> ModelFolder:
    """Read the config and the tensor headers of a model folder.

    Raises:
        UnreadableFile: a file is missing or can't be read.
        MalformedAdapter: the index names files or tensors that are not there.
        MalformedTensorFile: a tensor file is damaged.
    """
    config = read_json_object(folder / CONFIG_NAME)
    index = folder / INDEX_NAME
    if not index.exists():
        single = folder / SINGLE_NAME
        if not single.exists() and any(folder.glob("*.bin")):
            raise MalformedAdapter(
                str(folder), "holds pickled weights, which can run code; save it as safetensors"
            )
        return ModelFolder(folder, config, {SINGLE_NAME: read_tensor_file(single)})
    placed = read_json_object(index).get("weight_map")
    if not isinstance(placed, dict) or not all(_is_name(name) for name in placed.values()):
        raise MalformedAdapter(str(index), "has no proper weight_map")
    files = {name: read_tensor_file(folder / name) for name in sorted(set(placed.values()))}
    there = {(tensor, name) for name, f in files.items() for tensor in f.tensors}
    if there != set(placed.items()):
        raise MalformedAdapter(str(index), "names other tensors than its files hold")
    return ModelFolder(folder, config, files)


def _is_name(name: object) -> bool:
    # No path from a file is followed out of its folder.
    return (
        isinstance(name, str)
        and name == Path(name).name
        and name.isprintable()
        and name.endswith(".safetensors")
    )
