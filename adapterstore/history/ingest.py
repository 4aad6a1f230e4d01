"""From an adapter, delta or model on disk to a delta in the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterstore.adapters.base_model import Alias, BaseModel
from adapterstore.adapters.dense import DenseDelta, difference, read_delta
from adapterstore.adapters.finite import FiniteCheck
from adapterstore.adapters.lora import LoraAdapter, read_lora
from adapterstore.adapters.operand import identify_operand
from adapterstore.adapters.tensor_file import TensorFile, read_tensor_file
from adapterstore.algebra.coefficient import ONE
from adapterstore.algebra.composition import Composition, Term
from adapterstore.errors import UnreadableFile
from adapterstore.history.fit import base_with_adapter, base_with_delta
from adapterstore.identifiers import DeltaId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.objects import StagedFile
from adapterstore.store.repository import Repository

LORA_CONFIG = "adapter_config.json"
LORA_WEIGHTS = "adapter_model.safetensors"
DELTA_CONFIG = "delta.json"
_CHANGED = "it changed while it was read; try again"


@dataclass(frozen=True)
class IngestedDelta:
    """A delta whose bytes are in the store; no commit names it yet."""

    delta: DeltaId
    fit: Callable[[BaseModel], BaseModel]
    """Checks the delta against a base model; returns the base with what the delta tells of it."""

    def composition(self, role: str = "adapter") -> Composition:
        """Return 1 · delta."""
        return Composition.of([Term(self.delta, ONE, role)])


def ingest(
    repository: Repository,
    path: Path,
    base: BaseModel,
    aliases: Sequence[Alias],
    base_folder: Callable[[], Path],
    progress: Progress = NO_PROGRESS,
) -> IngestedDelta:
    """Validate a PEFT folder, delta folder or fine-tuned model, and store its tensor files.

    Args:
        repository: the store.
        path: the folder, or the safetensors file in it.
        base: what the store knows of its base model.
        aliases: other names of the base model, and its folder.
        base_folder: gives the base's weights; asked only for a fine-tuned model, whose delta is
            tuned − base.
        progress: told of every byte.

    Raises:
        UnreadableFile, MalformedAdapter, MalformedTensorFile: the files are not what they say.
        NotLinear: an adapter that is no linear change of weights.
        BaseModelMismatch, ShapeMismatch: made for another model.
    """
    kind, folder = identify_operand(path)
    if kind == "lora":
        adapter = read_lora(folder)
        base_with_adapter(base, adapter, aliases)
        return _store_lora(repository, adapter, aliases, progress)
    if kind == "delta":
        delta = read_delta(folder)
        base_with_delta(base, delta, aliases)
        return store_dense(repository, delta, aliases, progress, move=False)
    with repository.objects.scratch() as scratch:
        delta = difference(base_folder(), folder, scratch / "delta", base.name, progress)
        return store_dense(repository, delta, aliases, progress, move=True)


def _store_lora(
    repository: Repository, adapter: LoraAdapter, aliases: Sequence[Alias], progress: Progress
) -> IngestedDelta:
    config = _read_bytes(adapter.folder / LORA_CONFIG)
    if not _says(config, adapter.config):
        raise UnreadableFile(str(adapter.folder / LORA_CONFIG), _CHANGED)
    with _stage(repository, adapter.tensor_file, progress) as staged:
        pointer = repository.objects.publish(staged)
    folder = {LORA_CONFIG: config, LORA_WEIGHTS: pointer.to_bytes()}
    delta = DeltaId(str(repository.write_tree(None, folder)))
    return IngestedDelta(delta, lambda base: base_with_adapter(base, adapter, aliases))


def store_dense(
    repository: Repository,
    delta: DenseDelta,
    aliases: Sequence[Alias],
    progress: Progress,
    move: bool,
) -> IngestedDelta:
    """Store a checked delta folder; with ``move``, its shards are taken, not copied."""
    files = {DELTA_CONFIG: _read_bytes(delta.folder / DELTA_CONFIG)}
    with ExitStack() as stack:
        staged_files = {}
        for name, tensor_file in delta.shards.items():
            staged = stack.enter_context(_stage(repository, tensor_file, progress, move))
            staged_files[name] = staged
        for name, staged in staged_files.items():
            files[name] = repository.objects.publish(staged).to_bytes()
    stored = DeltaId(str(repository.write_tree(None, files)))
    return IngestedDelta(stored, lambda base: base_with_delta(base, delta, aliases))


@contextmanager
def _stage(
    repository: Repository, tensor_file: TensorFile, progress: Progress, move: bool = False
) -> Iterator[StagedFile]:
    check = FiniteCheck(tensor_file)
    with repository.objects.stage(tensor_file.path, progress, move, check) as staged:
        _check_unchanged(tensor_file, staged.path)
        check.finish(staged.path)
        yield staged


def _check_unchanged(checked: TensorFile, copy: Path) -> None:
    """The header was checked first, the bytes copied after: both must be of one file."""
    copied = read_tensor_file(copy)
    if (copied.size, copied.tensors) != (checked.size, checked.tensors):
        raise UnreadableFile(str(checked.path), _CHANGED)


def _says(data: bytes, checked: dict[str, Any]) -> bool:
    """Return whether JSON text, read again to be stored, is the content that was checked."""
    try:
        # As text, since a NaN is not equal to itself.
        return json.dumps(json.loads(data.decode())) == json.dumps(checked)
    except (ValueError, RecursionError):
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
