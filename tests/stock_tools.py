"""Stock git and git-lfs as judges of a store."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def stores_below(folder: Path) -> Iterator[Path]:
    """Yield every ``.adapterstore`` below a folder."""
    for path, folders, _ in os.walk(folder):
        if ".adapterstore" in folders:
            yield Path(path) / ".adapterstore"
            folders.remove(".adapterstore")


def stock_tools_agree(store: Path) -> None:
    """Assert that ``git fsck --full`` and ``git lfs fsck`` find nothing wrong with a store.

    Objects that nothing names are no fault: rejected attempts leave some, and ``gc`` takes them.
    A store that is, byte for byte, one which they found sound before is not shown to them again.
    """
    content = _content(store)
    if content in _sound:
        return
    said = _git(store, "fsck", "--full", "--strict", "--no-dangling", "--no-progress")
    assert not said.strip(), f"git fsck of {store}: {said}"
    for branch in _git(store, "for-each-ref", "--format=%(refname)", "refs/heads").split():
        said = _git(store, "lfs", "fsck", "--dry-run", branch)
        assert "Git LFS fsck OK" in said, f"git lfs fsck of {store}, {branch}: {said}"
    _sound.add(content)


_sound: set[bytes] = set()


def _content(store: Path) -> bytes:
    """Return a digest of all that stock tools look at: names, sizes and bytes."""
    digest = hashlib.sha256()
    for name in ("HEAD", "config", "packed-refs", "shallow", "info", "refs", "objects", "lfs"):
        path = store / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                data = file.read_bytes()
                digest.update(f"{file.relative_to(store)}\0{len(data)}\0".encode())
                digest.update(data)
    return digest.digest()


def _git(store: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=store, capture_output=True, encoding="utf-8", check=False
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, f"git {' '.join(arguments)} in {store}: {output}"
    return output
