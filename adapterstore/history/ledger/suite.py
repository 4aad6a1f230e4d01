"""The regression suite of a branch: put prompts into it, list them, take them out.

Every change is a commit of the same state: the composition and the ledger stay.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pygit2

from adapterstore.errors import CorruptStore, UnknownSuitePrompt
from adapterstore.history.advance import Result, advance
from adapterstore.history.ledger.reading import tree_difference
from adapterstore.history.snapshot import SUITE, NewCommit, Snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.contradictions import check_contradictions
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.suite import SuitePrompt, suite_digest, suite_path, suite_prompts
from adapterstore.store.repository import Change, Repository

_FEWEST_DIGITS = 12
"""Of a digest, to name a prompt by it."""
_SHOWN = 60
"""How much of a prompt a commit's subject shows."""


@dataclass(frozen=True)
class SuiteDraw:
    """The prompts of a suite that an update is measured on."""

    prompts: Sequence[SuitePrompt] = ()
    total: int = 0
    """How many the suite has."""


def add_to_suite(
    repository: Repository,
    branch: str | None,
    files: Sequence[FactFile],
    *,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Put the prompts of fact files into a branch's suite; see `suite_prompts`.

    A prompt that is there already gets the file's answer. Where nothing changes, no commit is made.

    Args:
        repository: the store.
        branch: which branch (None: the current one).
        files: facts whose prompts, paraphrases and locality prompts must stay.
        message: the commit's subject.
        expect: move the branch only from this revision; see `Store.commit`.

    Raises:
        Contradiction: the files say two answers for one prompt.
        RefMoved: the branch moved meanwhile.
    """
    check_contradictions(files)
    wanted = suite_prompts(files)

    def plan(tip: Snapshot) -> NewCommit | None:
        known = read_suite_prompts(repository, tip.commit, [entry.prompt for entry in wanted])
        changed = [entry for entry in wanted if known.get(entry.digest) != entry]
        return _commit(tip, "Add", "to", changed, {e.digest: e for e in changed}, message)

    return advance(repository, branch, plan, expect)


def remove_from_suite(
    repository: Repository,
    branch: str | None,
    keys: Sequence[str],
    *,
    message: str | None = None,
    expect: str | None = None,
) -> Result:
    """Take prompts out of a branch's suite.

    Args:
        repository: the store.
        branch: which branch (None: the current one).
        keys: the prompts, or the first 12 digits or more of their digests.
        message: the commit's subject.
        expect: move the branch only from this revision; see `Store.commit`.

    Raises:
        UnknownSuitePrompt: a key names none.
        RefMoved: the branch moved meanwhile.
    """

    def plan(tip: Snapshot) -> NewCommit | None:
        gone: dict[str, SuitePrompt] = {}
        for key in keys:
            digest = _find(repository, tip.commit, key)
            gone.update(_by_digest(repository, tip.commit, [digest]))
        return _commit(tip, "Remove", "from", list(gone.values()), dict.fromkeys(gone), message)

    return advance(repository, branch, plan, expect)


def iterate_suite(repository: Repository, commit: CommitId) -> Iterator[SuitePrompt]:
    """Yield every prompt of a commit's suite, in the order of their digests.

    Raises:
        CorruptStore: a file can't be read, or is not where it belongs.
    """
    for name, blob in _files(repository, commit):
        yield _parse(repository, commit, name, blob)


def read_suite_prompts(
    repository: Repository, commit: CommitId, prompts: Iterable[str]
) -> dict[str, SuitePrompt]:
    """Return which of some prompts a suite has, by digest; cost follows the prompts.

    Raises:
        CorruptStore: a file can't be read, or is not where it belongs.
    """
    return _by_digest(repository, commit, map(suite_digest, prompts))


def draw_suite(repository: Repository, commit: CommitId, limit: int, seed: str) -> SuiteDraw:
    """Draw up to ``limit`` prompts of a suite; the same seed draws the same ones.

    Raises:
        CorruptStore: a file can't be read, or is not where it belongs.
    """
    files = _files(repository, commit)
    drawn = sorted(random.Random(seed).sample(files, limit)) if len(files) > limit else files
    return SuiteDraw([_parse(repository, commit, *file) for file in drawn], len(files))


@dataclass(frozen=True)
class SuiteChange:
    """One prompt that a commit put into the suite, took out of it, or gave another answer."""

    before: SuitePrompt | None
    after: SuitePrompt | None

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        sides = {"before": self.before, "after": self.after}
        return {side: asdict(entry) if entry is not None else None for side, entry in sides.items()}


def suite_changes(repository: Repository, commit: CommitId) -> list[SuiteChange]:
    """Return how a commit's suite differs from that of its first parent.

    Raises:
        CorruptStore: a file can't be read.
    """
    parents = repository.parents(commit)
    old = repository.tree(parents[0], SUITE) if parents else None
    rows = tree_difference(old, repository.tree(commit, SUITE), SUITE)

    def read(path: str, blob: pygit2.Oid | None) -> SuitePrompt | None:
        where = f"commit {commit[:12]}: {path}"
        return SuitePrompt.from_bytes(repository.blob(blob), where) if blob is not None else None

    return [SuiteChange(read(path, a), read(path, b)) for path, (a, b) in sorted(rows.items())]


def _find(repository: Repository, commit: CommitId, key: str) -> str:
    """Return the digest that a key names: a prompt's, or the one that begins so."""
    names = [name for name, _ in _files(repository, commit)]
    for digest in names:
        if digest == suite_digest(key) or (
            len(key) >= _FEWEST_DIGITS and digest.startswith(key.lower())
        ):
            return digest
    raise UnknownSuitePrompt(key)


def _files(repository: Repository, commit: CommitId) -> list[tuple[str, pygit2.Oid]]:
    """Return digest and blob of every file, without reading any."""
    return [
        (str(entry.name).removesuffix(".json"), entry.id)
        for shard in repository.tree(commit, SUITE) or ()
        for entry in (shard if isinstance(shard, pygit2.Tree) else ())
    ]


def _by_digest(
    repository: Repository, commit: CommitId, digests: Iterable[str]
) -> dict[str, SuitePrompt]:
    suite = repository.tree(commit, SUITE)
    found: dict[str, SuitePrompt] = {}
    for digest in dict.fromkeys(digests) if suite is not None else ():
        shard = suite[digest[:2]] if suite is not None and digest[:2] in suite else None
        name = f"{digest}.json"
        if isinstance(shard, pygit2.Tree) and name in shard:
            found[digest] = _parse(repository, commit, digest, shard[name].id)
    return found


def _parse(repository: Repository, commit: CommitId, digest: str, blob: pygit2.Oid) -> SuitePrompt:
    where = f"commit {commit[:12]}: {suite_path(digest)}"
    entry = SuitePrompt.from_bytes(repository.blob(blob), where)
    if entry.digest != digest:
        raise CorruptStore(where, "is filed under another prompt than its own")
    return entry


def _commit(
    tip: Snapshot,
    verb: str,
    preposition: str,
    changed: Sequence[SuitePrompt],
    entries: dict[str, SuitePrompt] | dict[str, SuitePrompt | None],
    message: str | None,
) -> NewCommit | None:
    if not changed:
        return None
    named = f"{len(changed)} prompts"
    if len(changed) == 1:
        prompt = " ".join(changed[0].prompt.split())
        named = prompt if len(prompt) <= _SHOWN else f"{prompt[: _SHOWN - 1]}…"
    files: dict[str, Change] = {
        suite_path(digest): entry.to_bytes() if entry is not None else None
        for digest, entry in entries.items()
    }
    return NewCommit(
        composition=tip.composition,
        base=tip.base,
        subject=message or f"{verb} {named} {preposition} the suite",
        trailers={"Operation": "suite"},
        suite=files,
    )
