"""Mappings: the small YAML file that says which facts a table's cells are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Literal, NoReturn

from pydantic import Field, ValidationError

from adapterstore.errors import FactFileError
from adapterstore.knowledge.facts import canonical_text
from adapterstore.knowledge.formats import decode_text, read_regular_file
from adapterstore.knowledge.layouts import Record, Text
from adapterstore.knowledge.located import FieldPath, format_path, line_of
from adapterstore.knowledge.reading import explain
from adapterstore.knowledge.tables.finding import mapped_name
from adapterstore.knowledge.tables.template import Template, TemplateError
from adapterstore.knowledge.yaml_content import parse_yaml

VALUE = "value"
"""What an answer's template calls the cell itself."""

Encoding = Literal["utf-8", "utf-16", "cp932", "shift_jis", "euc_jp", "cp1252", "latin-1"]
Empty = Literal["skip", "forget"]


class _ColumnRecord(Record):
    """One column as the file has it."""

    relation: Text | None = None
    prompts: Annotated[tuple[Text, ...], Field(min_length=1)]
    answer: Text = "{value}"
    protected: bool = False
    empty: Empty | None = None


class _MappingRecord(Record):
    """The whole file."""

    key: Text
    columns: Annotated[dict[Text, _ColumnRecord], Field(min_length=1)]
    subject: Text | None = None
    source: Text | None = None
    removed: Literal["forget", "keep"] = "keep"
    empty: Empty = "skip"
    encoding: Encoding = "utf-8"
    delimiter: Literal[",", ";", "\t"] = ","


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """How the cells of one column become facts."""

    column: str
    relation: str
    prompts: tuple[Template, ...]
    """The first makes the prompt, the others its paraphrases."""
    answer: Template
    protected: bool
    empty: Empty
    """What an empty cell means for a fact that the ledger has."""
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class TableMapping:
    """What the cells of a table mean."""

    name: str
    data: bytes
    """The file as it is."""
    key: str
    """The column that tells rows apart."""
    subject: Template
    source: str
    """What the ledger says of the facts' origin; by it the rows are known that have gone."""
    removed: Literal["forget", "keep"]
    encoding: Encoding
    delimiter: str
    columns: tuple[ColumnMapping, ...]

    @property
    def named(self) -> frozenset[str]:
        """The table's columns that it needs."""
        named = {self.key, *self.subject.columns}
        for column in self.columns:
            # In an answer, {value} is the cell.
            named |= set(column.answer.columns) - {VALUE}
            named |= {column.column, *(name for p in column.prompts for name in p.columns)}
        return frozenset(named)

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) of ``data``."""
        return hashlib.sha256(self.data).hexdigest()


def read_mapping(path: Path) -> TableMapping:
    """Return the mapping that a file holds.

    Raises:
        FactFileError: it can't be read, or as `parse_mapping`.
    """
    name = str(path).encode(errors="replace").decode()
    return parse_mapping(read_regular_file(path, name), name)


def parse_mapping(data: bytes, name: str) -> TableMapping:
    """Return the mapping in a file's bytes.

    Raises:
        FactFileError: the first fault, with its line and field.
    """
    return _Reader(parse_yaml(decode_text(data, name), name), name).read(data)


class _Reader:
    def __init__(self, content: object, name: str):
        self.content, self.name = content, name

    def read(self, data: bytes) -> TableMapping:
        if not isinstance(self.content, dict):
            self.fail((), "no mapping; it has at least 'key:' and 'columns:'")
        try:
            record = _MappingRecord.model_validate(self.content)
        except ValidationError as error:
            self.fail(*explain(error))
        columns = tuple(self.column(name, record) for name in record.columns)
        relations: dict[str, str] = {}
        for column in columns:
            # As the ledger's key has it.
            first = relations.setdefault(canonical_text(column.relation), column.column)
            if first != column.column:
                self.fail(
                    ("columns", column.column),
                    f"the relation {column.relation!r} is that of the column {first!r} too",
                )
        return TableMapping(
            name=self.name,
            data=data,
            key=record.key,
            subject=self.template(("subject",), record.subject or f"{{{record.key}}}"),
            source=record.source or mapped_name(PurePath(self.name).name),
            removed=record.removed,
            encoding=record.encoding,
            delimiter=record.delimiter,
            columns=columns,
        )

    def column(self, name: str, record: _MappingRecord) -> ColumnMapping:
        path: FieldPath = ("columns", name)
        column = record.columns[name]
        prompts = tuple(
            self.template((*path, "prompts", n), text) for n, text in enumerate(column.prompts)
        )
        for number, prompt in enumerate(prompts):
            if {name, VALUE} & set(prompt.columns):
                problem = "names its own column: the prompt would hold its answer"
                self.fail((*path, "prompts", number), problem)
        answer = self.template((*path, "answer"), column.answer)
        if not {name, VALUE} & set(answer.columns):
            self.fail((*path, "answer"), "does not name the cell; write {value} in it")
        return ColumnMapping(
            column=name,
            relation=column.relation or name,
            prompts=prompts,
            answer=answer,
            protected=column.protected,
            empty=column.empty or record.empty,
            line=line_of(self.content, path),
        )

    def template(self, path: FieldPath, text: str) -> Template:
        try:
            return Template.parse(text)
        except TemplateError as error:
            self.fail(path, str(error))

    def fail(self, path: FieldPath, problem: str) -> NoReturn:
        # The line of a field that is missing is the line of what it is missing in.
        line = line_of(self.content, path)
        raise FactFileError(self.name, problem, line, format_path(path) or None)
