"""Real SSH keys, and stores whose git configuration signs with them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pygit2


@dataclass(frozen=True)
class Key:
    """A key pair made by ``ssh-keygen``, and an allowed-signers file that vouches for it."""

    private: Path
    allowed_signers: Path
    principal: str

    @property
    def public_text(self) -> str:
        """The public key as one line."""
        return Path(f"{self.private}.pub").read_text().strip()


def make_key(folder: Path, name: str, passphrase: str = "") -> Key:
    """Make an Ed25519 key."""
    folder.mkdir(exist_ok=True)
    private = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", private],
        check=True,
    )
    principal = f"{name}@example.org"
    allowed = folder / f"{name}.allowed"
    allowed.write_text(f"{principal} {Path(f'{private}.pub').read_text()}")
    return Key(private, allowed, principal)


def configure(git_folder: Path, key: Key) -> None:
    """Write into a repository's own configuration what ``git config`` would."""
    config = pygit2.Repository(str(git_folder)).config
    config["user.name"] = "監査 Auditor"
    config["user.email"] = key.principal
    config["gpg.format"] = "ssh"
    config["user.signingKey"] = str(key.private)
    config["gpg.ssh.allowedSignersFile"] = str(key.allowed_signers)
    config["commit.gpgSign"] = True
    config["tag.gpgSign"] = True


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run stock git in a repository."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
