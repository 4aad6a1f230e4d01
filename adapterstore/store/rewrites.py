"""Which commits took the places of which when history was rewritten: ``rewrites/*.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping

from adapterstore.errors import CorruptStore, UnsupportedFormat
from adapterstore.store.durable import make_folder, write_file
from adapterstore.store.repository import Repository

FOLDER = "rewrites"
REWRITES_FORMAT = 1


def read_rewrites(repository: Repository) -> dict[str, str]:
    """Return old object id → new one, of all rewritings; a new one may be old in another.

    Raises:
        CorruptStore: a file that is none.
        UnsupportedFormat: a newer release wrote it.
    """
    found: dict[str, str] = {}
    for path in sorted((repository.folder / FOLDER).glob("*.json")):
        where = f"{FOLDER}/{path.name}"
        try:
            content = json.loads(path.read_bytes())
            version, objects = content["format"], content["objects"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptStore(where, f"not a map of object ids ({error!r})") from error
        if not isinstance(version, int) or version > REWRITES_FORMAT:
            raise UnsupportedFormat(where, version, REWRITES_FORMAT)
        found.update(objects)
    return found


def write_rewrites(repository: Repository, update: str, objects: Mapping[str, str]) -> None:
    """Write down what became of the objects that held an update's text; durable, and added up."""
    folder = repository.folder / FOLDER
    make_folder(folder)
    path = folder / f"{update}.json"
    earlier = json.loads(path.read_bytes())["objects"] if path.exists() else {}
    content = {
        "format": REWRITES_FORMAT,
        "update": update,
        "objects": dict(sorted({**earlier, **objects}.items())),
    }
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def find_rewritten(repository: Repository, text: str) -> str | None:
    """Return what an old id, or the start of one, has become (None: nothing that is known)."""
    objects = read_rewrites(repository)
    known = [old for old in objects if old.startswith(text.lower())]
    if len(known) != 1:
        return None
    new = objects[known[0]]
    while new in objects:
        new = objects[new]
    return new
