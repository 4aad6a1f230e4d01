"""Sign commits and tags with git's own SSH signatures, as git's configuration says.

The key, the program and whether to sign are read from git's configuration (``user.signingKey``,
``gpg.format``, ``gpg.ssh.program``, ``commit.gpgSign``, ``tag.gpgSign``), so that stock git and the
store agree. Signing itself is ``ssh-keygen -Y sign -n git``: no key is ever read here.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pygit2

from adapterstore.errors import SigningFailed

NAMESPACE = "git"
PROGRAM = "ssh-keygen"
BEGIN = "-----BEGIN SSH SIGNATURE-----"
_LITERAL = ("key::", "ssh-", "ecdsa-", "sk-")
_SECONDS = 120
"""How long a signature may take; a security key waits to be touched."""

# Without a terminal and without a dialog, a locked key is an error and never a question: the
# daemon must not hang, and a question in the middle of a batch is answered by nobody.
_NEVER_ASK = ("env", "SSH_ASKPASS_REQUIRE=never", "LC_ALL=C")


@dataclass(frozen=True)
class Signer:
    """A key that ``ssh-keygen`` can sign with: a file, or a public key that the agent holds."""

    key: str
    program: str = PROGRAM

    def sign(self, payload: bytes) -> str:
        """Return git's armored SSH signature of a commit's or a tag's text.

        Raises:
            SigningFailed: there is no such key or program, or the key is locked.
        """
        if not self.key.startswith(_LITERAL):
            return self._run(payload, str(Path(self.key).expanduser()))
        with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
            file.write(self.key.removeprefix("key::") + "\n")
            file.flush()
            # -U: the private half is with the agent.
            return self._run(payload, file.name, "-U")

    def _run(self, payload: bytes, path: str, *options: str) -> str:
        arguments = ("-Y", "sign", "-n", NAMESPACE, *options, "-f", path)
        run = run_ssh_keygen(self.program, arguments, payload)
        text = run.stdout.decode(errors="replace")
        if run.returncode or not text.startswith(BEGIN):
            raise SigningFailed(self.key, _explain(run.stderr.decode(errors="replace")))
        return text.replace("\r\n", "\n")


def _explain(stderr: str) -> str:
    """Return why ssh-keygen did not sign, and what to do."""
    reason = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    if "passphrase" in stderr:
        return "the key needs its passphrase; unlock it once: ssh-add KEY"
    if "agent" in stderr and "Couldn't" in stderr:
        return f"{reason}; start ssh-agent and add the key: ssh-add KEY"
    return f"ssh-keygen says: {reason}" if reason else "ssh-keygen gave no signature"


def run_ssh_keygen(
    program: str, arguments: Sequence[str], data: bytes
) -> subprocess.CompletedProcess[bytes]:
    """Run ``ssh-keygen`` on ``data``; it can ask nobody anything.

    Raises:
        SigningFailed: it is not installed, or does not end.
    """
    try:
        run = subprocess.run(
            [*_NEVER_ASK, program, *arguments],
            input=data,
            capture_output=True,
            check=False,
            start_new_session=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SigningFailed(program, f"gave no answer for {_SECONDS} s") from error
    except OSError as error:
        raise SigningFailed(program, error.strerror or str(error)) from error
    if run.returncode in (126, 127):
        raise SigningFailed(program, "is not installed; install OpenSSH's client (openssh-client)")
    return run


def read_signer(
    git: pygit2.Repository, kind: Literal["commit", "tag"], sign: bool | None
) -> Signer | None:
    """Return what signs commits or tags, or None if they are not to be signed.

    Args:
        git: whose configuration is read.
        kind: what is signed.
        sign: True or False decides; None leaves it to ``commit.gpgSign`` or ``tag.gpgSign``.

    Raises:
        SigningFailed: a signature is wanted, but no SSH key is configured.
    """
    config = git.config
    if sign is None:
        name = f"{kind}.gpgSign"
        sign = name in config and config.get_bool(name)
    if not sign:
        return None
    kind_of_key = configured(git, "gpg.format", "openpgp")
    if kind_of_key != "ssh":
        raise SigningFailed(
            "git's configuration",
            f"gpg.format is {kind_of_key}, and only ssh is supported; set it in the store: "
            "git -C .adapterstore config gpg.format ssh (or commit.gpgSign false)",
        )
    key = configured(git, "user.signingKey", "")
    if not key:
        raise SigningFailed(
            "git's configuration",
            "user.signingKey is not set; name a key: git config --global user.signingKey FILE",
        )
    program = configured(git, "gpg.ssh.program", PROGRAM)
    return Signer(key, str(Path(program).expanduser()))


def configured(git: pygit2.Repository, name: str, default: str) -> str:
    """Return a value of git's configuration: the store's own, the user's or the machine's."""
    try:
        return str(git.config[name])
    except KeyError:
        return default
