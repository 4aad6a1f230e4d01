"""Change history as a forger would: new commits in the place of the old, the branch moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pygit2
from pygit2.enums import ObjectType

from adapterstore import Store
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Change

Rewrite = Callable[[bytes], bytes]


def rewrite_history(
    store: Store,
    revision: str,
    changes: Mapping[str, Change] | None = None,
    *,
    raw: Rewrite = lambda text: text,
    everywhere: bool = False,
    keep_signature: bool = False,
    branch: str = "refs/heads/main",
) -> CommitId:
    """Make a commit anew, put its descendants on top of the new one, and move the branch.

    Git finds nothing wrong with the result: every id is right again.

    Args:
        store: the store.
        revision: the commit to change.
        changes: paths of its tree → new content.
        raw: changes the commit object's own text.
        everywhere: the descendants' trees get the changes too.
        keep_signature: the changed commit keeps its signature; its descendants lose theirs.
        branch: what is moved.

    Returns:
        The id of the commit that stands in the place of ``revision``.
    """
    repository = store.repository
    git = repository.git
    target, tip = store.resolve(revision), store.resolve(branch)
    chain = [tip]
    while chain[-1] != target:
        chain.append(CommitId(str(git[chain[-1]].parent_ids[0])))
    forged: dict[str, str] = {}
    for old in reversed(chain):
        text = git.odb.read(pygit2.Oid(hex=old))[1]
        if old == target or everywhere:
            commit = repository.commit(old)
            tree = repository.write_tree(commit.tree, changes or {})
            text = text.replace(str(commit.tree_id).encode(), str(tree).encode(), 1)
        for before, after in forged.items():
            text = text.replace(f"parent {before}".encode(), f"parent {after}".encode(), 1)
        if old == target:
            text = raw(text)
        if old != target or not keep_signature:
            text = without_signature(text)
        forged[old] = str(git.odb.write(ObjectType.COMMIT, text))
    git.references[branch].set_target(forged[tip])
    return CommitId(forged[target])


def without_signature(text: bytes) -> bytes:
    """Return a commit's text without its ``gpgsig`` header."""
    lines, kept, inside = text.split(b"\n"), [], False
    for line in lines:
        if line.startswith(b"gpgsig "):
            inside = True
        elif inside and line.startswith(b" "):
            continue
        else:
            inside = False
            kept.append(line)
    return b"\n".join(kept)


def replacing(old: str, new: str) -> Rewrite:
    """Return a change of a commit's text, which has to hold ``old``."""

    def change(text: bytes) -> bytes:
        assert old.encode() in text, text
        return text.replace(old.encode(), new.encode(), 1)

    return change
