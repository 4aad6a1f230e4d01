"""An in-toto statement about one update, as SLSA provenance in a DSSE envelope.

Statement and provenance: in-toto-attestation; envelope and signature: securesystemslib. Both come
with ``pip install adapterstore[attest]``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapterstore.errors import MissingLibrary, SigningFailed, UnreadableFile
from adapterstore.history.snapshot import delta_files
from adapterstore.history.store import Store
from adapterstore.identifiers import CommitId, DeltaId
from adapterstore.store.messages import parse_trailers
from adapterstore.store.objects import Pointer
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update
from adapterstore.store.signing import configured
from adapterstore.update.record import UpdateRecord, read_update_record

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:adapterstore:update:v1"
"""What the external parameters mean: the facts and the recipe of `run_update`."""


def attest(store: Store, update: str, key: Path | None = None) -> bytes:
    """Return a signed statement about an update: a DSSE envelope as JSON.

    The subjects are the update's tensor files by SHA-256 and its commits; the predicate says from
    which facts, recipe and base they were made, with what, and what was measured.

    Args:
        store: the store.
        update: an update's id or ``update/ID``.
        key: an unencrypted private key, PEM or OpenSSH (None: git's ``user.signingKey``).

    Raises:
        UnknownRevision, AmbiguousRevision: no such update, or several.
        CorruptStore: what was recorded of it can't be read.
        MissingLibrary: the libraries are not installed.
        SigningFailed, UnreadableFile: no usable key.
    """
    try:
        from securesystemslib.dsse import Envelope
    except ImportError as error:
        raise MissingLibrary("attest", "in-toto-attestation and securesystemslib") from error
    signer = _load_signer(_key_path(store.repository, key))
    payload = json.dumps(statement(store.repository, update), sort_keys=True, ensure_ascii=False)
    envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=1) + "\n").encode()


def statement(repository: Repository, update: str) -> dict[str, Any]:
    """Return the in-toto statement about an update, as JSON values; see `attest`."""
    try:
        from google.protobuf.json_format import MessageToDict
        from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
        from in_toto_attestation.v1.statement import Statement
    except ImportError as error:
        raise MissingLibrary("attest", "in-toto-attestation and securesystemslib") from error
    commits = find_update(repository, update.removeprefix("update/"))
    record = read_update_record(repository, commits[-1])
    subjects = []
    for commit in commits:
        trailers = parse_trailers(repository.commit(commit).message)
        name = f"update/{trailers['Update']} {trailers.get('Operation')}"
        subjects.append(ResourceDescriptor(name=name, digest={"gitCommit": commit}))
        for path, object_id in _tensor_files(repository, trailers.get("Delta")):
            subjects.append(ResourceDescriptor(name=path, digest={"sha256": object_id}))
    for subject in subjects:
        subject.validate()
    predicate = _predicate(repository, commits[0], record)
    written = Statement([subject.pb for subject in subjects], PREDICATE_TYPE, predicate)
    written.validate()
    # Protocol buffers keep every number as a double; a seed is to stay the integer that it is.
    return {**MessageToDict(written.pb), "predicate": predicate}


def _tensor_files(repository: Repository, delta: str | None) -> list[tuple[str, str]]:
    """Return path and SHA-256 of the tensor files of a delta."""
    if delta is None:
        return []
    return [
        (f"deltas/{delta}/{name}", Pointer.from_bytes(data, name).object_id)
        for name, data in sorted(delta_files(repository, DeltaId(delta)).items())
        if name.endswith(".safetensors")
    ]


def _predicate(repository: Repository, first: CommitId, record: UpdateRecord) -> dict[str, Any]:
    """Return SLSA provenance v1; what it has no field for stands under ``adapterstore_``."""
    made = record.provenance
    commit = repository.commit(record.commit)
    environment = made.get("environment", {})
    base = made.get("base", {})
    facts = [
        {"name": item["name"], "digest": {"sha256": item["sha256"]}}
        for item in made.get("facts", [])
    ]
    dependencies = [
        {"name": f"base model {base.get('name')}: {role}", "digest": {"sha256": digest}}
        for role, digest in (base.get("digests") or {}).items()
    ]
    before = repository.parents(first)[0]
    state = {"name": "the state before", "digest": {"gitCommit": before}}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "facts": facts,
                "recipe": record.recipe().model_dump(mode="json"),
            },
            "internalParameters": {"gate": made.get("gate"), "environment": environment},
            "resolvedDependencies": [*facts, *dependencies, state],
        },
        "runDetails": {
            "builder": {
                "id": BUILD_TYPE,
                "version": {
                    name: str(value) for name, value in environment.get("versions", {}).items()
                },
            },
            "metadata": {
                "invocationId": f"update/{record.report['update']}",
                "finishedOn": _time(commit.commit_time),
            },
            "adapterstore_metrics": record.report.get("report"),
            "adapterstore_accepted": record.report.get("accepted"),
            "adapterstore_coefficient": record.report.get("coefficient"),
        },
    }


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _key_path(repository: Repository, key: Path | None) -> Path:
    if key is not None:
        return key
    name = configured(repository.git, "user.signingKey", "")
    # As ssh-keygen does: git may name the public half.
    path = Path(name.removesuffix(".pub")).expanduser()
    if not name or not path.is_file():
        raise SigningFailed(
            "git's user.signingKey", "it names no file; name a private key: --key FILE"
        )
    return path


def _load_signer(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )
    from securesystemslib.signer import CryptoSigner

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        return CryptoSigner(load(data, None))
    except TypeError as error:
        raise SigningFailed(
            str(path), "the key needs its passphrase; give one that has none: --key FILE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = " ".join(str(error).split())[:200]
        raise SigningFailed(str(path), f"not a private key that can be used ({reason})") from error
