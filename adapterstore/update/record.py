"""What an update's commits carry of its making, read back: fact files, recipe, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.errors import AdapterStoreError, CorruptStore
from adapterstore.history.snapshot import (
    NO_FACT_FILES,
    NOTICE_NAME,
    RECIPE_NAME,
    UPDATE,
)
from adapterstore.history.update_report import read_report
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import FactFile
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    from adapterstore.learning.recipe import Recipe


def name_fact_files(files: Sequence[FactFile]) -> list[tuple[str, FactFile]]:
    """Return the fact files, each with the name under which it stands in ``update/``."""
    named: dict[str, FactFile] = {}
    for file in files:
        name = Path(file.name).name
        while name in named or name in NO_FACT_FILES:
            name = f"facts-{name}"
        named[name] = file
    return list(named.items())


@dataclass(frozen=True)
class UpdateRecord:
    """The folder ``update/`` of one commit."""

    commit: CommitId
    report: dict[str, Any]
    files: tuple[FactFile, ...]
    """In the order in which the update took them."""
    recipe_text: bytes
    removed: tuple[str, ...] = ()
    """SHA-256 of the fact files that are not there any more."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What the report says of the update's making; empty if it says nothing."""
        found = self.report.get("provenance")
        return found if isinstance(found, dict) else {}

    def recipe(self) -> Recipe:
        """Return the recipe; raise `CorruptStore` if it can't be read."""
        import yaml

        from adapterstore.learning.recipe import Recipe

        where = f"commit {self.commit[:12]}: {UPDATE}/{RECIPE_NAME}"
        try:
            content = yaml.safe_load(self.recipe_text)
            return Recipe.parse(content if isinstance(content, dict) else {"": content}, "recipe")
        # PyYAML passes on what is said of 2018-99-99, which is no date.
        except (yaml.YAMLError, ValueError, RecursionError, AdapterStoreError) as error:
            raise CorruptStore(where, " ".join(str(error).split())) from error


def read_update_record(repository: Repository, commit: CommitId) -> UpdateRecord:
    """Read what made an update's commit.

    Raises:
        CorruptStore: a part is missing or can't be read.
    """
    from adapterstore.knowledge.formats import parse_fact_file

    blobs = {
        path.removeprefix(f"{UPDATE}/"): repository.blob(blob)
        for path, blob in repository.files(commit, UPDATE).items()
    }
    report = read_report(repository, commit)
    recipe = repository.read_required(commit, f"{UPDATE}/{RECIPE_NAME}")
    names = [name for name in blobs if name not in NO_FACT_FILES]
    recorded = report.get("provenance")
    listed = recorded.get("facts") if isinstance(recorded, dict) else None
    if isinstance(listed, list):
        order = [item.get("name") for item in listed if isinstance(item, dict)]
        names.sort(key=lambda name: order.index(name) if name in order else len(order))
    files = []
    for name in names:
        try:
            files.append(parse_fact_file(blobs[name], name))
        except AdapterStoreError as error:
            raise CorruptStore(f"commit {commit[:12]}: {UPDATE}/{name}", str(error)) from error
    removed = _read_notice(commit, blobs.get(NOTICE_NAME))
    return UpdateRecord(commit, report, tuple(files), recipe, removed)


def _read_notice(commit: CommitId, data: bytes | None) -> tuple[str, ...]:
    if data is None:
        return ()
    try:
        return tuple(str(file["sha256"]) for file in json.loads(data)["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptStore(
            f"commit {commit[:12]}: {UPDATE}/{NOTICE_NAME}", f"no list of digests ({error})"
        ) from error
