"""Facts that a state is meant to know no longer, and the answers that must not come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adapterstore.errors import AmbiguousRevision, UnknownRevision
from adapterstore.history.ledger.earlier_answers import earlier_answers
from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.update_report import recorded_old_answers
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import reachable_update


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
    file or from the model, and stand in the reports of the commits that changed the entry. (What
    came by a merge or a pick has its report elsewhere: there, the update that the entry names is
    looked for.)

    Raises:
        CorruptStore: an entry of the history, or a report, can't be read.
    """
    gone = [entry for entry in entries if entry.answer is None]
    if not gone:
        return []

    def read(index: LedgerIndex) -> list[list[CommitId]]:
        changes = [index.changes(commit, digest_key(entry.key)) for entry in gone]
        return [[change.commit for change in found] for found in changes]

    made_by = use_index(repository, commit, read)
    reports = _Reports(repository, commit)
    earlier = earlier_answers(repository, commit, gone)
    found = []
    for entry, commits in zip(gone, made_by, strict=True):
        asked = list(dict.fromkeys(map(canonical_text, entry.prompts)))
        old = [answer for name in commits for answer in reports.of_commit(name, asked)]
        old = old or reports.of_update(entry.update, asked)
        old += earlier.get(entry.key, [])
        if old:
            found.append(ForgottenFact(entry, tuple(dict.fromkeys(old))))
    return found


class _Reports:
    """What updates say that they made the model forget; each report is read once."""

    def __init__(self, repository: Repository, tip: CommitId):
        self._repository, self._tip = repository, tip
        self._read: dict[str, Mapping[str, Sequence[str]]] = {}

    def of_commit(self, commit: CommitId, prompts: Iterable[str]) -> list[str]:
        """Return the old answers to some prompts, which are canonical text."""
        if commit not in self._read:
            self._read[commit] = recorded_old_answers(self._repository, commit)
        return [answer for prompt in prompts for answer in self._read[commit].get(prompt, ())]

    def of_update(self, update: str, prompts: Iterable[str]) -> list[str]:
        """Return those of an update below the tip, by its id; none if there is no such one."""
        if update not in self._read:
            try:
                last = reachable_update(self._repository, self._tip, update)[-1]
                self._read[update] = recorded_old_answers(self._repository, last)
            except (UnknownRevision, AmbiguousRevision):
                self._read[update] = {}
        return [answer for prompt in prompts for answer in self._read[update].get(prompt, ())]
