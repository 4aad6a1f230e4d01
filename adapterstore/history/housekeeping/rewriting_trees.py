"""Trees without certain texts: fact files, ledger entries, reports, and whatever quotes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pygit2.enums import ObjectType

from adapterstore.history.housekeeping.quoting import Quotes
from adapterstore.history.snapshot import (
    LEDGER,
    NOTICE_NAME,
    RECIPE_NAME,
    REPORT_NAME,
    SUITE,
    UPDATE,
)
from adapterstore.identifiers import UpdateId
from adapterstore.store.raw_objects import ObjectWriter, RawEntry, format_tree, parse_tree
from adapterstore.store.repository import Repository

NOTICE_FORMAT = 1
_README = "README.md"
_UNTOUCHED = frozenset({"deltas", "base.json", "composition.json", ".gitattributes", _README})

LedgerRule = Callable[[bytes], bytes | None]
"""What becomes of a ledger entry: its new bytes, or None to remove it."""


@dataclass
class TreeRewriter:
    """Makes changed copies of trees, each once; what does not change keeps its id."""

    repository: Repository
    update: UpdateId
    quotes: Quotes
    """What goes wherever it is quoted."""
    own_quotes: Quotes
    """What goes from the update's own folder: what other updates state too, as well."""
    ledger: LedgerRule
    fact_files: frozenset[str]
    """Blob ids of the fact files that go, wherever they stand."""
    write: ObjectWriter
    _done: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _fresh: dict[str, bytes] = field(default_factory=dict)
    _cards: dict[str, str] = field(default_factory=dict)
    """Old blob id of a model card → the new one."""
    _touched: set[str] = field(default_factory=set)
    """Old blob ids of which the texts were taken."""

    def root(self, tree: str, own: bool) -> str:
        """Return what becomes of a commit's tree; ``own``: the commit is one of the update's."""
        rule = partial(self._root_entry, own)
        return self._once(f"root {own}", tree, partial(self._tree, rule)) or tree

    def has_changed(self, tree: str | None, before: str | None) -> bool:
        """Return whether anything that differs between two old trees, already made anew, changed.

        What a commit only carries along, its parent has lost too.
        """
        if tree == before:
            return False
        sides = [
            {e.name: e for e in parse_tree(self._read(side))} if side is not None else {}
            for side in (tree, before)
        ]
        for name in sides[0].keys() | sides[1].keys():
            left, right = (side.get(name) for side in sides)
            if name == UPDATE.encode():
                # Of the parent's update nothing is taken over.
                right = None
            if left == right or name.decode("utf-8", "replace") in _UNTOUCHED:
                continue
            there = [e for e in (left, right) if e is not None]
            if any(not e.is_tree and e.object_id in self._touched for e in there):
                return True
            inner = [e.object_id if e is not None and e.is_tree else None for e in (left, right)]
            if self.has_changed(*inner):
                return True
        return False

    def with_subject(self, tree: str, subjects: tuple[str, str]) -> str:
        """Return a commit's tree whose model card has the commit's new subject for the old one.

        Another tool's commit may carry the card of an earlier one, with the subject of that one.
        """

        def swap(entry: RawEntry) -> str:
            if entry.name.decode("utf-8", "replace") != _README or entry.is_tree:
                return entry.object_id
            card, (old, new) = entry.object_id, subjects
            if old == new and card in self._cards:
                return self._cards[card]
            data = self._read(card)
            changed = data.replace(f"\n# {old}\n".encode(), f"\n# {new}\n".encode(), 1)
            self._cards[card] = self._written(
                card, data, self._blank_text(self.quotes.blank, changed)
            )
            return self._cards[card]

        return self._tree(swap, tree) or tree

    def _once(self, rule: str, old: str, make: Callable[[str], str | None]) -> str | None:
        key = (rule, old)
        if key not in self._done:
            self._done[key] = make(old)
        return self._done[key]

    def _tree(self, rule: Callable[[RawEntry], str | None], tree: str) -> str | None:
        """Apply a rule to each entry: its new id, or None to leave it out (None: all are)."""
        entries = parse_tree(self._read(tree))
        kept = []
        for entry in entries:
            object_id = rule(entry)
            if object_id is not None:
                kept.append(RawEntry(entry.mode, entry.name, object_id))
        if kept == entries:
            return tree
        if not kept:
            return None
        data = format_tree(kept)
        new = self.write(ObjectType.TREE, data)
        # `with_subject` reads it again, and the writer may only hash.
        self._fresh[new] = data
        return new

    def _root_entry(self, own: bool, entry: RawEntry) -> str | None:
        name = entry.name.decode("utf-8", "replace")
        if name in _UNTOUCHED:
            return entry.object_id
        if name == LEDGER and entry.is_tree:
            return self._once("ledger", entry.object_id, partial(self._tree, self._ledger_entry))
        if name == SUITE and entry.is_tree:
            return self._once("suite", entry.object_id, partial(self._tree, self._suite_entry))
        if name == UPDATE and entry.is_tree:
            return self._once(f"update {own}", entry.object_id, partial(self._update, own))
        return self._other_entry(entry)

    def _ledger_entry(self, entry: RawEntry) -> str | None:
        if entry.is_tree:
            return self._once("ledger", entry.object_id, partial(self._tree, self._ledger_entry))
        return self._once("entry", entry.object_id, self._ledger_blob)

    def _ledger_blob(self, blob: str) -> str | None:
        data = self._read(blob)
        changed = self.ledger(data)
        if changed is None:
            self._touched.add(blob)
            return None
        return self._written(blob, data, changed)

    def _suite_entry(self, entry: RawEntry) -> str | None:
        """Change the suite: a prompt that goes takes its file along, which is named by it."""
        if entry.is_tree:
            return self._once("suite", entry.object_id, partial(self._tree, self._suite_entry))
        try:
            content = json.loads(self._read(entry.object_id))
        except ValueError:
            content = None
        prompt = content.get("prompt") if isinstance(content, dict) else None
        if isinstance(prompt, str) and self.quotes.blank(prompt) != prompt:
            self._touched.add(entry.object_id)
            return None
        return self._other_entry(entry)

    def _update(self, own: bool, tree: str) -> str | None:
        """Change the folder ``update/``; one that holds a fact file that goes is the update's."""
        entries = parse_tree(self._read(tree))
        going = [e for e in entries if e.object_id in self.fact_files]
        own = own or bool(going)
        kept = [self._update_entry(own, e) for e in entries if e not in going]
        if going:
            notice = self.write(ObjectType.BLOB, self._notice(going))
            kept = [e for e in kept if e.name != NOTICE_NAME.encode()]
            kept.append(RawEntry(b"100644", NOTICE_NAME.encode(), notice))
        return tree if kept == entries else self.write(ObjectType.TREE, format_tree(kept))

    def _update_entry(self, own: bool, entry: RawEntry) -> RawEntry:
        name = entry.name.decode("utf-8", "replace")
        # A fact file of another update is its own statement, and its digest is recorded.
        if entry.is_tree or name in {RECIPE_NAME, NOTICE_NAME} or not (own or name == REPORT_NAME):
            return entry
        data = self._read(entry.object_id)
        if name == REPORT_NAME:
            blank = self.own_quotes.blank_all_json if own else self.quotes.blank_json
            changed = _blank_report(blank, data)
        else:
            changed = self._blank_text(self.own_quotes.blank_all, data)
        return RawEntry(entry.mode, entry.name, self._written(entry.object_id, data, changed))

    def _notice(self, going: list[RawEntry]) -> bytes:
        """Return ``redacted.json``: the digests that the files had, and whose they were."""
        files = [
            {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for data in (self._read(entry.object_id) for entry in going)
        ]
        content = {
            "format": NOTICE_FORMAT,
            "update": self.update,
            "files": sorted(files, key=lambda file: str(file["sha256"])),
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def _other_entry(self, entry: RawEntry) -> str | None:
        """Change what this release does not know: only texts that stand there as they are."""
        if entry.is_tree:
            return self._once("other", entry.object_id, partial(self._tree, self._other_entry))
        if entry.object_id in self.fact_files or entry.mode == b"160000":
            return None if entry.object_id in self.fact_files else entry.object_id
        data = self._read(entry.object_id)
        return self._written(entry.object_id, data, self._blank_text(self.quotes.blank, data))

    def _blank_text(self, blank: Callable[[str], str], data: bytes) -> bytes:
        try:
            return blank(data.decode()).encode()
        except UnicodeDecodeError:
            return data

    def _read(self, object_id: str) -> bytes:
        if object_id in self._fresh:
            return self._fresh[object_id]
        data: bytes = self.repository.git.read(object_id)[1]
        return data

    def _written(self, object_id: str, before: bytes, after: bytes) -> str:
        if before == after:
            return object_id
        self._touched.add(object_id)
        return self.write(ObjectType.BLOB, after)


def _blank_report(blank: Callable[[object], object], data: bytes) -> bytes:
    content = json.loads(data)
    changed = blank(content)
    if changed == content:
        return data
    return (json.dumps(changed, indent=1, ensure_ascii=False) + "\n").encode()
