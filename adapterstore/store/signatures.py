"""Check SSH signatures of commits and tags against an allowed-signers file, as stock git does."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import pygit2

from adapterstore.identifiers import CommitId
from adapterstore.store.dates import in_calendar
from adapterstore.store.repository import Repository
from adapterstore.store.signing import BEGIN, NAMESPACE, PROGRAM, configured, run_ssh_keygen

Judgement = Literal["good", "unsigned", "bad", "unknown-signer", "unchecked"]
"""``unchecked``: intact, but no allowed-signers file says whose keys count."""

_KEY = re.compile(r"with (\S+ key \S+)")


@dataclass(frozen=True)
class SignatureCheck:
    """What came of one signature."""

    judgement: Judgement
    signer: str | None = None
    """The principal in the allowed-signers file, or the key where there is none."""


@dataclass(frozen=True)
class Signed:
    """A commit's or a tag's text, its signature (None: unsigned) and its date."""

    payload: bytes
    signature: str | None
    time: int


def signed_commit(repository: Repository, commit_id: CommitId) -> Signed:
    """Return what a commit's signature is about; raise `CorruptStore` if it is not there."""
    commit = repository.commit(commit_id)
    signature, payload = commit.gpg_signature
    if signature is None or payload is None:
        return Signed(b"", None, commit.commit_time)
    return Signed(payload, signature.decode(errors="replace"), commit.commit_time)


def signed_tag(repository: Repository, tag: pygit2.Tag) -> Signed:
    """Return what a tag's signature is about: the text before it."""
    text = repository.git.odb.read(tag.id)[1]
    seconds = tag.tagger.time if tag.tagger is not None else 0
    start = text.find(b"-----BEGIN ")
    while start > 0 and text[start - 1 : start] != b"\n":
        start = text.find(b"-----BEGIN ", start + 1)
    if start < 0:
        return Signed(text, None, seconds)
    return Signed(text[:start], text[start:].decode(errors="replace"), seconds)


def find_allowed_signers(repository: Repository) -> Path | None:
    """Return the allowed-signers file that git's configuration names, if it is there."""
    name = configured(repository.git, "gpg.ssh.allowedSignersFile", "")
    path = Path(name).expanduser()
    return path if name and path.is_file() else None


class SignatureChecker:
    """Judges signatures by one allowed-signers file."""

    def __init__(self, repository: Repository, allowed_signers: Path | None):
        """Take ``allowed_signers``; None: any key will do, and none is vouched for."""
        self._program = configured(repository.git, "gpg.ssh.program", PROGRAM)
        self._allowed = allowed_signers
        revoked = configured(repository.git, "gpg.ssh.revocationFile", "")
        self._revoked = ["-r", str(Path(revoked).expanduser())] if revoked else []

    def check(self, signed: Signed) -> SignatureCheck:
        """Judge one signature.

        Raises:
            SigningFailed: ``ssh-keygen`` is not installed.
        """
        if signed.signature is None:
            return SignatureCheck("unsigned")
        if not signed.signature.startswith(BEGIN):
            return SignatureCheck("bad", "a signature of another kind than SSH")
        with tempfile.NamedTemporaryFile("w", suffix=".sig") as file:
            file.write(signed.signature)
            file.flush()
            intact, key = self._is_intact(signed.payload, file.name)
            if not intact:
                return SignatureCheck("bad", key)
            if self._allowed is None:
                return SignatureCheck("unchecked", key)
            return self._find_signer(signed, file.name, key)

    def _is_intact(self, payload: bytes, signature: str) -> tuple[bool, str | None]:
        code, output = self._run(payload, "check-novalidate", "-s", signature)
        key = _KEY.search(output)
        return code == 0, key[1] if key else None

    def _find_signer(self, signed: Signed, signature: str, key: str | None) -> SignatureCheck:
        # Whether a key was good is asked for the date of the signature, not for today.
        date = datetime.fromtimestamp(in_calendar(signed.time))
        at = date.strftime("-Overify-time=%Y%m%d%H%M%S")
        allowed = ["-f", str(self._allowed), "-s", signature, at]
        code, output = self._run(signed.payload, "find-principals", *allowed)
        for principal in output.splitlines() if code == 0 else []:
            options = [*allowed, "-I", principal, *self._revoked]
            if self._run(signed.payload, "verify", *options)[0] == 0:
                return SignatureCheck("good", principal)
        return SignatureCheck("unknown-signer", key)

    def _run(self, payload: bytes, action: str, *options: str) -> tuple[int, str]:
        arguments = ("-Y", action, "-n", NAMESPACE, *options)
        run = run_ssh_keygen(self._program, arguments, payload)
        return run.returncode, run.stdout.decode(errors="replace")
