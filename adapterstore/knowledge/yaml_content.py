"""YAML as a fact file may use it: mappings, lists and text, read from the parser's events.

Every scalar is the text that was written (``no``, ``1.20`` and ``2026-01-01`` are answers, not a
boolean, a number and a date), except a plain ``null`` or ``~``. What a fact file has no use for,
and an attacker has, is refused: anchors, aliases, tags, deep nesting, several documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from adapterstore.errors import FactFileError
from adapterstore.knowledge.located import Fields, Items, show_name

if TYPE_CHECKING:
    from yaml._yaml import Mark as CMark
    from yaml.error import Mark

MAXIMUM_DEPTH = 8

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_CLOSED_BY_A_SIGN = ("flow sequence", "flow mapping", "quoted scalar")
_NULLS = frozenset({"null", "Null", "NULL", "~"})


def parse_yaml(text: str, name: str) -> object:
    """Return the content of a YAML document (None if there is none).

    Raises:
        FactFileError: not YAML, or YAML that a fact file may not use.
    """
    builder = _Builder(name)
    for event in _events(text, name):
        builder.take(event)
    return builder.root


def _events(text: str, name: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        problem, line = explain_error(error, text)
        raise FactFileError(name, f"not valid YAML: {problem}", line) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The last two: an escape beyond Unicode, in PyYAML without libyaml.
        raise FactFileError(name, f"not valid YAML: {str(error).splitlines()[0]}") from error


def explain_error(error: yaml.MarkedYAMLError, text: str) -> tuple[str, int]:
    """Return what is wrong with a text that is no YAML, and on which line.

    Of what was opened and not closed it is the line where it begins: the parser itself stops only
    where the next thing can't belong to it, and often that is the end of the file.
    """
    problem = " ".join(part for part in (error.context, error.problem) if part)
    stopped = _line(error.problem_mark or error.context_mark)
    if error.context_mark is None or not (error.context or "").endswith(_CLOSED_BY_A_SIGN):
        return problem, stopped
    begins = _line(error.context_mark)
    if begins < stopped <= len(text.splitlines()):
        problem += f" on line {stopped}"
    return problem, begins


def _line(mark: Mark | CMark | None) -> int:
    return 1 if mark is None else mark.line + 1


class _Builder:
    """Builds the content event by event, without recursion: depth costs no stack."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: object = None
        self.documents = 0
        self.open: list[Fields | Items] = []
        self.keys: list[tuple[str, int] | None] = []
        """For each open collection, the key that waits for its value."""

    def take(self, event: yaml.Event) -> None:
        line = _line(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise FactFileError(
                    self.name, "a second YAML document; make it a second file", line
                )
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(f"the alias *{event.anchor}", line)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_plain(event, line)
            self._take_scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_plain(event, line)
            self._take_start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
            self.keys.pop()

    def _check_plain(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.anchor is not None:
            self._refuse(f"the anchor &{event.anchor}", line)
        if event.tag is not None:
            self._refuse(f"the tag {event.tag}", line)

    def _refuse(self, what: str, line: int) -> None:
        raise FactFileError(self.name, f"{what} is not allowed; write the value itself", line)

    def _take_scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if self.open and isinstance(self.open[-1], Fields) and self.keys[-1] is None:
            if event.value in self.open[-1]:
                problem = f"the key {show_name(event.value)} stands here twice"
                raise FactFileError(self.name, problem, line)
            self.keys[-1] = (event.value, line)
        else:
            plain = event.implicit[0]
            self._place(None if plain and event.value in _NULLS else event.value, line)

    def _take_start(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self.open) == MAXIMUM_DEPTH:
            raise FactFileError(self.name, f"nested deeper than {MAXIMUM_DEPTH} levels", line)
        if self.open and isinstance(self.open[-1], Fields) and self.keys[-1] is None:
            raise FactFileError(self.name, "a list or mapping as a key; a key is a text", line)
        collection = Fields() if isinstance(event, yaml.MappingStartEvent) else Items()
        self._place(collection, line)
        self.open.append(collection)
        self.keys.append(None)

    def _place(self, value: object, line: int) -> None:
        if not self.open:
            self.root = value
            return
        parent, key = self.open[-1], self.keys[-1]
        if isinstance(parent, Items):
            parent.put(value, line)
        elif key is not None:
            parent.put(key[0], value, key[1])
            self.keys[-1] = None
