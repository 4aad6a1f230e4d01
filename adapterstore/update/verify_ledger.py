"""Whether a commit's ledger is what its operation makes of its parents' ledgers.

One function an operation, as in `adapterstore.history.audit.arithmetic`. Each returns, by path,
what may stand in a ledger file; a path that it does not return has to be as in the first parent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from adapterstore.errors import AdapterStoreError, CorruptStore
from adapterstore.history.audit.arithmetic import (
    CannotCompute,
    Record,
    ancestors,
    best_common_ancestors,
)
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.audit.trees import Blob, LedgerTrees, blob_id
from adapterstore.history.housekeeping.rewriting import REDACTED
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import canonical_text, digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.repository import Repository
from adapterstore.update.ledger_effect import update_ledger
from adapterstore.update.record import read_update_record

Allowed = dict[str, set[Blob]]
Changed = Mapping[str, tuple[Blob, Blob]]
"""Path → (in the first parent, in the commit)."""


@dataclass(frozen=True)
class _Commit:
    """One commit, and what there is to compute its ledger from."""

    commit: CommitId
    record: Record
    changed: Changed
    repository: Repository
    history: StoreHistory
    trees: LedgerTrees


class LedgerVerifier:
    """Computes ledgers again; cost follows what a commit changed, not what the ledger holds."""

    def __init__(self, repository: Repository, history: StoreHistory):
        self._repository, self._history = repository, history
        self._trees = LedgerTrees(repository)

    def verify(self, commit: CommitId, verification: Verification) -> None:
        """Report every fact of a commit's ledger that does not follow."""
        record = self._history.record(commit)
        if (updates := record.trailers.get(REDACTED)) is not None:
            verification.note(
                f"the ledger of commit {commit[:12]} was not computed again: texts of "
                f"update/{updates} were taken out of it"
            )
            return
        verification.count("ledgers")
        parent = record.parents[0] if record.parents else None
        changed = self._trees.difference(parent, commit)
        try:
            compute = _OPERATIONS.get(record.required("Operation"))
            if compute is None:
                raise CannotCompute(f"{record.trailers['Operation']!r} is no operation of a store")
            allowed = compute(
                _Commit(commit, record, changed, self._repository, self._history, self._trees)
            )
        except (AdapterStoreError, CannotCompute) as error:
            verification.report(commit, "ledger", "what it follows from", error)
            return
        for path in sorted({*allowed, *changed}):
            before = self._trees.blob(parent, path)
            found = changed[path][1] if path in changed else before
            expected = allowed.get(path, {before})
            if found not in expected:
                self._report(commit, path, min(expected, key=str), found, verification)
            elif found is not None and path in changed:
                self._check_entry(commit, path, found, verification)

    def _report(
        self, commit: CommitId, path: str, expected: Blob, found: Blob, verification: Verification
    ) -> None:
        prompts = [self._trees.content(blob).get("prompt") for blob in (found, expected)]
        prompt = next((repr(text) for text in prompts if text), "an entry")
        wanted, given = self._trees.content(expected), self._trees.content(found)
        unlike = sorted(key for key in {*wanted, *given} if wanted.get(key) != given.get(key))
        if expected is None or found is None or not unlike:
            unlike = ["answer"]
        verification.report(
            commit,
            f"ledger: {prompt} ({path})",
            _show(expected, wanted, unlike),
            _show(found, given, unlike),
        )

    def _check_entry(
        self, commit: CommitId, path: str, blob: str, verification: Verification
    ) -> None:
        try:
            entry = LedgerEntry.from_bytes(self._trees.data(blob), path)
        except CorruptStore as error:
            verification.report(commit, f"ledger: {path}", "an entry", error.problem)
            return
        proper = ledger_path(digest_key(entry.key))
        if proper != path:
            verification.report(commit, f"ledger: place of {entry.prompt!r}", proper, path)


