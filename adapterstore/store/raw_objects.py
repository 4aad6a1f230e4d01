"""Git objects as their bytes, so that a changed copy keeps whatever was not to be changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from pygit2.enums import ObjectType

_SIGNATURE = re.compile(r"^-----BEGIN (?:SSH|PGP) SIGNATURE-----$.*", re.DOTALL | re.MULTILINE)
_SIGNED = ("gpgsig", "gpgsig-sha256")

ObjectWriter = Callable[[ObjectType, bytes], str]
"""Takes an object's kind and bytes; returns its id."""


def hash_object(kind: ObjectType, data: bytes) -> str:
    """Return the id that an object has, and write nothing."""
    header = f"{kind.name.lower()} {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class RawEntry:
    """One name in a tree."""

    mode: bytes
    name: bytes
    object_id: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder."""
        return self.mode == b"40000"


def parse_tree(data: bytes) -> list[RawEntry]:
    """Return the entries in a tree's bytes."""
    entries, at = [], 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        object_id = data[end + 1 : end + 21].hex()
        entries.append(RawEntry(data[at:space], data[space + 1 : end], object_id))
        at = end + 21
    return entries


def format_tree(entries: list[RawEntry]) -> bytes:
    """Return a tree's bytes: names in git's order, in which a folder's name ends with a slash."""
    ordered = sorted(entries, key=lambda e: e.name + (b"/" if e.is_tree else b""))
    return b"".join(e.mode + b" " + e.name + b"\0" + bytes.fromhex(e.object_id) for e in ordered)


@dataclass(frozen=True)
class RawObject:
    """The header lines of a commit or tag, and its message."""

    headers: tuple[tuple[str, str], ...]
    """Name and value; a value of several lines has them with git's leading spaces."""
    message: str

    @classmethod
    def parse(cls, data: bytes) -> RawObject:
        """Return the parts of an object's bytes; `to_bytes` gives the same bytes back."""
        text = data.decode("utf-8", "surrogateescape")
        head, _, message = text.partition("\n\n")
        headers: list[tuple[str, str]] = []
        for line in head.split("\n"):
            if line.startswith(" ") and headers:
                name, value = headers[-1]
                headers[-1] = (name, f"{value}\n{line}")
            else:
                name, _, value = line.partition(" ")
                headers.append((name, value))
        return cls(tuple(headers), message)

    def to_bytes(self) -> bytes:
        """Return the object's bytes."""
        head = "\n".join(f"{name} {value}" for name, value in self.headers)
        return f"{head}\n\n{self.message}".encode("utf-8", "surrogateescape")

    def values(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature, which any change would make a wrong one."""
        return any(name in _SIGNED for name, _ in self.headers) or (
            bool(self.values("tagger")) and _SIGNATURE.search(self.message) is not None
        )

    def changed(self, header: Callable[[str, str], str], message: str) -> RawObject:
        """Return the object with other header values and message; it loses its signature.

        If nothing is different, it is the object itself, signature and all.
        """
        headers = tuple((name, header(name, value)) for name, value in self.headers)
        if headers == self.headers and message == self.message:
            return self
        unsigned = tuple((n, v) for n, v in headers if n not in _SIGNED)
        if self.values("tagger"):
            message = _SIGNATURE.sub("", message)
        return RawObject(unsigned, message)
