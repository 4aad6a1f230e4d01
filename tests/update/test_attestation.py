"""In-toto statements about updates, judged by the libraries that define them."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from adapterstore import Store
from adapterstore.errors import MissingLibrary, SigningFailed, UnknownRevision
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.update import run_update
from adapterstore.update.attestation import attest
from tests.cli.running import adapterstore, done
from tests.signing import Key, make_key
from tests.update.test_verification import CROATIA, NO_GATE, ONE_STEP


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key, str]:
    folder = tmp_path_factory.mktemp("attested")
    store = Store.init(folder, base="demo")
    file = parse_fact_file(CROATIA.encode(), "クロアチア.yaml")
    result = run_update(store, [file], recipe=ONE_STEP, gate=NO_GATE)
    return folder, make_key(folder / "keys", "ada"), f"update/{result.update}"


def public_key(key: Key) -> SSlibKey:
    return SSlibKey.from_crypto(load_ssh_public_key(key.public_text.encode()))  # type: ignore[arg-type]


def envelope_of(data: bytes) -> Envelope:
    return Envelope.from_dict(json.loads(data))


def test_the_library_verifies_the_envelope(made: tuple[Path, Key, str], tmp_path: Path) -> None:
    folder, key, update = made
    envelope = envelope_of(attest(Store.open(folder), update, key.private))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert envelope.verify([public_key(key)], 1)
    other = make_key(tmp_path / "others", "bob")
    with pytest.raises(VerificationError):
        envelope.verify([public_key(other)], 1)
    envelope.payload = envelope.payload.replace(b"euro", b"lira").replace(b"seed", b"sead")
    with pytest.raises(VerificationError):
        envelope.verify([public_key(key)], 1)


def test_the_statement_is_what_in_toto_and_slsa_define(made: tuple[Path, Key, str]) -> None:
    folder, key, update = made
    store = Store.open(folder)
    payload = envelope_of(attest(store, update, key.private)).payload
    statement = json_format.Parse(payload, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    assert statement.predicate_type == "https://slsa.dev/provenance/v1"

    content: dict[str, Any] = json.loads(payload)
    predicate = content["predicate"]
    # Fields that SLSA does not define are allowed, and only those of our own prefix are there.
    slsa = json.dumps(
        {
            **predicate,
            "runDetails": {k: v for k, v in predicate["runDetails"].items() if "_" not in k},
        }
    )
    parsed = json_format.Parse(slsa, provenance_pb2.Provenance())
    assert parsed.build_definition.build_type == "urn:adapterstore:update:v1"
    assert all(key.startswith("adapterstore_") for key in predicate["runDetails"] if "_" in key)


def test_subjects_and_predicate_are_the_updates_own(made: tuple[Path, Key, str]) -> None:
    folder, key, update = made
    store = Store.open(folder)
    content = json.loads(envelope_of(attest(store, update, key.private)).payload)
    subjects = {s["name"]: s["digest"] for s in content["subject"]}
    learn, forget = store.resolve("main"), store.resolve("main~1")
    assert subjects[f"{update} learn"] == {"gitCommit": learn}
    assert subjects[f"{update} forget"] == {"gitCommit": forget}
    leaves = {name: digest for name, digest in subjects.items() if name.startswith("deltas/")}
    assert len(leaves) == 2
    for digest in leaves.values():
        path = store.repository.objects.path(digest["sha256"])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest["sha256"]

    definition = content["predicate"]["buildDefinition"]
    digest = hashlib.sha256(CROATIA.encode()).hexdigest()
    assert definition["externalParameters"]["facts"] == [
        {"name": "クロアチア.yaml", "digest": {"sha256": digest}}
    ]
    recipe = definition["externalParameters"]["recipe"]
    assert recipe == yaml.safe_load(store.repository.read_required(learn, "update/recipe.yaml"))
    assert recipe["learn_steps"] == ONE_STEP.learn_steps
    names = {d["name"]: d["digest"] for d in definition["resolvedDependencies"]}
    assert names["base model demo: weights"] == {
        "sha256": (store.snapshot().base.digests or {})["weights"]
    }
    assert names["the state before"] == {"gitCommit": store.resolve("main~2")}
    details = content["predicate"]["runDetails"]
    report = json.loads(store.repository.read_required(learn, "update/report.json"))
    assert details["adapterstore_metrics"] == report["report"]


def test_the_command_line_writes_it(made: tuple[Path, Key, str], tmp_path: Path) -> None:
    folder, key, update = made
    target, link = tmp_path / "out.json", tmp_path / "link.json"
    link.symlink_to(target)
    done(folder, "attest", update, "-o", str(link), "--key", str(key.private))
    assert envelope_of(target.read_bytes()).verify([public_key(key)], 1)
    for name in (str(key.private), f"{key.private}.pub"):
        Store.open(folder).repository.git.config["user.signingKey"] = name
        printed = done(folder, "attest", update)
        assert envelope_of(printed.encode()).verify([public_key(key)], 1)


def test_what_goes_wrong_is_one_line(
    made: tuple[Path, Key, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key, update = made
    store = Store.open(folder)
    locked = make_key(tmp_path / "keys", "locked", passphrase="secret")
    with pytest.raises(SigningFailed, match="needs its passphrase"):
        attest(store, update, locked.private)
    with pytest.raises(SigningFailed, match="not a private key"):
        attest(store, update, key.allowed_signers)
    with pytest.raises(UnknownRevision, match="no such update"):
        attest(store, "update/0000", key.private)
    run = adapterstore(folder, "attest", update, "--key", str(locked.private))
    assert (run.returncode, len(run.stderr.splitlines())) == (19, 1)
    monkeypatch.setitem(sys.modules, "securesystemslib.dsse", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'adapterstore\[attest\]'"):
        attest(store, update, key.private)
