"""Which commits a verification is about."""

from __future__ import annotations

import pygit2

from adapterstore.errors import CorruptStore, UnknownRevision
from adapterstore.history.operands import is_update, resolve_change
from adapterstore.identifiers import CommitId
from adapterstore.store.refs import list_refs
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import resolve, walk


def commits_in_range(repository: Repository, revision: str | None) -> list[CommitId]:
    """Return the commits that a verification looks at, oldest first.

    Args:
        repository: the store.
        revision: a revision (all that it reaches), ``A..B`` (what B reaches and A does not),
            ``update/ID`` (its own commits); None: what any ref reaches, rejected updates included.

    Raises:
        UnknownRevision, AmbiguousRevision: no such thing, or several.
        CorruptStore: the history can't be walked.
    """
    try:
        if revision is None:
            tips = list_refs(repository, "refs/").values()
            return _reversed(repository, list(tips))
        if ".." in revision or is_update(revision):
            change = resolve_change(repository, revision)
            assert change.before is not None
            old = {CommitId(str(commit.id)) for commit in walk(repository, change.before)}
            return [c for c in _reversed(repository, [change.after]) if c not in old]
        return _reversed(repository, [resolve(repository, revision)])
    except (pygit2.GitError, KeyError) as error:
        raise CorruptStore(revision or "refs", f"its history can't be read: {error}") from error


def _reversed(repository: Repository, tips: list[CommitId]) -> list[CommitId]:
    if not tips:
        raise UnknownRevision("refs", "there is none")
    return [CommitId(str(commit.id)) for commit in walk(repository, *tips)][::-1]
