"""JSON and JSON Lines: the standard decoder, one record at a time, so that each has its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json import JSONDecodeError
from typing import NoReturn

from adapterstore.errors import FactFileError
from adapterstore.knowledge.located import Fields, Items, Number, show_name

_SPACE = frozenset(" \t\r\n")


def parse_json(text: str, name: str) -> object:
    """Return the content of a JSON text; the outer list or mapping, and ``facts``, know lines.

    Raises:
        FactFileError: not JSON, a key twice in one object, NaN or infinity, or nested too deeply.
    """
    reader = _Reader(text, name)
    content = reader.read_outer()
    reader.expect_end()
    return content


def parse_json_lines(text: str, name: str) -> Items:
    """Return the content of JSON Lines: one value a line, blank lines left out.

    Raises:
        FactFileError: as `parse_json`, or more than one value in a line.
    """
    items = Items()
    # Not splitlines: JSON allows U+2028 and its like inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            reader = _Reader(line, name, number)
            items.put(reader.read_value(), number)
            reader.expect_end()
    return items


class _NotAllowedError(ValueError):
    """JSON that the standard decoder would let through."""


class _Reader:
    """Reads values from a position on; only the outermost two levels are its own work."""

    def __init__(self, text: str, name: str, line: int = 1) -> None:
        self.text, self.name = text, name
        self.position = 0
        self.counted, self.line = 0, line

    def read_outer(self) -> object:
        """Read the whole content: a list of records, or a mapping that may hold one as facts."""
        first = self._peek()
        if first == "[":
            return self._read_items()
        if first != "{":
            return self.read_value()
        fields = Fields()
        for line in self._elements("}"):
            key = self.read_value() if self._peek() == '"' else None
            if not isinstance(key, str):
                self._fail("not valid JSON: expected a key in double quotes")
            if key in fields:
                self._fail(f"the key {show_name(key)} stands here twice")
            self._expect(":")
            value = self._read_items() if self._peek() == "[" else self.read_value()
            fields.put(key, value, line)
        return fields

    def read_value(self) -> object:
        """Read any one value."""
        self._peek()
        line = self._line()
        try:
            value, self.position = _DECODER.raw_decode(self.text, self.position)
        except JSONDecodeError as error:
            self.position = error.pos
            self._fail(f"not valid JSON: {error.msg}")
        except _NotAllowedError as error:
            raise FactFileError(self.name, str(error), line) from error
        except RecursionError as error:
            raise FactFileError(self.name, "nested too deeply", line) from error
        return value

    def expect_end(self) -> None:
        """Refuse anything but whitespace from here on."""
        if self._peek():
            self._fail("not valid JSON: there is more after the end of the value")

    def _read_items(self) -> Items:
        items = Items()
        for line in self._elements("]"):
            items.put(self.read_value(), line)
        return items

    def _elements(self, closing: str) -> Iterator[int]:
        """Stop at each element of the collection that opens here, giving its line."""
        self.position += 1
        if self._peek() != closing:
            yield self._line()
            while self._peek() != closing:
                self._expect(",")
                self._peek()
                yield self._line()
        self.position += 1

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            self._fail(f"not valid JSON: expected {character!r}")
        self.position += 1

    def _peek(self) -> str:
        """Return the next character that is not whitespace; empty at the end."""
        while self.text[self.position : self.position + 1] in _SPACE:
            self.position += 1
        return self.text[self.position : self.position + 1]

    def _line(self) -> int:
        self.line += self.text.count("\n", self.counted, self.position)
        self.counted = self.position
        return self.line

    def _fail(self, problem: str) -> NoReturn:
        raise FactFileError(self.name, problem, self._line())


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise _NotAllowedError(f"the key {show_name(key)} stands twice in one record")
        fields[key] = value
    return fields


def _refuse_constant(constant: str) -> NoReturn:
    raise _NotAllowedError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse_constant,
)
