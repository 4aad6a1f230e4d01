"""What a table changes in a ledger: cell by cell, without a model."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from adapterstore.errors import Contradiction
from adapterstore.history.ledger.index import use_index
from adapterstore.history.ledger.known import Known, find_known
from adapterstore.history.ledger.reading import read_entries
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.contradictions import differ
from adapterstore.knowledge.facts import Fact, FactFile, canonical_text, ledger_key
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry, show_key
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    from adapterstore.knowledge.tables.cells import Cell
    from adapterstore.knowledge.tables.reading import MappedTable

Status = Literal["new", "changed", "reworded", "emptied", "removed"]
FACTS_ENDING = ".facts.json"


@dataclass(frozen=True, kw_only=True)
class CellChange:
    """One cell whose fact an update changes."""

    status: Status
    row: str | None
    """The row's key; None: the row has gone, and the ledger does not know its key."""
    line: int | None
    column: str
    old: str | None
    """The ledger's answer; None: it has none."""
    fact: Fact

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {
            "status": self.status,
            "row": self.row,
            "line": self.line,
            "column": self.column,
            "subject": self.fact.subject,
            "prompt": self.fact.prompt,
            "old": self.old,
            "new": self.fact.answer,
        }


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """A table compared with a ledger."""

    commit: CommitId
    """Whose ledger."""
    mapped: MappedTable
    changes: tuple[CellChange, ...]
    """In the table's order, then what rows that have gone leave behind."""
    same: int
    """Cells that the ledger has as they are."""
    removed: tuple[str, ...]
    """Subjects of which the ledger knows cells of this table, and the table has no row."""

    @property
    def name(self) -> str:
        """The table's file name, without its folder."""
        return PurePath(self.mapped.table.name).name

    @property
    def counts(self) -> dict[str, int]:
        """How many cells are new, changed, reworded, emptied and removed."""
        counts = dict.fromkeys(get_args(Status), 0)
        for change in self.changes:
            counts[change.status] += 1
        return counts

    def place_of(self, change: CellChange) -> str:
        """Return where a cell stands, for messages."""
        return _place(self.name, change.line, change.column)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, as ``report.json`` has it."""
        table, mapping = self.mapped.table, self.mapped.mapping
        return {
            "name": self.name,
            "sha256": table.digest,
            "mapping_sha256": mapping.digest,
            "source": mapping.source,
            "key": mapping.key,
            "rows": len(table.rows),
            "columns": [column.column for column in mapping.columns],
            "cells": {"same": self.same, **self.counts},
            "removed_rows": {"count": len(self.removed), "meaning": mapping.removed},
            "changed": [change.to_dict() for change in self.changes],
        }

    def fact_file(self) -> FactFile:
        """Return the changed cells as a native fact file: the same plan gives the same bytes.

        Raises:
            FactFileError: nothing has changed, or more than a fact file may hold.
        """
        name = f"{PurePath(self.name).stem}{FACTS_ENDING}"
        facts = [_record(change.fact) for change in self.changes]
        # One fact a line, so that its line can be named; parsed again, as a verifier will.
        lines = ",\n".join(f"  {json.dumps(fact, ensure_ascii=False)}" for fact in facts)
        source = json.dumps(self.mapped.mapping.source, ensure_ascii=False)
        text = f'{{"source": {source},\n "facts": [\n{lines}\n ]}}\n'
        return parse_fact_file(text.encode(), name)


def plan_table(repository: Repository, commit: CommitId, mapped: MappedTable) -> TablePlan:
    """Compare a table with a commit's ledger; reads what concerns it, and no model.

    A cell that equals the ledger's answer is left alone, if its prompt is one that the ledger knows
    the fact by. Else it is reworded: a product that got another name is asked for by a prompt to
    which no answer was taught. Paraphrases that are new change nothing. A row has gone if the
    ledger knows a cell of it from this table (by the mapping's source) and no row has its subject.

    Raises:
        Contradiction: a cell of a protected fact has another answer, or its row has gone and is to
            be forgotten.
    """
    known = find_known(repository, commit, [cell.fact for cell in mapped.cells])
    compared = [_compare(cell, known, mapped.table.name) for cell in mapped.cells]
    taken: set[str] = set()
    # Names may have gone from row to row to row.
    while len(more := _taken(compared, known)) > len(taken):
        taken = more
        compared = [
            change or _part(cell, known, taken)
            for cell, change in zip(mapped.cells, compared, strict=True)
        ]
    changes = [change for change in compared if change is not None]
    same = len(compared) - len(changes)
    gone = _gone(repository, commit, mapped, known)
    subjects = tuple(sorted({entry.subject or "" for entry in gone}))
    if mapped.mapping.removed == "forget":
        columns = _columns_by_relation(mapped)
        for entry in gone:
            column = columns[canonical_text(entry.relation or "")]
            if entry.protected:
                raise _contradiction(_place(mapped.table.name, None, column), None, entry)
            changes.append(
                CellChange(
                    status="removed",
                    row=None,
                    line=None,
                    column=column,
                    old=entry.answer,
                    fact=_forgotten(entry),
                )
            )
    return TablePlan(
        commit=commit, mapped=mapped, changes=tuple(changes), same=same, removed=subjects
    )


def _compare(cell: Cell, known: Known, table: str) -> CellChange | None:
    entries = known.of(cell.fact.key)
    if not entries and cell.fact.answer is None:
        return None
    for entry in entries:
        if entry.protected and differ(entry.answer, cell.fact.answer):
            place = _place(table, cell.line, cell.column.column)
            raise _contradiction(place, cell.fact.answer, entry)
    status: Status = "changed" if entries else "new"
    if entries and not any(differ(entry.answer, cell.fact.answer) for entry in entries):
        if cell.fact.answer is None or _is_known(cell.fact.prompt, entries):
            return None
        status = "reworded"
    if cell.fact.answer is None:
        status = "emptied"
    return _change(status, cell, entries)


def _taken(changes: Sequence[CellChange | None], known: Known) -> set[str]:
    """Return the keys of the ledger's entries that some changes are about."""
    return {e.key for c in changes if c is not None for e in known.of(c.fact.key)}


def _part(cell: Cell, known: Known, taken: Collection[str]) -> CellChange | None:
    """Return a cell as reworded if another one changes what the ledger has for it.

    A former prompt of its row is another row's now: if not in one update, either would take the
    other's place in the ledger.
    """
    entries = known.of(cell.fact.key)
    if cell.fact.answer is None or not any(entry.key in taken for entry in entries):
        return None
    return _change("reworded", cell, entries)


def _change(status: Status, cell: Cell, entries: Sequence[LedgerEntry]) -> CellChange:
    # Of several, the one that says otherwise tells what changes.
    other = [entry for entry in entries if differ(entry.answer, cell.fact.answer)]
    return CellChange(
        status=status,
        row=cell.row,
        line=cell.line,
        column=cell.column.column,
        old=(*other, *entries)[0].answer if entries else None,
        fact=cell.fact,
    )


def _is_known(prompt: str, entries: Sequence[LedgerEntry]) -> bool:
    known = (canonical_text(other) for entry in entries for other in entry.prompts)
    return canonical_text(prompt) in known


def _gone(
    repository: Repository, commit: CommitId, mapped: MappedTable, known: Known
) -> list[LedgerEntry]:
    """Return the entries with an answer, of mapped columns, of rows that the table has no more."""
    source = mapped.mapping.source
    relations = _columns_by_relation(mapped)
    here = set(map(canonical_text, mapped.subjects))
    entries = use_index(repository, commit, lambda index: index.from_source(commit, source))
    subjects = {
        canonical_text(entry.subject)
        for entry in entries
        if entry.subject is not None and canonical_text(entry.relation or "") in relations
    }
    # A cell that something else has taught since names another source, and goes with its row.
    keys = [
        ledger_key("", subject, relation)
        for subject in sorted(subjects - here)
        for relation in relations
    ]
    found = read_entries(repository, commit, keys)
    # A row whose subject is written otherwise now has not gone: its prompts still ask for it.
    asked = {entry.key for entries in known.every.values() for entry in entries}
    return [
        found[key]
        for key in keys
        if key in found and key not in asked and found[key].answer is not None
    ]


def _columns_by_relation(mapped: MappedTable) -> dict[str, str]:
    return {canonical_text(c.relation): c.column for c in mapped.mapping.columns}


def _forgotten(entry: LedgerEntry) -> Fact:
    return Fact(
        prompt=entry.prompt,
        answer=None,
        subject=entry.subject,
        relation=entry.relation,
        paraphrases=entry.paraphrases,
    )


def _record(fact: Fact) -> dict[str, Any]:
    """Return a fact as a native record; what a cell's fact never has is left out."""
    record: dict[str, Any] = {
        "prompt": fact.prompt,
        "answer": fact.answer,
        "subject": fact.subject,
        "relation": fact.relation,
    }
    if fact.paraphrases:
        record["paraphrases"] = list(fact.paraphrases)
    if fact.protected:
        record["protected"] = True
    return record


def _place(table: str, line: int | None, column: str) -> str:
    """Return where a cell stands, for messages; without a line, its row has gone."""
    if line is None:
        return f"{table}: column {column} (the row has gone)"
    return f"{table}:{line} column {column}"


def _contradiction(place: str, answer: str | None, entry: LedgerEntry) -> Contradiction:
    return Contradiction(
        show_key(entry.key),
        place,
        "null" if answer is None else answer,
        entry.place,
        "null" if entry.answer is None else entry.answer,
        "put the table right, or 'adapterstore facts unprotect' the fact first",
    )
