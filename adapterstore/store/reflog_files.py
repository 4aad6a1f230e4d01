"""All reflogs as the lines of files, to be cut or rewritten as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapterstore.store.durable import fsync_folder, put_file
from adapterstore.store.repository import Repository

NOTHING = "0" * 40
_LINE = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) (.*?) (\d+) ([+-]\d{4})(?:\t(.*))?")


@dataclass(frozen=True)
class ReflogLine:
    """One line of a reflog; only a line that is none has no time."""

    text: bytes
    ids: tuple[str, ...] = ()
    """The commits that it names: before, after (never the id of nothing)."""
    time: int | None = None
    """Seconds since 1970."""


def read_reflogs(repository: Repository) -> dict[str, list[ReflogLine]]:
    """Return every reflog: ref name (or ``HEAD``) → lines, oldest first."""
    folder = repository.folder / "logs"
    return {
        str(path.relative_to(folder)): [_parse(line) for line in path.read_bytes().splitlines()]
        for path in sorted(p for p in folder.rglob("*") if p.is_file())
    }


def _parse(text: bytes) -> ReflogLine:
    match = _LINE.fullmatch(text)
    if match is None:
        return ReflogLine(text)
    ids = tuple(i.decode() for i in (match[1], match[2]) if i.decode() != NOTHING)
    return ReflogLine(text, ids, int(match[4]))


def write_reflog(repository: Repository, name: str, lines: Sequence[bytes]) -> None:
    """Replace a ref's reflog at once; without lines it stays, empty.

    The caller keeps other writers of this store out.
    """
    path = repository.folder / "logs" / name
    with repository.objects.scratch() as scratch:
        # Not beside it: every file under logs/ is a reflog.
        aside = scratch / "reflog"
        put_file(aside, b"".join(line + b"\n" for line in lines))
        aside.replace(path)
    fsync_folder(path.parent)
