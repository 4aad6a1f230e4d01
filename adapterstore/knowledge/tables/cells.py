"""From a table and its mapping to facts, one a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterstore.errors import FactFileError
from adapterstore.knowledge.facts import Fact, canonical_text, clean_text
from adapterstore.knowledge.layouts import fault_of_answer, fault_of_text
from adapterstore.knowledge.located import show_name
from adapterstore.knowledge.tables.mapping import VALUE, ColumnMapping, TableMapping
from adapterstore.knowledge.tables.table import Row, Table
from adapterstore.knowledge.tables.template import Field, Template, TemplateError


@dataclass(frozen=True)
class Cell:
    """One cell of a mapped column, as a fact."""

    row: str
    """The row's key."""
    line: int
    column: ColumnMapping
    fact: Fact
    """Its answer is None where the cell is empty."""


def map_cells(table: Table, mapping: TableMapping) -> tuple[list[Cell], list[str]]:
    """Return the cells of the mapped columns, row by row, and the rows' subjects.

    Empty cells are left out where they mean nothing.

    Raises:
        FactFileError: a column that the table lacks, a key or a subject twice, a template that a
            row can't fill, or two cells that one prompt would ask for.
    """
    _check_columns(table, mapping)
    keys: dict[str, int] = {}
    subjects: dict[str, int] = {}
    names: list[str] = []
    cells: list[Cell] = []
    prompts: dict[str, tuple[int, str]] = {}
    key_template = Template((Field(mapping.key),))
    for row in table.rows:
        key = _text(table, row, mapping.key, key_template, row.cells)
        _check_first(keys, key, table, row, mapping.key, "the key")
        subject = _text(table, row, mapping.key, mapping.subject, row.cells)
        _check_first(subjects, subject, table, row, mapping.key, "the subject")
        names.append(subject)
        for column in mapping.columns:
            if not row.cells[column.column] and column.empty == "skip":
                continue
            cell = _cell(table, row, key, subject, column)
            for prompt in dict.fromkeys(
                map(canonical_text, (cell.fact.prompt, *cell.fact.paraphrases))
            ):
                line, other = prompts.setdefault(prompt, (row.line, column.column))
                if (line, other) != (row.line, column.column):
                    problem = (
                        f"the prompt {_shown(prompt)} asks for the cell of line {line}, column "
                        f"{other}, too; name in the template what tells them apart"
                    )
                    raise FactFileError(table.name, problem, row.line, show_name(column.column))
            cells.append(cell)
    return cells, names


def _check_columns(table: Table, mapping: TableMapping) -> None:
    def check(names: tuple[str, ...], field: str, line: int | None, own: str | None = None) -> None:
        for name in names:
            if name not in table.columns and not (own is not None and name == VALUE):
                there = ", ".join(show_name(column) for column in table.columns)
                problem = f"{table.name} has no column {show_name(name)}; it has {there}"
                raise FactFileError(mapping.name, problem, line, field)

    check((mapping.key,), "key", None)
    check(mapping.subject.columns, "subject", None)
    for column in mapping.columns:
        field = f"columns.{show_name(column.column)}"
        check((column.column,), field, column.line)
        for number, prompt in enumerate(column.prompts):
            check(prompt.columns, f"{field}.prompts[{number}]", column.line)
        check(column.answer.columns, f"{field}.answer", column.line, own=column.column)


def _cell(table: Table, row: Row, key: str, subject: str, column: ColumnMapping) -> Cell:
    value = row.cells[column.column]
    prompts = [_text(table, row, column.column, t, row.cells) for t in column.prompts]
    answer = None
    if value:
        answer = _text(table, row, column.column, column.answer, {**row.cells, VALUE: value})
        if (problem := fault_of_answer(answer)) is not None:
            raise FactFileError(table.name, problem, row.line, show_name(column.column))
    fact = Fact(
        prompt=prompts[0],
        answer=answer,
        subject=subject,
        relation=column.relation,
        paraphrases=tuple(dict.fromkeys(p for p in prompts[1:] if p != prompts[0])),
        protected=column.protected,
        line=row.line,
    )
    return Cell(key, row.line, column, fact)


def _check_first(
    seen: dict[str, int], text: str, table: Table, row: Row, column: str, what: str
) -> None:
    line = seen.setdefault(canonical_text(text), row.line)
    if line != row.line:
        problem = f"{what} {_shown(text)} stands in line {line} too"
        raise FactFileError(table.name, problem, row.line, show_name(column))


def _text(table: Table, row: Row, column: str, template: Template, cells: Mapping[str, str]) -> str:
    """Return a template filled for a row, fit to be a fact's text."""
    try:
        text = template.fill(cells)
    except TemplateError as error:
        raise FactFileError(table.name, str(error), row.line, show_name(column)) from error
    if (problem := fault_of_text(text)) is not None:
        raise FactFileError(table.name, problem, row.line, show_name(column))
    return clean_text(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
