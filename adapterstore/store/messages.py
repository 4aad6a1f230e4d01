"""Commit messages with git trailers, which ``git interpret-trailers`` reads too."""

from __future__ import annotations

import re
from collections.abc import Mapping

from adapterstore.errors import InvalidSetting

COMMIT_TRAILERS = ("Change-From", "Change-To", "Reverts", "Merged", "Dropped", "Restored")
"""Trailers whose values are, or list, full commit ids (``Dropped``: or ids of updates)."""

_TRAILER = re.compile(r"([A-Za-z][A-Za-z0-9-]*): (.*)")

_COMMIT = re.compile(r"[0-9a-f]{40}")


def format_message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """Return one commit message; line breaks in the subject and in values become spaces.

    A blank subject would make trailers the first paragraph, where nobody reads them: the operation
    stands in for it.
    """
    parts = [one_line(subject) or trailers.get("Operation", "commit").capitalize()]
    body = body.replace("\0", "").strip()
    if body:
        # A body's own last paragraph must not be read as trailers.
        parts.append("\n".join(line.rstrip() for line in body.splitlines()))
    block = "\n".join(f"{name}: {one_line(value)}" for name, value in trailers.items())
    if block:
        parts.append(block)
    return "\n\n".join(parts) + "\n"


def parse_trailers(message: str) -> dict[str, str]:
    """Return the trailers of a message: its last paragraph, if every line of it is one."""
    paragraphs = message.strip().split("\n\n")
    if len(paragraphs) < 2:
        return {}
    matches = [_TRAILER.fullmatch(line) for line in paragraphs[-1].split("\n")]
    return {m[1]: m[2].strip() for m in matches if m} if all(matches) else {}


def listed(trailers: Mapping[str, str], name: str) -> list[str]:
    """Return what a trailer lists; nothing if it is not there."""
    return trailers.get(name, "").replace(",", " ").split()


def named_commits(message: str) -> list[str]:
    """Return the ids of the commits that a message's trailers name."""
    trailers = parse_trailers(message)
    return [
        commit
        for name in COMMIT_TRAILERS
        for commit in listed(trailers, name)
        if _COMMIT.fullmatch(commit)
    ]


def add_to_trailer(message: str, name: str, value: str) -> str:
    """Return a message whose trailer ``name`` lists ``value`` too; comma-separated, each once."""
    trailers = parse_trailers(message)
    listed = [item.strip() for item in trailers.get(name, "").split(",") if item.strip()]
    if value in listed:
        return message
    text, block = split_trailers(message)
    kept = [line for line in block.splitlines() if not line.startswith(f"{name}: ")]
    block = "\n".join([*kept, f"{name}: {', '.join([*listed, value])}"])
    return f"{text.rstrip()}\n\n{block}\n"


def split_trailers(message: str) -> tuple[str, str]:
    """Return a message's text and its trailers; together they are the message."""
    if not parse_trailers(message):
        return message, ""
    at = message.rstrip().rindex("\n\n") + 2
    return message[:at], message[at:]


def subject_of(message: str) -> str:
    """Return the first line of a message."""
    return message.partition("\n")[0]


def body_of(message: str) -> str:
    """Return what stands between the first line of a message and its trailers."""
    paragraphs = message.strip().split("\n\n")
    end = -1 if parse_trailers(message) else None
    return "\n\n".join(paragraphs[1:end])


def check_message(text: object) -> None:
    """Raise `InvalidSetting` for a message that is no text."""
    if not isinstance(text, str):
        raise InvalidSetting("message", f"must be text, not of type {type(text).__name__}")


def one_line(text: str) -> str:
    """Return a text without line breaks, fit for git."""
    check_message(text)
    # A name that is not UTF-8 reaches us with half characters, which git can't keep; at a NUL it
    # would end the message.
    return " ".join(text.encode(errors="replace").decode().replace("\0", "").split())
