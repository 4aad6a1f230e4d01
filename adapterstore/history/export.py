"""Write a state as files that other tools load: a LoRA adapter, a dense delta, a merged model."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from adapterstore.adapters.dense import write_delta
from adapterstore.adapters.merged import changes_a_shared_layer, check_tied, merge_into_base
from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.adapters.tensor_writer import write_tensor_file
from adapterstore.algebra.compact import compact_lora
from adapterstore.algebra.dense import DenseSum
from adapterstore.algebra.lowrank import MaterializedLora, materialize_lora
from adapterstore.errors import CannotExport, UnreadableFile
from adapterstore.history.ingest import LORA_CONFIG, LORA_WEIGHTS
from adapterstore.history.leaves import Leaves, open_leaves
from adapterstore.history.model_card import model_card
from adapterstore.history.snapshot import Snapshot
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.durable import fsync_folder
from adapterstore.store.refusals import naming
from adapterstore.store.repository import Repository

ExportKind = Literal["lora", "delta", "model"]


def lora_of(leaves: Leaves, base_name: str | None, what: str) -> MaterializedLora:
    """Return the terms as one LoRA adapter for the base of this name: ranks concatenated, exact.

    Raises:
        CannotExport: a term is dense, or there is none.
    """
    _check_lora(leaves, what)
    return _of_base(materialize_lora(leaves.lora), base_name)


def _check_lora(leaves: Leaves, what: str) -> None:
    if leaves.dense:
        raise CannotExport(
            f"{what} as lora", "it holds a dense delta; export it as delta or as model"
        )
    if not leaves.lora:
        raise CannotExport(f"{what} as lora", "it is the base model itself, the empty sum")


def _of_base(lora: MaterializedLora, base_name: str | None) -> MaterializedLora:
    return dataclasses.replace(lora, config={**lora.config, "base_model_name_or_path": base_name})


@dataclass(frozen=True)
class Exported:
    """What was written."""

    kind: ExportKind
    rank: int | None = None
    """Of a lora that was folded: its rank."""
    relative_error: float | None = None
    """Of a lora that was folded: ‖ΔW − ΔW′‖ / ‖ΔW‖, Frobenius."""


def export_state(
    repository: Repository,
    snapshot: Snapshot,
    what: str,
    target: Path,
    kind: ExportKind | None,
    base_folder: Callable[[], Path],
    progress: Progress = NO_PROGRESS,
    rank: int | None = None,
    base_name: str | None = None,
) -> Exported:
    """Write a state into a folder that is not there yet, all of it or nothing.

    Args:
        repository: the store.
        snapshot: the state.
        what: its name, for messages.
        target: the folder to make.
        kind: None chooses ``lora`` where every term is one, else ``delta``.
        base_folder: gives the base's weights; asked for ``model``, and for a ``delta`` where a
            LoRA is on a layer that the base may have tied to another.
        progress: told of every tensor file.
        rank: of a lora, the most to keep; the best adapter of that rank is taken.
        base_name: of a lora, what peft shall load the base by (None: the base's name in the store).

    Raises:
        CannotExport: the state has no such form, has no rank to keep, or the folder is there
            already.
        CorruptStore: a delta's bytes are not what its id says.
    """
    if kind not in (None, *get_args(ExportKind)):
        raise CannotExport(f"{what} as {kind}", f"choose one of {', '.join(get_args(ExportKind))}")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise CannotExport(f"{what} at rank {rank}", "a rank is a whole number of at least 1")
    with open_leaves(repository, snapshot.composition, progress) as leaves, _new(target) as draft:
        chosen: ExportKind = kind or ("delta" if leaves.dense and rank is None else "lora")
        exported = Exported(chosen)
        base_name = base_name or snapshot.base.name
        if rank is not None and chosen != "lora":
            raise CannotExport(f"{what} as {chosen} of rank {rank}", "only a lora has a rank")
        if chosen == "lora" and rank is not None:
            _check_lora(leaves, what)
            compacted = compact_lora(leaves.lora, rank, progress)
            lora = _of_base(compacted.lora, base_name)
            write_lora(lora, draft, progress)
            exported = Exported("lora", lora.rank, compacted.relative_error)
        elif chosen == "lora":
            write_lora(lora_of(leaves, base_name, what), draft, progress)
        elif chosen == "delta":
            if not leaves.terms:
                raise CannotExport(f"{what} as delta", "it is the base model itself, the empty sum")
            if any(changes_a_shared_layer(leaf) for _, leaf in leaves.lora):
                check_tied(leaves.terms, read_model_folder(base_folder()), "delta")
            write_delta(draft, DenseSum(leaves.terms), snapshot.base.name, progress=progress)
        else:
            merge_into_base(base_folder(), leaves.terms, draft, progress)
        card = model_card(snapshot.base, snapshot.composition, f"State {snapshot.commit[:12]}")
        (draft / "README.md").write_text(card, encoding="utf-8")
    return exported


def write_lora(lora: MaterializedLora, folder: Path, progress: Progress = NO_PROGRESS) -> None:
    """Write an adapter as a PEFT folder, tensor by tensor."""
    config = json.dumps(lora.config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / LORA_CONFIG).write_text(config, encoding="utf-8")
    progress.start("writing the adapter", len(lora.shapes))
    described = {name: ("F32", shape) for name, shape in lora.shapes.items()}
    metadata = {"format": "pt"}
    write_tensor_file(
        folder / LORA_WEIGHTS, described, lora.tensors.__getitem__, metadata, progress
    )


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


@contextmanager
def _new(target: Path) -> Iterator[Path]:
    """Give a folder beside ``target`` to fill; it takes the target's name at the end."""
    if target.is_symlink() or (target.exists() and not (target.is_dir() and _is_empty(target))):
        raise CannotExport(f"to {target}", "it is there already; name a new folder")
    # The current folder, say, has its name in the folder above.
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UnreadableFile(str(target), error.strerror or str(error)) from error
    try:
        with naming(target):
            yield draft
        draft.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        draft.rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