def _show(blob: Blob, content: Mapping[str, object], fields: list[str]) -> str:
    if blob is None:
        return "no entry"
    if not content:
        return "an unreadable entry"
    return ", ".join(f"{name} {content.get(name)!r}" for name in fields)


def unchanged(at: _Commit) -> Allowed:
    """Return nothing: the operation is one of weights alone."""
    return {}


def emptied(at: _Commit) -> Allowed:
    """Of a state that came from elsewhere, nothing is known."""
    return {path: {None} for path in at.trees.paths(at.record.parent(0, 1))}


def updated(at: _Commit) -> Allowed:
    """The facts of the files in ``update/``, with the update's last phase."""
    if not is_last_phase(at.record):
        return {}
    files = read_update_record(at.repository, at.commit).files
    parent, update = at.record.parent(0, 1), at.record.required("Update")
    changes = update_ledger(at.repository, parent, files, update)
    return {
        path: {blob_id(data) if isinstance(data, bytes) else None} for path, data in changes.items()
    }


def reverted(at: _Commit) -> Allowed:
    """What a change made of a fact becomes what it was before, unless it was changed again.

    It still is what the change made of it where the same update gives the same answer.
    """
    parent = at.record.parent(0, 1)
    allowed: Allowed = {}
    for path, (before, after) in _change(at).items():
        now = at.trees.blob(parent, path)
        updates = [at.trees.content(blob).get("update") for blob in (now, after)]
        same = updates[0] == updates[1] and _agree(at.trees, now, after)
        allowed[path] = {before if now == after or same else now}
    return allowed


def picked(at: _Commit) -> Allowed:
    """What a change made of a fact, where this side has no other answer of its own."""
    parent = at.record.parent(0, 1)
    back = at.record.trailers.get("Scale", "1").startswith("-")
    allowed: Allowed = {}
    for path, pair in _change(at).items():
        before, after = pair[::-1] if back else pair
        now = at.trees.blob(parent, path)
        if now is None or now == before or _agree(at.trees, now, before):
            allowed[path] = {after}
        elif _agree(at.trees, now, after):
            allowed[path] = {now}
        else:
            raise CannotCompute(
                f"{_prompt(at.trees, now, path)} has another answer here than before the pick"
            )
    return allowed


def protected(at: _Commit) -> Allowed:
    """Entries that differ in nothing but their protection, and new ones that no update taught."""
    allowed: Allowed = {}
    for path, (before, after) in at.changed.items():
        old, new = (
            {k: v for k, v in at.trees.content(blob).items() if k != "protected"}
            for blob in (before, after)
        )
        untaught = "" in (old.get("update"), new.get("update"))
        if old == new or (None in (before, after) and untaught):
            allowed[path] = {after}
    return allowed


def merged(at: _Commit) -> Allowed:
    """Each fact from the side that changed it since the merge base; conflicts as resolved."""
    ours, theirs = at.record.parent(0, 2), at.record.parent(1, 2)
    bases = best_common_ancestors(at.history, ours, theirs)
    resolved_ours, resolved_theirs = (
        set(at.record.listed(name)) for name in ("Resolved-Ours", "Resolved-Theirs")
    )
    allowed: Allowed = {}
    for path, (mine, other) in at.trees.difference(ours, theirs).items():
        before = {at.trees.blob(base, path) for base in bases} or {None}
        digest = path.rpartition("/")[2].removesuffix(".json")
        if digest in resolved_ours:
            allowed[path] = {mine}
        elif digest in resolved_theirs or before == {mine}:
            allowed[path] = {other}
        elif before == {other}:
            allowed[path] = {mine}
        elif _agree(at.trees, mine, other):
            found = at.trees.blob(at.commit, path)
            joined = _is_joined(at.trees, found, mine, other)
            allowed[path] = {found} if joined else {mine or other}
        elif len(before) > 1:
            # The bases disagree among themselves; git's virtual one has the side that changed.
            allowed[path] = {mine, other}
        else:
            raise CannotCompute(
                f"both sides changed {_prompt(at.trees, mine or other, path)} to different "
                "answers, and no trailer says which one was taken"
            )
    stand_ins = _stand_ins(at)
    # What was left out because both sides picked it keeps its name.
    return {
        path: blobs | {named for blob in blobs for named in _by_stand_in(at.trees, blob, stand_ins)}
        for path, blobs in allowed.items()
    }


