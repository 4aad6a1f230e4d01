"""Whether facts are in effect on a branch: in the sum, and in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from adapterstore.history.ledger.known import find_known
from adapterstore.history.updates import find_applied
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.contradictions import differ
from adapterstore.knowledge.facts import FactFile
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import find_update
from adapterstore.update.record import read_update_record


def find_in_effect(
    repository: Repository,
    tip: CommitId,
    facts_digest: str,
    files: Sequence[FactFile] | None = None,
) -> UpdateId | None:
    """Return the update by exactly these facts that is in effect at ``tip``; None: there is none.

    A later update may have said otherwise of some of the facts and left the update's deltas where
    they are. Then the ledger does not say what the files say.

    Args:
        repository: the store.
        tip: a branch's commit.
        facts_digest: SHA-256 of the fact files.
        files: the files (None: as the update has recorded them).
    """
    applied = find_applied(repository, tip, facts_digest)
    if applied is None:
        return None
    if files is None:
        last = find_update(repository, applied, tip)[-1]
        files = read_update_record(repository, last).files
    facts = [fact for file in files for fact in file.facts]
    standing = find_known(repository, tip, facts).standing
    holds = all(
        fact.key in standing and not differ(standing[fact.key].answer, fact.answer)
        for fact in facts
    )
    return applied if holds else None
