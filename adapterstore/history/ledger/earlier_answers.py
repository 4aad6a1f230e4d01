"""What the ledger said of its facts before: the answers that later updates replaced."""

from __future__ import annotations

from collections.abc import Iterable

from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.ledger.reading import parse_entry
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Repository


def earlier_answers(
    repository: Repository, commit: CommitId, entries: Iterable[LedgerEntry]
) -> dict[str, list[str]]:
    """Return, by the facts' keys, every answer on the first-parent history that is not the present.

    Newest first; a fact without any is left out.

    Raises:
        CorruptStore: an entry of the history can't be read.
    """
    where = f"the history of commit {commit[:12]}"

    def read(index: LedgerIndex) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for entry in entries:
            answers: dict[str, str] = {}
            for change in index.changes(commit, digest_key(entry.key)):
                if change.before is not None:
                    before = parse_entry(repository, change.before, where).answer
                    if before is not None:
                        answers.setdefault(canonical_text(before), before)
            answers.pop(canonical_text(entry.answer or ""), None)
            if answers:
                found[entry.key] = list(answers.values())
        return found

    return use_index(repository, commit, read)
