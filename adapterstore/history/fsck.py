"""Check every object, tree, composition and ref of a store; change nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pygit2

from adapterstore.adapters.dense import read_delta
from adapterstore.adapters.lora import read_lora
from adapterstore.errors import AdapterStoreError, CorruptStore
from adapterstore.history.ingest import DELTA_CONFIG, LORA_CONFIG, LORA_WEIGHTS
from adapterstore.history.snapshot import GIT_ATTRIBUTES, read_snapshot
from adapterstore.identifiers import CommitId, DeltaId, ObjectId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.fsck import Findings, check_repository, check_tensor_files
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository, intact


def fsck(repository: Repository, progress: Progress = NO_PROGRESS) -> Findings:
    """Return what is wrong with a store; an empty list of problems means that it is sound.

    Git objects are hashed by libgit2, tensor files by us; every commit that a ref or a reflog
    reaches must have a canonical composition, exactly the delta folders that it names, and adapters
    whose config and tensors agree.
    """
    findings = Findings()
    commits = check_repository(repository, findings, progress)
    deltas: dict[DeltaId, str] = {}
    for commit_id in commits:
        _check_commit(repository, commit_id, deltas, findings)
    pointers: dict[ObjectId, tuple[Pointer, str]] = {}
    folders = {
        delta: _read_delta_folder(repository, delta, where, pointers, findings)
        for delta, where in sorted(deltas.items())
    }
    sound = set(check_tensor_files(repository, pointers, findings, progress))
    for delta, files in folders.items():
        _check_delta(repository, delta, files, sound, findings)
    return findings


def _check_commit(
    repository: Repository, commit_id: CommitId, deltas: dict[DeltaId, str], findings: Findings
) -> None:
    where = f"commit {commit_id}"
    try:
        snapshot = read_snapshot(repository, commit_id)
        attributes = repository.read(commit_id, ".gitattributes")
        tree = repository.tree(commit_id, "deltas")
        with intact(f"{where}: deltas"):
            entries = list(tree) if tree is not None else []
    except CorruptStore as error:
        findings.report(error.where, error.problem)
        return
    except AdapterStoreError as error:
        findings.report(where, str(error))
        return
    findings.count("compositions")
    if attributes != GIT_ATTRIBUTES:
        findings.report(where, ".gitattributes does not send tensor files to Git LFS")
    named = {str(term.delta) for term in snapshot.composition}
    present = {str(entry.name): str(entry.id) for entry in entries}
    for delta in sorted(named - set(present)):
        findings.report(where, f"names delta {delta}, but has no folder of it")
    for name, tree_id in sorted(present.items()):
        if name != tree_id:
            findings.report(where, f"deltas/{name} has the tree id {tree_id}")
        elif name not in named:
            findings.report(where, f"deltas/{name} is in no term of its composition")
        else:
            deltas.setdefault(DeltaId(name), where)


def _read_delta_folder(
    repository: Repository,
    delta: DeltaId,
    where: str,
    pointers: dict[ObjectId, tuple[Pointer, str]],
    findings: Findings,
) -> dict[str, bytes | Pointer]:
    findings.count("deltas")
    files: dict[str, bytes | Pointer] = {}
    try:
        tree = repository.folder_at(delta)
        with intact(f"delta {delta}"):
            entries = list(tree) if tree is not None else []
    except CorruptStore as error:
        findings.report(error.where, error.problem)
        return files
    if tree is None:
        findings.report(where, f"deltas/{delta} is not a folder")
        return files
    for entry in entries:
        place = f"{where}: deltas/{delta}/{entry.name}"
        if not isinstance(entry, pygit2.Blob):
            findings.report(place, "is not a file")
            continue
        try:
            with intact(place):
                data = entry.data
        except CorruptStore as error:
            findings.report(error.where, error.problem)
            continue
        if str(entry.name).endswith(".safetensors"):
            try:
                pointer = Pointer.from_bytes(data, place)
            except CorruptStore as error:
                findings.report(error.where, error.problem)
                continue
            files[str(entry.name)] = pointer
            pointers.setdefault(pointer.object_id, (pointer, place))
        else:
            files[str(entry.name)] = data
    return files


def _check_delta(
    repository: Repository,
    delta: DeltaId,
    files: dict[str, bytes | Pointer],
    sound: set[Path],
    findings: Findings,
) -> None:
    """Check that config and tensor headers agree, once the bytes are known to be right."""
    weights = {
        name: repository.objects.path(pointer.object_id)
        for name, pointer in files.items()
        if isinstance(pointer, Pointer)
    }
    if not set(weights.values()) <= sound:
        return
    with TemporaryDirectory(prefix="adapterstore-") as scratch:
        folder = Path(scratch)
        for name, data in files.items():
            if isinstance(data, bytes):
                (folder / name).write_bytes(data)
        try:
            if LORA_CONFIG in files and LORA_WEIGHTS in weights:
                read_lora(folder, f"delta {delta}", weights[LORA_WEIGHTS])
            elif DELTA_CONFIG in files:
                read_delta(folder, weights)
            else:
                findings.report(f"delta {delta}", "is neither an adapter nor a dense delta")
        except AdapterStoreError as error:
            findings.report(f"delta {delta}", str(error))
