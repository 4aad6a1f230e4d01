"""From what a user types to a commit.

Git's own syntax (branches, tags, ``main~2``, ``HEAD^``, ``main@{1}``, abbreviated ids), and
``update/ID``: the last commit of an update, found by its ``Update:`` trailer. Updates have no ref
of their own, so publishing one moves exactly one ref.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pygit2
from pygit2.enums import SortMode

from adapterstore.errors import AmbiguousRevision, UnknownRevision
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.messages import listed, parse_trailers
from adapterstore.store.refs import current_branch, head_branch, list_refs, read_ref
from adapterstore.store.repository import Repository, intact
from adapterstore.store.rewrites import find_rewritten

REJECTED = "refs/adapterstore/rejected/"
MINIMUM_DIGITS = 4
_UPDATE = re.compile(r"update/([0-9a-f]{4,}(?:-\d+)?)((?:~\d*|\^\d*)*)")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,40}")


def resolve(repository: Repository, revision: str) -> CommitId:
    """Return the commit that a revision names.

    Raises:
        UnknownRevision: none.
        AmbiguousRevision: an abbreviated id that begins several.
    """
    check_text(revision)
    match = _UPDATE.fullmatch(revision)
    if match is not None:
        commit_id = find_update(repository, match[1])[-1]
        return _resolve_git(repository, commit_id + match[2], revision)
    return _resolve_git(repository, revision, revision)


def check_text(revision: object) -> None:
    """Raise `UnknownRevision` for what is no text: a `Path`, say, which names a file."""
    if not isinstance(revision, str):
        problem = f"names no revision: it is of type {type(revision).__name__}"
        raise UnknownRevision(str(revision), problem, "give a revision as text")


def _resolve_git(repository: Repository, text: str, revision: str) -> CommitId:
    if not text or text.startswith("-") or "\0" in text or ":" in text:
        raise UnknownRevision(revision)
    too_short = _HEXADECIMAL.fullmatch(text) and len(text) < MINIMUM_DIGITS
    if too_short and _read_short(repository, text) is None:
        raise UnknownRevision(revision, f"an abbreviated id needs at least {MINIMUM_DIGITS} digits")
    try:
        found = repository.git.revparse_single(text)
        return CommitId(str(found.peel(pygit2.Commit).id))
    except (KeyError, pygit2.GitError, ValueError) as error:
        repository.check_there()
        candidates = _commits_that_begin(repository, text)
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise AmbiguousRevision(revision, [str(c)[:12] for c in candidates]) from error
        if text in ("HEAD", "@"):
            current_branch(repository)  # Says what is wrong with it.
        new = find_rewritten(repository, text) if _HEXADECIMAL.fullmatch(text) else None
        if new is not None:
            problem = f"forget-data has rewritten this commit; it is {new[:12]} now"
            raise UnknownRevision(revision, problem) from error
        raise UnknownRevision(revision) from error


def _read_short(repository: Repository, short_name: str) -> CommitId | None:
    """Return what a branch or tag of this short name names."""
    for prefix in ("refs/heads/", "refs/tags/"):
        if (found := read_ref(repository, prefix + short_name)) is not None:
            return found
    return None


def _commits_that_begin(repository: Repository, text: str) -> list[CommitId]:
    """Return the commits whose ids begin with ``text``; other objects do not count."""
    if not _HEXADECIMAL.fullmatch(text) or len(text) < MINIMUM_DIGITS:
        return []
    prefix = text.lower()
    return sorted(
        CommitId(str(oid))
        for oid in repository.git.odb
        if str(oid).startswith(prefix) and isinstance(repository.git[oid], pygit2.Commit)
    )


def walk(
    repository: Repository, *tips: CommitId, hidden: Iterable[CommitId] = ()
) -> Iterator[pygit2.Commit]:
    """Yield the commits that ``tips`` reach and ``hidden`` do not, children before parents."""
    walker = repository.git.walk(None, SortMode.TOPOLOGICAL)
    with intact("history"):
        for tip in tips:
            walker.push(pygit2.Oid(hex=tip))
        for tip in hidden:
            walker.hide(pygit2.Oid(hex=tip))
        yield from walker


def message_of(commit: pygit2.Commit) -> str:
    """Return a commit's message; other tools may have written it, in any encoding."""
    try:
        return commit.raw_message.decode(commit.message_encoding or "utf-8", "replace")
    except LookupError:
        return commit.raw_message.decode("utf-8", "replace")


