"""Who signed the commits and tags, and whether somebody on the allowed-signers list did."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pygit2

from adapterstore.errors import SigningFailed
from adapterstore.history.audit.findings import Verification
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.signatures import (
    Judgement,
    SignatureChecker,
    Signed,
    find_allowed_signers,
    signed_commit,
    signed_tag,
)

VALID = "a valid signature of an allowed signer"
_COUNTED: dict[Judgement, str] = {
    "good": "good signatures",
    "unsigned": "unsigned",
    "bad": "bad signatures",
    "unknown-signer": "unknown signers",
    "unchecked": "signatures by nobody known",
}


class SignatureVerifier:
    """Judges every signature by one allowed-signers file."""

    def __init__(self, repository: Repository, allowed_signers: Path | None, required: bool):
        """Take ``allowed_signers`` (None: as git's configuration says).

        With ``required``, what is unsigned, or signed by a key that nobody vouches for, is a
        finding.
        """
        self._repository, self._required = repository, required
        self._allowed = allowed_signers or find_allowed_signers(repository)
        self._checker = SignatureChecker(repository, self._allowed)

    def verify_commit(self, commit: CommitId, verification: Verification) -> None:
        """Judge a commit's signature."""
        self._verify(commit, signed_commit(self._repository, commit), verification)

    def verify_tags(self, commits: Collection[CommitId], verification: Verification) -> None:
        """Judge the annotated tags that name one of these commits."""
        git = self._repository.git
        for name in git.references:
            if not name.startswith("refs/tags/"):
                continue
            tag = git.get(git.references[name].target)
            if not isinstance(tag, pygit2.Tag) or str(tag.peel(pygit2.Commit).id) not in commits:
                continue
            verification.count("tags")
            shown = name.removeprefix("refs/tags/")
            if tag.name != shown:
                verification.report(name, "the tag's own name", shown, tag.name)
            self._verify(name, signed_tag(self._repository, tag), verification)

    def _verify(self, where: str, signed: Signed, verification: Verification) -> None:
        try:
            result = self._checker.check(signed)
        except SigningFailed as error:
            text = f"signatures were not checked: {error.what} {error.problem}"
            verification.note(text)
            if self._required:
                verification.report(where, "signature", VALID, text, intact=True)
            return
        verification.count(_COUNTED[result.judgement])
        key = result.signer or "an unreadable key"
        match result.judgement:
            case "bad":
                verification.report(
                    where, "signature", VALID, f"one that does not fit the text ({key})"
                )
            case "unknown-signer":
                verification.report(
                    where, "signature", VALID, f"one by {key}, who is not allowed", intact=True
                )
            case "unsigned" if self._required:
                verification.report(where, "signature", VALID, "none", intact=True)
            case "unchecked":
                verification.note(
                    "signatures are intact, but nobody says whose keys count; name an allowed-"
                    "signers file: git config gpg.ssh.allowedSignersFile FILE"
                )
                if self._required:
                    verification.report(
                        where, "signature", VALID, f"one by {key}; no list of keys", intact=True
                    )
