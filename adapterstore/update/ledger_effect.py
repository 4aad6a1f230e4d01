"""What an update does to the ledger: computed by `run_update`, and again by whoever verifies it."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import FactFile, digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_changes, ledger_path
from adapterstore.store.repository import Change, Repository


def update_ledger(
    repository: Repository, start: CommitId, files: Sequence[FactFile], update: str
) -> dict[str, Change]:
    """Return path → new content of each ledger file that an update by these files changes.

    Args:
        repository: the store.
        start: the commit that the update starts from.
        files: the fact files, in their order.
        update: the update's id.

    Raises:
        CorruptStore: an entry of the ledger can't be read.
    """
    facts = [fact for file in files for fact in file.facts]
    current = {}
    for key in dict.fromkeys(fact.key for fact in facts):
        path = ledger_path(digest_key(key))
        data = repository.read(start, path)
        if data is not None:
            current[key] = LedgerEntry.from_bytes(data, f"commit {start[:12]}: {path}")
    return dict(ledger_changes(current, facts, update, source_of(files)))


def source_of(files: Sequence[FactFile]) -> str | None:
    """Return where the facts of some files come from, in the files' own words."""
    return "; ".join(dict.fromkeys(file.source for file in files if file.source)) or None
