"""Earlier updates of which nothing stands any more once a set of facts has been taken up.

Such an update needs no training to be forgotten: what it learned is a term of the sum, and the sum
without it is the state that never learned it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from adapterstore.algebra.composition import Composition
from adapterstore.errors import AmbiguousRevision, UnknownRevision
from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.ledger.known import Known
from adapterstore.history.ledger.reading import ledger_difference, read_entries
from adapterstore.history.log import LogEntry, log_entry, read_log
from adapterstore.history.merging.effect import Effects
from adapterstore.history.merging.ledgers import read_entry, same_answer
from adapterstore.history.snapshot import read_snapshot
from adapterstore.history.unfolding import unfold
from adapterstore.history.update_report import recorded_old_answers
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import Fact, canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import reachable_update


@dataclass(frozen=True)
class Superseded:
    """One earlier update, all of whose facts get another answer or are forgotten."""

    update: UpdateId
    before: CommitId
    """The state that its learn phase started from."""
    after: CommitId
    """Its learn commit."""
    change: Composition
    """What that commit added to the sum."""
    keys: frozenset[str]
    """Ledger keys of the new facts that stand in the place of its own."""
    earlier: Mapping[str, tuple[str, ...]]
    """A new fact's prompt → answers that the update itself had to forget, or replaced: none of them
    may be what remains."""


def find_superseded(
    repository: Repository, commit: CommitId, facts: Sequence[Fact], known: Known
) -> list[Superseded]:
    """Return the updates that these facts supersede wholly and that are in effect, oldest first.

    Wholly: each entry of the ledger that says what the update said gets a new answer or is
    forgotten here, whichever update it names: a later one that said it again found it known, and
    its own change may be next to nothing. In effect: neither taken back nor replaced nor scaled; a
    term that `compact` has folded since counts as what it was. Cost follows the updates, and once
    the history.
    """
    replaced: dict[str, dict[str, Fact]] = {}
    for fact in facts:
        for entry in known.of(fact.key):
            if entry.update and _is_another(entry, fact):
                replaced.setdefault(entry.update, {})[digest_key(entry.key)] = fact
    if not replaced:
        return []
    gone = {key for by_key in replaced.values() for key in by_key}
    entries = list(read_log(repository, commit))
    order = {entry.commit: number for number, entry in enumerate(entries)}
    sound = Effects(repository).at(commit)
    now = unfold(repository, read_snapshot(repository, commit).composition, entries)
    found = []
    for update, by_key in replaced.items():
        one = _superseded(repository, commit, update, by_key, gone, known)
        if one is None or sound[one.after] != 1:
            continue
        if all(now.coefficient(t.delta) == t.coefficient for t in one.change):
            found.append(one)
    return sorted(found, key=lambda one: -order[one.after])


def _is_another(entry: LedgerEntry, fact: Fact) -> bool:
    if entry.answer is None:
        return fact.answer is not None
    return fact.answer is None or canonical_text(entry.answer) != canonical_text(fact.answer)


def _superseded(
    repository: Repository,
    commit: CommitId,
    update: str,
    by_key: Mapping[str, Fact],
    gone: Collection[str],
    known: Known,
) -> Superseded | None:
    try:
        commits = reachable_update(repository, commit, update)
    except (UnknownRevision, AmbiguousRevision):
        return None
    phases = [log_entry(repository.commit(name)) for name in commits]
    learned = [phase for phase in phases if phase.operation == "learn"]
    if len(learned) != 1 or not phases[0].parents:
        return None
    (learn,), start = learned, phases[0].parents[0]
    changed = ledger_difference(repository, start, phases[-1].commit)
    said = [read_entry(repository, blob, path) for path, (_, blob) in changed.items() if blob]
    if _something_stands(repository, commit, [entry for entry in said if entry], gone):
        return None
    before = {
        path: read_entry(repository, blob, path) for path, (blob, _) in changed.items() if blob
    }
    return Superseded(
        update=UpdateId(update),
        before=learn.parents[0],
        after=learn.commit,
        change=_change(repository, learn),
        keys=frozenset(fact.key for fact in by_key.values()),
        earlier=_earlier(repository, learn, by_key, before, known),
    )


def _something_stands(
    repository: Repository, commit: CommitId, said: Sequence[LedgerEntry], gone: Collection[str]
) -> bool:
    """Return whether a ledger still says any of these, in an entry that is not to go.

    It may have got another prompt since, or another key, which is known by its prompt then.
    """
    prompts = dict.fromkeys(entry.prompt for entry in said)

    def read(index: LedgerIndex) -> dict[str, list[LedgerEntry]]:
        return index.entries_asked_by(commit, prompts)

    asked = use_index(repository, commit, read)
    filed = read_entries(repository, commit, [entry.key for entry in said])
    return any(
        same_answer(entry, now) and digest_key(now.key) not in gone
        for entry in said
        for now in (*asked[entry.prompt], filed.get(entry.key))
        if now is not None
    )


def _change(repository: Repository, learn: LogEntry) -> Composition:
    after = read_snapshot(repository, learn.commit).composition
    return after - read_snapshot(repository, learn.parents[0]).composition


def _earlier(
    repository: Repository,
    learn: LogEntry,
    by_key: Mapping[str, Fact],
    before: Mapping[str, LedgerEntry | None],
    known: Known,
) -> dict[str, tuple[str, ...]]:
    """Return what each fact's prompt was answered with before the update, as far as recorded."""
    said = recorded_old_answers(repository, learn.commit)
    earlier: dict[str, tuple[str, ...]] = {}
    for key, fact in by_key.items():
        entry = before.get(ledger_path(key))
        answers = [entry.answer] if entry is not None and entry.answer is not None else []
        prompts = {fact.prompt, *(p for e in known.of(fact.key) for p in e.prompts)}
        for prompt in prompts:
            answers += said.get(canonical_text(prompt), [])
        earlier[fact.prompt] = tuple(dict.fromkeys(answers))
    return earlier
