"""Which files are tables, and which mapping goes with one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MAPPING_ENDINGS = (".map.yaml", ".map.yml")
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
SETTINGS_FOLDER = "tables"
"""In a store's folder: mappings for tables that have none beside them."""


def is_mapping(name: str) -> bool:
    """Return whether a file's name is one of a mapping."""
    return name.lower().endswith(MAPPING_ENDINGS)


def mapped_name(name: str) -> str:
    """Return what a mapping's file name says it maps: ``catalogue`` of ``catalogue.map.yaml``."""
    for ending in MAPPING_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name.partition(".")[0] or name


def find_mapping(table: Path, store_folder: Path | None = None) -> Path | None:
    """Return the mapping of a table: the one beside it, else the one in the store's settings.

    ``catalogue.csv`` is mapped by ``catalogue.map.yaml``, in its own folder or in ``tables/`` of
    the store's. None: there is none, so the file is no table but native facts.
    """
    return find_mappings([table], store_folder)[table]


def find_mappings(
    files: Iterable[Path], store_folder: Path | None = None
) -> dict[Path, Path | None]:
    """Return the mapping of each file, as `find_mapping` does; each folder is read once."""
    settings = [] if store_folder is None else [store_folder / SETTINGS_FOLDER]
    read: dict[Path, dict[str, Path]] = {}
    found: dict[Path, Path | None] = {}
    for file in files:
        found[file] = None
        if file.suffix.lower() not in TABLE_SUFFIXES:
            continue
        for folder in (file.parent, *settings):
            if folder not in read:
                read[folder] = _mappings_in(folder)
            if file.stem in read[folder]:
                found[file] = read[folder][file.stem]
                break
    return found


def _mappings_in(folder: Path) -> dict[str, Path]:
    """Return the mappings in a folder, by the name of what they map."""
    try:
        paths = [path for path in folder.iterdir() if is_mapping(path.name) and path.is_file()]
    except OSError:
        return {}
    # Of several for one table .map.yaml goes before .map.yml, small letters before capitals.
    paths.sort(key=lambda path: (path.name.lower().endswith(MAPPING_ENDINGS[0]), path.name))
    return {mapped_name(path.name): path for path in paths}