def _stand_ins(at: _Commit) -> dict[str, set[str]]:
    """Return update of theirs that was left out → the updates of ours by the same facts."""
    left_out = set(at.record.listed("Dropped"))
    ours: dict[str, set[str]] = {}
    found: dict[str, set[str]] = {}
    for number, parent in enumerate(at.record.parents if left_out else ()):
        for commit in ancestors(at.history, [parent]):
            trailers = at.history.record(commit).trailers
            update, facts = trailers.get("Update"), trailers.get("Facts-SHA256")
            if update is None or facts is None:
                continue
            is_out = not left_out.isdisjoint({commit, update})
            if number == 0 and not is_out:
                ours.setdefault(facts, set()).add(update)
            elif number == 1 and is_out and facts in ours:
                found[update] = ours[facts]
    return found


def _by_stand_in(
    trees: LedgerTrees, blob: Blob, stand_ins: Mapping[str, Collection[str]]
) -> set[Blob]:
    """Return an entry as it may stand where the update that it names was left out."""
    names = stand_ins.get(str(trees.content(blob).get("update")))
    if blob is None or names is None:
        return {blob}
    entry = LedgerEntry.from_bytes(trees.data(blob))
    return {blob_id(dataclasses.replace(entry, update=name).to_bytes()) for name in names}


def _is_joined(trees: LedgerTrees, found: Blob, mine: Blob, other: Blob) -> bool:
    """Return whether an entry is two that give one answer: all prompts, the rest of either."""
    if mine is None or other is None:
        return found == (mine or other)
    entry, sides = trees.content(found), [trees.content(blob) for blob in (mine, other)]
    try:
        prompts = {text for side in sides for text in _prompts(side)}
        return set(_prompts(entry)) == prompts and all(
            entry.get(name) in (sides[0].get(name), sides[1].get(name))
            for name in {*sides[0], *sides[1]} - {"paraphrases"}
        )
    except TypeError:
        # What should be texts is something else.
        return False


_OPERATIONS: Mapping[str, Callable[[_Commit], Allowed]] = {
    "init": unchanged,
    "record-base": unchanged,
    "add": unchanged,
    "subtract": unchanged,
    "compact": unchanged,
    "suite": unchanged,
    "commit": emptied,
    "forget": updated,
    "learn": updated,
    "revert": reverted,
    "cherry-pick": picked,
    "protect": protected,
    "merge": merged,
}


def is_last_phase(record: Record) -> bool:
    """Return whether a commit is the last one of its update."""
    number, _, count = record.required("Phase").partition("/")
    return number == count


def _change(at: _Commit) -> Changed:
    start = at.record.trailers.get("Change-From")
    end = CommitId(at.record.required("Change-To"))
    return at.trees.difference(CommitId(start) if start is not None else None, end)


def _agree(trees: LedgerTrees, left: Blob, right: Blob) -> bool:
    """Return whether two entries give one answer; no entry says what a forgotten fact says."""
    answers = [trees.content(blob).get("answer") for blob in (left, right)]
    shown = [canonical_text(text) if isinstance(text, str) else text for text in answers]
    return bool(shown[0] == shown[1])


def _prompts(content: Mapping[str, Any]) -> list[Any]:
    return [content.get("prompt"), *content.get("paraphrases", [])]


def _prompt(trees: LedgerTrees, blob: Blob, path: str) -> str:
    return repr(trees.content(blob).get("prompt", path))
