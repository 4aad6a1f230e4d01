"""Which files are tables, and which mapping goes with one."""

from __future__ import annotations

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
    if table.suffix.lower() not in TABLE_SUFFIXES:
        return None
    folders = [table.parent]
    if store_folder is not None:
        folders.append(store_folder / SETTINGS_FOLDER)
    for folder in folders:
        for ending in MAPPING_ENDINGS:
            found = folder / f"{table.stem}{ending}"
            try:
                if found.is_file():
                    return found
            except OSError:
                # The table's own name may leave no room for the longer ending.
                continue
    return None
