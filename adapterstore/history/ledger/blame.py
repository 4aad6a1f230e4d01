"""Which commit says what the ledger says: a fact's answer, and every answer before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapterstore.errors import AmbiguousFact, UnknownFact
from adapterstore.history.ledger.index import KeyChange, LedgerIndex, Moved, use_index
from adapterstore.history.ledger.reading import parse_entry, read_entries
from adapterstore.history.log import LogEntry, log_entry
from adapterstore.history.snapshot import NO_FACT_FILES, UPDATE
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import digest_key
from adapterstore.knowledge.finding import find_fact_line
from adapterstore.knowledge.ledger import LedgerEntry, key_candidates, show_key
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import PHASES


@dataclass(frozen=True)
class AnswerChange:
    """One commit's change of one fact."""

    entry: LogEntry
    before: LedgerEntry | None
    """None: the ledger did not have the fact."""
    after: LedgerEntry | None
    files: tuple[tuple[str, int | None], ...]
    """The update's fact files that state the fact, with the line of it where it was found."""

    @property
    def commit(self) -> CommitId:
        """The commit."""
        return self.entry.commit


@dataclass(frozen=True)
class Blame:
    """Why the ledger of a commit says what it says of one fact."""

    key: str
    now: LedgerEntry | None
    """What the ledger says; None: it has the fact no more."""
    changes: tuple[AnswerChange, ...]
    """Every change on the first-parent history, newest first, what was taken back included. A fact
    that got another key (subject and relation in the place of its prompt) is followed."""
    merges: tuple[CommitId, ...]
    """The merges by which the newest change came to this history, newest first; ``changes`` is told
    from the side on which it was made."""

    @property
    def newest(self) -> AnswerChange:
        """The commit that made it so."""
        return self.changes[0]

    @property
    def taught(self) -> AnswerChange | None:
        """The update's commit that first gave the present answer; another commit may have brought
        it back since."""
        for change in reversed(self.changes):
            if (
                self.now is not None
                and change.entry.operation in PHASES
                and change.entry.update == self.now.update
                and change.after is not None
                and change.after.answer == self.now.answer
            ):
                return change
        return None


def blame_fact(repository: Repository, commit: CommitId, text: str) -> Blame:
    """Return which commits made the ledger's answer to a fact what it is.

    Args:
        repository: the store.
        commit: whose ledger, and from where the history is told.
        text: the fact's prompt, "subject, relation", or any prompt that the ledger knows it by.

    Raises:
        UnknownFact: no ledger on the first-parent history knew it.
        AmbiguousFact: several facts are known by this prompt.
    """
    return use_index(repository, commit, lambda index: _blame(repository, index, commit, text))


def find_entry(repository: Repository, commit: CommitId, text: str) -> LedgerEntry:
    """Return the entry of a commit's ledger that a text names; see `blame_fact`.

    Raises:
        UnknownFact, AmbiguousFact: it names none, or several.
    """
    by_key = read_entries(repository, commit, key_candidates(text))
    if by_key:
        return next(iter(by_key.values()))
    found = use_index(repository, commit, lambda index: index.entries_asked_by(commit, [text]))
    return _the_one(commit, text, found[text])


def _the_one(commit: CommitId, text: str, entries: Sequence[LedgerEntry]) -> LedgerEntry:
    if not entries:
        raise UnknownFact(text, f"commit {commit[:12]}")
    if len(entries) > 1:
        raise AmbiguousFact(text, [show_key(entry.key) for entry in entries])
    return entries[0]


def _blame(repository: Repository, index: LedgerIndex, commit: CommitId, text: str) -> Blame:
    digest = _find_digest(repository, index, commit, text)
    merges: list[CommitId] = []
    chain = index.changes(commit, digest)
    while (side := _merged_from(repository, index, chain[0], digest)) is not None:
        merges.append(chain[0].commit)
        chain = index.changes(side, digest)
    now = _entry(repository, chain[0].commit, chain[0].after)
    changes: list[AnswerChange] = []
    while chain:
        moved: Moved | None = None
        for change in chain:
            told, moved = _answer_change(repository, index, change, digest)
            changes.append(told)
        if moved is None:
            break
        digest, parent = moved.key, repository.parents(changes[-1].commit)[0]
        chain = index.changes(parent, digest)
    named = now or next(c.before for c in changes if c.before is not None)
    return Blame(named.key, now, tuple(changes), tuple(merges))


def _find_digest(repository: Repository, index: LedgerIndex, commit: CommitId, text: str) -> str:
    """Return the key digest that a text names: of a fact that is there, else of one that was."""
    keys = list(dict.fromkeys(key_candidates(text)))
    present = read_entries(repository, commit, keys)
    if present:
        return digest_key(next(iter(present)))
    asked = index.entries_asked_by(commit, [text])[text]
    if asked:
        return digest_key(_the_one(commit, text, asked).key)
    earlier = [digest_key(key) for key in keys]
    for digest in dict.fromkeys([*earlier, *index.keys_once_asked_by(text)]):
        if index.changes(commit, digest):
            return digest
    raise UnknownFact(text, f"commit {commit[:12]}")


def _merged_from(
    repository: Repository, index: LedgerIndex, change: KeyChange, digest: str
) -> CommitId | None:
    """Return the other parent of a merge, if the change came from there as it is."""
    for parent in repository.parents(change.commit)[1:]:
        index.bring_up_to_date(parent)
        there = index.changes(parent, digest)
        if there and there[0].after == change.after:
            return parent
    return None


def _answer_change(
    repository: Repository, index: LedgerIndex, change: KeyChange, key: str
) -> tuple[AnswerChange, Moved | None]:
    """Return a change as it is told, and where the fact came from if it had another key before."""
    before = _entry(repository, change.commit, change.before)
    after = _entry(repository, change.commit, change.after)
    source: Moved | None = None
    if before is None and after is not None:
        source = index.moved_from(change.commit, key, after.prompts)
        before = _entry(repository, change.commit, source.blob) if source is not None else None
    elif after is None and before is not None:
        target = index.moved_to(change.commit, key, before.prompts)
        after = _entry(repository, change.commit, target.blob) if target is not None else None
    entry = log_entry(repository.commit(change.commit))
    stated = after if after is not None and entry.operation in PHASES else None
    files = _fact_files(repository, change.commit, stated) if stated is not None else ()
    return AnswerChange(entry, before, after, files), source


def _entry(repository: Repository, commit: CommitId, blob: str | None) -> LedgerEntry | None:
    return parse_entry(repository, blob, f"commit {commit[:12]}") if blob is not None else None


def _fact_files(
    repository: Repository, commit: CommitId, stated: LedgerEntry
) -> tuple[tuple[str, int | None], ...]:
    """Return the fact files of an update's commit that state a fact; all, if none is seen to.

    A fact that the file knows by its prompt alone may be filed under subject and relation.
    """
    files = {
        str(path).removeprefix(f"{UPDATE}/"): blob
        for path, blob in repository.files(commit, UPDATE).items()
    }
    names = sorted(name for name in files if name not in NO_FACT_FILES)
    keys = [stated.key, *key_candidates(stated.prompt)]
    lines = {name: find_fact_line(repository.blob(files[name]), name, keys) for name in names}
    seen = [(name, line) for name, line in lines.items() if line is not None]
    return tuple(seen) or tuple(lines.items())
