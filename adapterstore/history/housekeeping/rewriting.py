"""Rewrite history so that texts are gone from every object that a ref or reflog reaches.

Commits are made anew from the first one that has to change on, parents first; compositions and
deltas stay as they are, byte for byte. The same history and the same texts give the same new ids,
so a run that was killed is finished by running it again.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

import pygit2
from pygit2.enums import ObjectType

from adapterstore.history.housekeeping.quoting import BLANK, Quotes
from adapterstore.history.housekeeping.rewriting_trees import TreeRewriter
from adapterstore.history.snapshot import LEDGER, NO_FACT_FILES, UPDATE
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.store.messages import (
    add_to_trailer,
    format_message,
    parse_trailers,
    split_trailers,
    subject_of,
)
from adapterstore.store.raw_objects import ObjectWriter, RawObject
from adapterstore.store.reachable import Reach, follow, read_tips
from adapterstore.store.reflog_files import read_reflogs
from adapterstore.store.repository import Repository

REDACTED = "Redacted"
"""Trailer of a commit that brought texts which were taken out: the updates whose they were.

A commit that only carried them along in its tree does not have it.
"""
REMOVED_BODY = "The facts of this update were removed from history by forget-data."
_FREE_TEXT = "Operand"
"""The trailer that may hold text; all others are ids, numbers and names."""
_MENTION = re.compile(r"\b[0-9a-f]{7,40}\b")


@dataclass
class History:
    """All commits and tags that refs and reflogs reach, and what names what."""

    tips: dict[str, str]
    """Ref → object id; the full names of all refs."""
    commits: dict[str, RawObject]
    tags: dict[str, RawObject]
    mentions: dict[str, list[str]]
    """Commit → the commits that its message mentions, by id or by the start of one."""

    def in_order(self) -> Iterable[str]:
        """Yield the commits, each after all that it names."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for commit, raw in self.commits.items():
            sorter.add(commit, *raw.values("parent"), *self.mentions[commit])
        return sorter.static_order()


def read_history(repository: Repository) -> History:
    """Return the whole history.

    Raises:
        CorruptStore: a ref reaches what is not here.
    """
    tips = read_tips(repository)
    remembered = [i for lines in read_reflogs(repository).values() for x in lines for i in x.ids]
    reach = Reach()
    follow(repository, tips.values(), reach, strict=True)
    follow(repository, remembered, reach, strict=False)
    commits: dict[str, RawObject] = {}
    tags: dict[str, RawObject] = {}
    for object_id in sorted(reach.git_objects):
        kind, _ = repository.git.odb.read_header(object_id)
        if kind in {ObjectType.COMMIT, ObjectType.TAG}:
            raw = RawObject.parse(repository.git.read(object_id)[1])
            (commits if kind == ObjectType.COMMIT else tags)[object_id] = raw
    known = list(commits)
    mentions = {
        commit: sorted(set(_mentioned(raw.message, known)) - {commit})
        for commit, raw in commits.items()
    }
    return History(tips, commits, tags, mentions)


def _mentioned(message: str, known: list[str]) -> Iterable[str]:
    for text in _MENTION.findall(message):
        at = bisect.bisect_left(known, text)
        found = [c for c in known[at : at + 2] if c.startswith(text)]
        if len(found) == 1:
            yield found[0]


def fact_blobs(repository: Repository, commit: str) -> dict[str, str]:
    """Return the fact files of a commit: name → blob id."""
    tree = repository.tree(CommitId(commit), UPDATE)
    return {
        str(entry.name): str(entry.id)
        for entry in (tree if tree is not None else ())
        if isinstance(entry, pygit2.Blob) and str(entry.name) not in NO_FACT_FILES
    }


def ledger_blobs(repository: Repository, history: History) -> Iterable[bytes]:
    """Yield the content of each ledger file of any commit, once."""
    seen: set[str] = set()
    for commit in history.commits:
        tree = repository.tree(CommitId(commit), LEDGER)
        if tree is not None:
            yield from _new_blobs(tree, seen)


def _new_blobs(tree: pygit2.Tree, seen: set[str]) -> Iterable[bytes]:
    for entry in tree:
        if str(entry.id) in seen:
            continue
        seen.add(str(entry.id))
        if isinstance(entry, pygit2.Tree):
            yield from _new_blobs(entry, seen)
        elif isinstance(entry, pygit2.Blob):
            yield entry.data


