"""Ledgers of two sides brought together, fact by fact, and where they give different answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pygit2

from adapterstore.errors import CorruptStore, FactConflict, NoSuchConflict
from adapterstore.history.ledger.reading import digest_of, tree_difference
from adapterstore.history.merging.ancestry import independent, merge_bases
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.store.repository import Change, Repository

Side = Literal["ours", "theirs"]
ALL = "all"
_UNDECIDED = b"both sides changed this fact; which answer holds was decided later\n"


@dataclass(frozen=True)
class LedgerMerge:
    """What the ledger of ours has to take over from theirs."""

    changes: dict[str, Change] = field(default_factory=dict)
    """Path → new content; facts that only one side changed, or both to the same answer."""
    conflicts: list[str] = field(default_factory=list)
    """Paths of facts that both sides changed to different answers."""


def ledger_tree(repository: Repository, commit_id: CommitId) -> pygit2.Tree:
    """Return the folder ``facts/`` of a commit; an empty one if it has none."""
    tree = repository.tree(commit_id, LEDGER)
    return tree if tree is not None else empty_ledger(repository)


def empty_ledger(repository: Repository) -> pygit2.Tree:
    """Return the ledger without any fact."""
    tree = repository.git[repository.write_tree(None, {})]
    assert isinstance(tree, pygit2.Tree)
    return tree


def virtual_ledger(repository: Repository, tips: Collection[CommitId]) -> pygit2.Tree:
    """Return the ledger of the merge that git's recursive strategy would make of some commits.

    A fact in conflict between them stands there with content that no side can have.
    """
    distinct = independent(repository, tips)
    if not distinct:
        return empty_ledger(repository)
    first, *rest = distinct
    merged = ledger_tree(repository, first)
    done = [first]
    for tip in rest:
        shared = {base for other in done for base in merge_bases(repository, other, tip)}
        base = virtual_ledger(repository, shared)
        difference = merge_ledgers(repository, base, merged, ledger_tree(repository, tip))
        changes = {**difference.changes, **dict.fromkeys(difference.conflicts, _UNDECIDED)}
        below = {path.removeprefix(f"{LEDGER}/"): change for path, change in changes.items()}
        written = repository.git[repository.write_tree(merged, below)]
        assert isinstance(written, pygit2.Tree)
        merged = written
        done.append(tip)
    return merged


def merge_ledgers(
    repository: Repository, base: pygit2.Tree, ours: pygit2.Tree, theirs: pygit2.Tree
) -> LedgerMerge:
    """Merge two ledgers three ways; the cost follows what theirs changed."""
    our_changes = tree_difference(base, ours)
    merge = LedgerMerge()
    for path, (before, after) in sorted(tree_difference(base, theirs).items()):
        if path not in our_changes:
            merge.changes[path] = after
            continue
        now = our_changes[path][1]
        if now == after:
            continue
        entries = [read_entry(repository, blob, path) for blob in (before, now, after)]
        if same_answer(entries[1], entries[2]):
            merge.changes[path] = _join(*entries)
        else:
            merge.conflicts.append(path)
    return merge


def read_entry(repository: Repository, blob: pygit2.Oid | None, path: str) -> LedgerEntry | None:
    """Return a ledger entry (None: it is not there, or was left undecided)."""
    data = repository.blob(blob) if blob is not None else _UNDECIDED
    return None if data == _UNDECIDED else LedgerEntry.from_bytes(data, path)


def same_answer(left: LedgerEntry | None, right: LedgerEntry | None) -> bool:
    """Return whether two entries say the same; no entry says what a forgotten fact says."""
    answers = [entry.answer if entry is not None else None for entry in (left, right)]
    if answers[0] is None or answers[1] is None:
        return answers[0] is answers[1]
    return canonical_text(answers[0]) == canonical_text(answers[1])


def _join(
    base: LedgerEntry | None, ours: LedgerEntry | None, theirs: LedgerEntry | None
) -> bytes | None:
    """Return one entry for two that say the same: ours, with what only theirs changed or knows."""
    if ours is None or theirs is None:
        present = ours or theirs
        return present.to_bytes() if present is not None else None
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(LedgerEntry):
        mine, other = getattr(ours, item.name), getattr(theirs, item.name)
        unchanged = base is not None and mine == getattr(base, item.name)
        fields[item.name] = other if unchanged else mine
    prompts = dict.fromkeys((*ours.paraphrases, *theirs.paraphrases, ours.prompt, theirs.prompt))
    fields["paraphrases"] = tuple(p for p in prompts if p != fields["prompt"])
    return LedgerEntry(**fields).to_bytes()


def rename_updates(
    repository: Repository, changes: Mapping[str, Change], names: Mapping[str, str]
) -> dict[str, Change]:
    """Return ledger changes whose entries name for an update the one that stands for it."""
    renamed = dict(changes)
    for path, change in changes.items() if names else ():
        data = _content(repository, change)
        entry = LedgerEntry.from_bytes(data, path) if data is not None else None
        if entry is not None and entry.update in names:
            renamed[path] = dataclasses.replace(entry, update=names[entry.update]).to_bytes()
    return renamed


def unlike(
    repository: Repository, ledger: pygit2.Tree, changes: Mapping[str, Change]
) -> dict[str, Change]:
    """Return those changes that leave a ledger other than it is."""
    return {
        path: change
        for path, change in changes.items()
        if _content(repository, change) != _content(repository, blob_of(ledger, path))
    }


def _content(repository: Repository, change: Change) -> bytes | None:
    return repository.blob(change) if isinstance(change, pygit2.Oid) else change


def describe_conflict(
    repository: Repository, path: str, base: pygit2.Tree, ours: CommitId, theirs: CommitId
) -> FactConflict:
    """Return what is to be known of a conflict: fact, answers, commits."""
    before, mine, other = (
        read_entry(repository, blob_of(tree, path), path)
        for tree in (base, ledger_tree(repository, ours), ledger_tree(repository, theirs))
    )
    known = [entry for entry in (mine, other, before) if entry is not None]
    if not known:
        raise CorruptStore(path, "no side has the fact that they are to differ in")
    first = known[0]
    both = first.subject is not None and first.relation is not None
    return FactConflict(
        key=digest_of(path),
        fact=f"{first.subject}, {first.relation}" if both else first.prompt,
        prompts=tuple(dict.fromkeys(p for e in known for p in (e.prompt, *e.paraphrases))),
        base=before.answer if before is not None else None,
        ours=mine.answer if mine is not None else None,
        ours_commit=last_change(repository, ours, path),
        ours_update=mine.update if mine is not None else None,
        theirs=other.answer if other is not None else None,
        theirs_commit=last_change(repository, theirs, path),
        theirs_update=other.update if other is not None else None,
    )


def blob_of(ledger: pygit2.Tree, path: str) -> pygit2.Oid | None:
    """Return the blob of a ledger path (None: the fact is not there)."""
    try:
        return ledger[path.removeprefix(f"{LEDGER}/")].id
    except KeyError:
        return None


def last_change(repository: Repository, tip: CommitId, path: str) -> CommitId:
    """Return the commit that made a path what it is at ``tip``."""
    commit_id, blob = tip, blob_of(ledger_tree(repository, tip), path)
    while True:
        for parent in repository.parents(commit_id):
            if blob_of(ledger_tree(repository, parent), path) == blob:
                commit_id = parent
                break
        else:
            return commit_id


def choose_sides(
    conflicts: Collection[FactConflict], ours: Collection[str], theirs: Collection[str]
) -> Mapping[str, Side]:
    """Return key digest → side, as ``--ours`` and ``--theirs`` say; the rest is undecided.

    A fact is named by "subject, relation" or one of its prompts; ``all`` is every other one.

    Raises:
        NoSuchConflict: a name that fits no conflict, or a fact given to both sides.
    """
    chosen: dict[str, Side] = {}
    wanted: list[tuple[Side, Collection[str]]] = [("ours", ours), ("theirs", theirs)]
    for side, names in wanted:
        for name in names:
            if name == ALL:
                continue
            text = canonical_text(name)
            found = [c for c in conflicts if text in {c.key, *map(canonical_text, _names(c))}]
            if not found:
                raise NoSuchConflict(name, "is not in conflict", [c.fact for c in conflicts])
            for conflict in found:
                if chosen.setdefault(conflict.key, side) != side:
                    raise NoSuchConflict(name, "is given to both sides", [conflict.fact])
    everywhere = [side for side, names in wanted if ALL in names]
    if len(everywhere) > 1:
        raise NoSuchConflict(ALL, "is given to both sides", [c.fact for c in conflicts])
    for side in everywhere:
        for conflict in conflicts:
            chosen.setdefault(conflict.key, side)
    return chosen


def _names(conflict: FactConflict) -> tuple[str, ...]:
    return (conflict.fact, *conflict.prompts)