def find_update(repository: Repository, update: str, tip: CommitId | None = None) -> list[CommitId]:
    """Return the commits of an update, oldest first; its id may be abbreviated.

    Any ref will do: a branch, a tag, or that of a rejected update. Where clones gave one id to two
    updates, the one below ``tip`` (None: the current branch's) is meant, but none that a merge
    left out.

    Raises:
        UnknownRevision: no such update.
        AmbiguousRevision: several updates begin so, or have this id.
    """
    found = update_chains(walk(repository, *list_refs(repository, "refs/").values()), update)
    if update not in found:
        if len(update) < MINIMUM_DIGITS:
            problem = f"an abbreviated id needs at least {MINIMUM_DIGITS} digits"
            raise UnknownRevision(f"update/{update}", problem)
        if not found:
            raise UnknownRevision(f"update/{update}", "no such update")
        if len(found) > 1:
            raise AmbiguousRevision(f"update/{update}", sorted(f"update/{name}" for name in found))
        (update,) = found
    return _the_one(repository, update, found[update], tip)


def reachable_update(repository: Repository, tip: CommitId, update: str) -> list[CommitId]:
    """Return the commits of an update that ``tip`` reaches, oldest first.

    Raises:
        UnknownRevision: it reaches none.
        AmbiguousRevision: it reaches several of this id, and no merge left one of them out.
    """
    found = update_chains(walk(repository, tip), update)
    if update not in found:
        raise UnknownRevision(f"update/{update}", f"is not below {tip[:12]}")
    return _the_one(repository, update, found[update], tip)


def update_chains(
    commits: Iterable[pygit2.Commit], update: str = ""
) -> dict[str, list[list[CommitId]]]:
    """Return the commits of updates whose ids begin so: by id, each oldest first.

    Clones that do not know of each other give one id to what each of them makes of the same facts.

    Args:
        commits: children before parents.
        update: what the ids begin with.
    """
    phases = []
    for commit in commits:
        trailers = parse_trailers(message_of(commit))
        name = trailers.get("Update")
        if name is not None and name.startswith(update) and trailers.get("Operation") in PHASES:
            phases.append((name, commit))
    found: dict[str, list[list[CommitId]]] = {}
    for name, commit in reversed(phases):
        chains = found.setdefault(name, [])
        parents = [str(parent) for parent in commit.parent_ids]
        begun = next((chain for chain in chains if chain[-1] in parents), None)
        if begun is None:
            chains.append(begun := [])
        begun.append(CommitId(str(commit.id)))
    return found


def _the_one(
    repository: Repository, update: str, chains: list[list[CommitId]], tip: CommitId | None
) -> list[CommitId]:
    branch = head_branch(repository) if tip is None and len(chains) > 1 else None
    tip = read_ref(repository, branch) if branch is not None else tip
    if len(chains) > 1 and tip is not None:
        below: set[str] = set()
        left_out: set[str] = set()
        for commit in walk(repository, tip):
            below.add(str(commit.id))
            left_out.update(listed(parse_trailers(message_of(commit)), "Dropped"))
        here = [chain for chain in chains if chain[-1] in below]
        chains = [chain for chain in here if chain[-1] not in left_out] or here or chains
    if len(chains) > 1:
        ranges = [
            f"{str(before)[:12]}..{chain[-1][:12]}"
            for chain in chains
            for before in repository.parents(chain[0])[:1]
        ]
        raise AmbiguousRevision(f"update/{update}", ranges)
    return chains[0]


PHASES = ("forget", "learn")
"""Operations of the commits that make up an update."""


def branch_ref(repository: Repository, branch: str | None) -> str:
    """Return the full ref name of a branch (None: the current one).

    Raises:
        UnknownRevision: no such branch.
    """
    if branch is None:
        return current_branch(repository)
    check_text(branch)
    name = branch if branch.startswith("refs/heads/") else f"refs/heads/{branch}"
    if read_ref(repository, name) is None:
        raise UnknownRevision(branch, "no such branch")
    return name


def known_update_ids(repository: Repository) -> dict[UpdateId, CommitId]:
    """Return the ids of all updates that any ref reaches, each with a commit that has it."""
    tips = [*list_refs(repository, "refs/").values()]
    return {
        UpdateId(name): CommitId(str(commit.id))
        for commit in walk(repository, *tips)
        if (name := parse_trailers(message_of(commit)).get("Update")) is not None
    }
