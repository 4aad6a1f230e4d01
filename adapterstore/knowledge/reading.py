"""From plain content to facts: each record checked against its layout, the first fault reported."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from adapterstore.errors import FactFileError
from adapterstore.knowledge.facts import Fact, equal_answers
from adapterstore.knowledge.layouts import FactList, layout_of
from adapterstore.knowledge.located import FieldPath, Number, format_path, line_of

MAXIMUM_FACTS = 100_000

_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


class ContentReader:
    """Reads the facts of one file's content.

    Args:
        content: what the file's syntax gave.
        name: the file's name, for errors.
        one_a_line: a fact's place is its line, so errors name no position in a list.
    """

    def __init__(self, content: object, name: str, *, one_a_line: bool) -> None:
        self.content, self.name, self.one_a_line = content, name, one_a_line

    def read(self) -> tuple[str | None, tuple[Fact, ...]]:
        """Return the file's source, if it names one, and its facts.

        Raises:
            FactFileError: the content is not a list of facts, or one of them has a fault.
        """
        source, path, records = self._records()
        if not records:
            self._fail(path, "no facts")
        if len(records) > MAXIMUM_FACTS:
            self._fail(path, f"{len(records):,} facts, but at most {MAXIMUM_FACTS:,} are allowed")
        return source, tuple(
            self._read_fact(record, (*path, number)) for number, record in enumerate(records)
        )

    def _records(self) -> tuple[str | None, FieldPath, list[object]]:
        if isinstance(self.content, dict):
            head = self._check(FactList, self.content, ())
            return head.source, ("facts",), self.content["facts"]
        if self.content is None:
            self._fail((), "no facts")
        if not isinstance(self.content, list):
            self._fail((), f"{_describe(self.content)}, but a list of facts is expected")
        return None, (), self.content

    def _read_fact(self, record: object, path: FieldPath) -> Fact:
        layout = layout_of(record)
        fact = self._check(layout, record, path).to_fact(line_of(self.content, path))
        if fact.answer is None or fact.old_answer is None:
            return fact
        if equal_answers(fact.answer, fact.old_answer):
            self._fail((*path, *layout.old_answer_path), "is the answer too: nothing changes")
        return fact

    def _check(self, model: type[_Model], value: object, path: FieldPath) -> _Model:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            step, problem = explain(error)
            self._fail((*path, *step), problem)

    def _fail(self, path: FieldPath, problem: str) -> NoReturn:
        shown = path[1:] if self.one_a_line else path
        line = line_of(self.content, path)
        raise FactFileError(self.name, problem, line, format_path(shown) or None)


def explain(error: ValidationError) -> tuple[FieldPath, str]:
    """Return where the first fault is and what it is, in our words."""
    fault: Any = error.errors(include_url=False)[0]
    path: FieldPath = fault["loc"]
    context = fault.get("ctx", {})
    if fault["type"] == "unknown_field":
        return (*path, context["name"]), context["problem"]
    if fault["type"] in _EXPECTED:
        return path, _unlike(fault["input"], _EXPECTED[fault["type"]])
    if path[-1:] == ("answer",) and fault["msg"] == "empty":
        return path, "empty (to forget only, write null in YAML or JSON)"
    return path, "missing" if fault["type"] == "missing" else fault["msg"]


def _unlike(value: object, expected: str) -> str:
    if expected == "a text" and isinstance(value, Number | bool):
        written = value.text if isinstance(value, Number) else str(value).lower()
        return f'{_describe(value)}; write it in quotes: "{written[:40]}"'
    return f"{_describe(value)}, but {expected} is expected"


def _describe(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case Number():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"