@dataclass
class Rewriter:
    """Makes the changed copies; with a writer that only hashes, nothing is written."""

    history: History
    update: UpdateId
    quotes: Quotes
    trees: TreeRewriter
    write: ObjectWriter
    own: frozenset[str]
    """The commits of the update itself."""
    new: dict[str, str] = field(default_factory=dict)
    """Old object id → new one, of the commits and tags that change."""
    unsigned: list[str] = field(default_factory=list)
    """Those of them that lose a signature."""

    def run(self) -> dict[str, str]:
        """Return what becomes of which commit and tag."""
        for commit in self.history.in_order():
            # A parent may be left out where a clone was shallow.
            if commit in self.history.commits:
                self._commit(commit, self.history.commits[commit])
        for tag in self.history.tags:
            self._tag(tag)
        return self.new

    def _commit(self, commit: str, raw: RawObject) -> None:
        own = commit in self.own
        message = self._own_message(raw.message) if own else self._blanked(raw.message)
        old_tree = raw.values("tree")[0]
        tree = self.trees.root(old_tree, own)
        first = self.history.commits.get(next(iter(raw.values("parent")), ""))
        before = first.values("tree")[0] if first is not None else None
        if own or message != raw.message or self.trees.has_changed(old_tree, before):
            message = add_to_trailer(message, REDACTED, self.update)
        message = self._with_new_ids(message, self.history.mentions[commit])
        subjects = (subject_of(raw.message), subject_of(message))
        tree = self.trees.with_subject(tree, subjects)
        self._replace(ObjectType.COMMIT, commit, raw, message, tree)

    def _tag(self, tag: str) -> str:
        if tag in self.new:
            return self.new[tag]
        raw = self.history.tags[tag]
        (target,) = raw.values("object")
        if target in self.history.tags:
            self._tag(target)
        message = self._with_new_ids(self.quotes.blank(raw.message), self.history.commits)
        self._replace(ObjectType.TAG, tag, raw, message, None)
        return self.new.get(tag, tag)

    def _replace(
        self, kind: ObjectType, old: str, raw: RawObject, message: str, tree: str | None
    ) -> None:
        def header(name: str, value: str) -> str:
            if name == "tree" and tree is not None:
                return tree
            return self.new.get(value, value) if name in {"parent", "object"} else value

        changed = raw.changed(header, message)
        if changed is raw:
            return
        self.new[old] = self.write(kind, changed.to_bytes())
        if raw.is_signed:
            self.unsigned.append(old)

    def _own_message(self, message: str) -> str:
        trailers = parse_trailers(message)
        subject = f"{trailers.get('Operation', 'update').capitalize()} facts: {BLANK}"
        if _FREE_TEXT in trailers:
            trailers[_FREE_TEXT] = self.trees.own_quotes.blank(trailers[_FREE_TEXT])
        return format_message(subject, REMOVED_BODY, trailers)

    def _blanked(self, message: str) -> str:
        text, block = split_trailers(message)
        lines = [
            self.quotes.blank(line) if line.startswith(f"{_FREE_TEXT}: ") else line
            for line in block.split("\n")
        ]
        return self.quotes.blank(text) + "\n".join(lines)

    def _with_new_ids(self, message: str, mentioned: Iterable[str]) -> str:
        """Return a message in which ids of commits, abbreviated or not, are the new ones."""
        known = sorted(c for c in mentioned if c in self.new)

        def replace(match: re.Match[str]) -> str:
            at = bisect.bisect_left(known, match[0])
            if at == len(known) or not known[at].startswith(match[0]):
                return match[0]
            return self.new[known[at]][: len(match[0])]

        return _MENTION.sub(replace, message)

    def blank_reflog(self, text: bytes, ids: tuple[str, ...]) -> bytes:
        """Return a reflog line with the new ids, and without the texts."""
        line = text.decode("utf-8", "surrogateescape")
        for old in ids:
            line = line.replace(old, self.new.get(old, old))
        head, tab, message = line.partition("\t")
        mentioned = self._with_new_ids(self.quotes.blank(message), self.history.commits)
        return f"{head}{tab}{mentioned}".encode("utf-8", "surrogateescape")
