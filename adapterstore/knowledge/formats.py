"""Read fact files: native YAML, JSON, JSON Lines and CSV; CounterFact and zsRE as they are."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePath

from adapterstore.errors import FactFileError
from adapterstore.knowledge.csv_content import parse_csv
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.json_content import parse_json, parse_json_lines
from adapterstore.knowledge.located import CONTROL_CHARACTER
from adapterstore.knowledge.yaml_content import parse_yaml

MAXIMUM_BYTES = 64 * 1024**2

_PARSERS: dict[str, Callable[[str, str], object]] = {
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".json": parse_json,
    ".jsonl": parse_json_lines,
    ".csv": parse_csv,
}
_ONE_A_LINE = frozenset({".jsonl", ".csv"})

SUFFIXES = tuple(_PARSERS)
"""The suffixes of fact files."""


def read_fact_file(path: Path) -> FactFile:
    """Return the facts of a file.

    Raises:
        FactFileError: not a regular file, not readable, too large, or as `parse_fact_file`.
    """
    # A path need not be UTF-8; what is told and stored of it is.
    name = str(path).encode(errors="replace").decode()
    # The name decides before anything is read: a folder of videos is not loaded to be refused.
    _suffix(name)
    return parse_fact_file(read_regular_file(path, name), name)


def parse_fact_file(data: bytes, name: str) -> FactFile:
    """Return the facts in a file's bytes; the suffix of its name tells the format.

    Raises:
        FactFileError: the first fault, with its line and field.
    """
    # pydantic takes longer to load than most files to read.
    from adapterstore.knowledge.reading import ContentReader

    content = parse_content(data, name)
    source, facts = ContentReader(content, name, one_a_line=_suffix(name) in _ONE_A_LINE).read()
    digest = hashlib.sha256(data).hexdigest()
    return FactFile(name=name, source=source, facts=facts, data=data, digest=digest)


def parse_content(data: bytes, name: str) -> object:
    """Return what a file's syntax says, with lines, before anybody asks whether it is facts.

    Raises:
        FactFileError: not of the format that its name tells, not UTF-8, or too large.
    """
    suffix = _suffix(name)
    if len(data) > MAXIMUM_BYTES:
        raise _too_large(name)
    return _PARSERS[suffix](decode_text(data, name), name)


def _suffix(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    if suffix not in _PARSERS:
        problem = f"not a fact file by its name; it has to end in {', '.join(SUFFIXES)}"
        raise FactFileError(name, problem)
    return suffix


def read_regular_file(path: Path, name: str) -> bytes:
    """Return the bytes of a regular file; never waits for a FIFO, never trusts the size stated.

    Raises:
        FactFileError: not a regular file, not readable, or larger than `MAXIMUM_BYTES`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(kind):
                raise FactFileError(name, "a folder, not a file")
            if not stat.S_ISREG(kind):
                raise FactFileError(name, "not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAXIMUM_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FactFileError(name, f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise FactFileError(name, "can't be read: its name has a NUL character") from error
    if len(data) > MAXIMUM_BYTES:
        raise _too_large(name)
    return data


def _too_large(name: str) -> FactFileError:
    return FactFileError(name, f"larger than {MAXIMUM_BYTES // 1024**2} MiB; split it")


def decode_text(data: bytes, name: str, encoding: str = "utf-8") -> str:
    """Return a file's text; a byte order mark at its start is no part of it.

    Raises:
        FactFileError: empty, binary, not text in this encoding, or with a control character.
    """
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise FactFileError(name, "empty")
    if encoding == "utf-8" and b"\0" in data:
        raise FactFileError(name, "a binary file (it has NUL bytes); fact files are UTF-8 text")
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        shown = encoding.upper()
        raise FactFileError(name, f"not {shown} text; save it as {shown}", line) from error
    if (found := CONTROL_CHARACTER.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise FactFileError(name, f"control character U+{ord(found[0]):04X}", line)
    return text
