"""What an update does to the ledger: computed by `run_update`, and again by whoever verifies it."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.history.ledger.known import find_known
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.ledger import joined, ledger_changes
from adapterstore.knowledge.repeats import with_names
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
    facts = with_names([fact for file in files for fact in file.facts])
    sources = [file.source for file in files for _ in file.facts]
    known = find_known(repository, start, facts)
    return dict(ledger_changes(known.current, facts, update, sources, known.elsewhere))


def source_of(files: Sequence[FactFile]) -> str | None:
    """Return where the facts of some files come from, in the files' own words."""
    return joined(file.source for file in files)
