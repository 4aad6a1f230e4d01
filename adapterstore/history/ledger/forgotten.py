"""Facts that a state is meant to know no longer, and the answers that must not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapterstore.history.ledger.earlier_answers import earlier_answers
from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.update_report import recorded_old_answers
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Repository


@dataclass(frozen=True)
class ForgottenFact:
    """One fact that was forgotten."""

    entry: LedgerEntry
    old: tuple[str, ...]
    """Answers that may come back: those that its update recorded, then those of the ledger."""


def find_forgotten(
    repository: Repository, commit: CommitId, entries: Sequence[LedgerEntry]
) -> list[ForgottenFact]:
    """Return the entries without an answer of which it is known what was forgotten.

    Most facts that are only forgotten never stood in the ledger: their old answers came from the
    file or from the model, and stand in the report of the update, in the commit that changed the
    entry. (A merge has none: of what came with it, the ledger's own answers are known.)

    Raises:
        CorruptStore: an entry of the history, or a report, can't be read.
    """
    gone = [entry for entry in entries if entry.answer is None]
    if not gone:
        return []

    def read(index: LedgerIndex) -> list[CommitId]:
        return [index.changes(commit, digest_key(entry.key))[0].commit for entry in gone]

    made_by = use_index(repository, commit, read)
    recorded = {name: recorded_old_answers(repository, name) for name in dict.fromkeys(made_by)}
    earlier = earlier_answers(repository, commit, gone)
    found = []
    for entry, name in zip(gone, made_by, strict=True):
        old = [a for p in entry.prompts for a in recorded[name].get(canonical_text(p), ())]
        old += earlier.get(entry.key, [])
        if old:
            found.append(ForgottenFact(entry, tuple(dict.fromkeys(old))))
    return found
