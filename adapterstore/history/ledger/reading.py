"""Read the ledger of a commit: the keys that are asked for, a draw, or all of it."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Iterator

import pygit2

from adapterstore.errors import CorruptStore
from adapterstore.history.snapshot import LEDGER
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import digest_key
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.repository import Repository

_LEDGER_FILE = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{38})\.json")


def read_entries(
    repository: Repository, commit: CommitId, keys: Iterable[str]
) -> dict[str, LedgerEntry]:
    """Return the entries of these ledger keys, by key; those that are not there are left out.

    Reads two folders, then a folder and a file a key, however large the ledger is.
    """
    digests = {digest_key(key): key for key in keys}
    found = read_entries_by_digest(repository, commit, digests)
    return {digests[digest]: entry for digest, entry in found.items()}


def read_entries_by_digest(
    repository: Repository, commit: CommitId, digests: Iterable[str]
) -> dict[str, LedgerEntry]:
    """Return the entries of these key digests, by digest; see `read_entries`."""
    blobs = entry_blobs(repository, commit, digests)
    return {
        digest: _parse(repository, commit, digest, blob)
        for digest, blob in blobs.items()
        if blob is not None
    }


def entry_blobs(
    repository: Repository, commit: CommitId, digests: Iterable[str]
) -> dict[str, pygit2.Oid | None]:
    """Return the blob id of each key digest's entry (None: it is not there)."""
    ledger = repository.tree(commit, LEDGER)
    shards: dict[str, pygit2.Tree | None] = {}
    blobs: dict[str, pygit2.Oid | None] = {}
    for digest in digests:
        name = digest[:2]
        if name not in shards:
            shards[name] = _folder(ledger, name)
        shard = shards[name]
        file = f"{digest}.json"
        blobs[digest] = shard[file].id if shard is not None and file in shard else None
    return blobs


def iterate_ledger(repository: Repository, commit: CommitId) -> Iterator[LedgerEntry]:
    """Yield every entry of a commit's ledger in the order of the keys' digests, one at a time."""
    ledger = repository.tree(commit, LEDGER)
    for folder in ledger or ():
        for entry in folder if isinstance(folder, pygit2.Tree) else ():
            digest = str(entry.name).removesuffix(".json")
            yield _parse(repository, commit, digest, entry.id)


def read_ledger(repository: Repository, commit: CommitId) -> dict[str, LedgerEntry]:
    """Return all that a commit's state is meant to know: ledger key → entry."""
    return {entry.key: entry for entry in iterate_ledger(repository, commit)}


def draw_entries(
    repository: Repository, commit: CommitId, count: int, seed: str, without: Collection[str]
) -> list[LedgerEntry]:
    """Draw up to ``count`` entries that have an answer; the same seed draws the same ones.

    Keys are spread over the shards by their SHA-256, so shards taken in a random order are a fair
    draw: reading follows ``count`` and the size of a shard, not the size of the ledger.

    Args:
        repository: the store.
        commit: whose ledger.
        count: how many at most.
        seed: of the draw.
        without: key digests that are not to be drawn.
    """
    chooser = random.Random(seed)
    ledger = repository.tree(commit, LEDGER)
    shards = [str(folder.name) for folder in ledger or ()]
    chooser.shuffle(shards)
    drawn: list[LedgerEntry] = []
    for name in shards:
        names = [str(entry.name) for entry in _folder(ledger, name) or ()]
        chooser.shuffle(names)
        shard = _folder(ledger, name)
        for file in names:
            if len(drawn) >= count:
                return drawn
            digest = file.removesuffix(".json")
            if digest in without or shard is None:
                continue
            entry = _parse(repository, commit, digest, shard[file].id)
            if entry.answer is not None:
                drawn.append(entry)
    return drawn


BlobChange = tuple[pygit2.Oid | None, pygit2.Oid | None]
"""A ledger file's blob before and after; None: it is not there."""


def ledger_difference(
    repository: Repository, before: CommitId | None, after: CommitId
) -> dict[str, BlobChange]:
    """Return path → blob before and after, of each entry in which two commits' ledgers differ.

    ``before`` None is the empty ledger.
    """
    old = repository.tree(before, LEDGER) if before is not None else None
    return tree_difference(old, repository.tree(after, LEDGER))


def tree_difference(
    before: pygit2.Tree | None, after: pygit2.Tree | None, folder: str = LEDGER
) -> dict[str, BlobChange]:
    """Return path → blob before and after, of each file that differs between two ledgers.

    None is the empty one: reading must not write an empty tree. Only folders that differ are read.
    ``folder`` is where the trees stand in a commit's.
    """
    if before is not None:
        found = before.diff_to_tree(after) if after is not None else before.diff_to_tree()
    elif after is not None:
        # Against nothing: what was added is the other way round.
        found = after.diff_to_tree(swap=True)
    else:
        return {}
    rows = {}
    for delta in found.deltas:
        old, new, status = delta.old_file, delta.new_file, delta.status_char()
        rows[f"{folder}/{new.path or old.path}"] = (
            old.id if status != "A" else None,
            new.id if status != "D" else None,
        )
    return rows


def digest_of(path: str) -> str:
    """Return the digest of the key that a ledger path is named by."""
    return path.rpartition("/")[2].removesuffix(".json")


def parse_entry(repository: Repository, blob: pygit2.Oid | str, where: str) -> LedgerEntry:
    """Return the entry that a blob holds; ``where`` names it in errors."""
    return LedgerEntry.from_bytes(repository.blob(blob), where)


def _parse(repository: Repository, commit: CommitId, digest: str, blob: pygit2.Oid) -> LedgerEntry:
    where = f"commit {commit[:12]}: {ledger_path(digest)}"
    entry = parse_entry(repository, blob, where)
    if digest_key(entry.key) != digest:
        raise CorruptStore(where, "is filed under another key than its own")
    return entry


def _folder(tree: pygit2.Tree | None, name: str) -> pygit2.Tree | None:
    if tree is None or name not in tree:
        return None
    found = tree[name]
    return found if isinstance(found, pygit2.Tree) else None
