"""What a command line says of an error."""

from __future__ import annotations

import errno
import traceback

from adapterstore.errors import AdapterStoreError


def one_line(text: str) -> str:
    """Return a text as one line without control characters: it may hold a file's name."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def words_of(error: BaseException) -> str:
    """Return what an error says, in one line; of the system's, with the file and what to do."""
    if isinstance(error, OSError) and error.strerror:
        if not error.filename:
            return one_line(error.strerror)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "; free space there, then try again" if full else ""
        return one_line(f"{error.filename}: {error.strerror}{advice}")
    return one_line(str(error)) or type(error).__name__


def told(error: Exception, program: str, debug: bool) -> tuple[str, int]:
    """Return what a command line says of an error, whatever it is, and the exit code.

    One line; with ``debug``, the traceback before it.
    """
    words = words_of(error)
    if not isinstance(error, AdapterStoreError | OSError):
        # Nothing that we know of: a bug, or a library's refusal of what it was given.
        words = f"unexpected {type(error).__name__}: {words}"
        if not debug:
            words += "; --debug before the verb shows where, for a report"
    code = error.exit_code if isinstance(error, AdapterStoreError) else 1
    shown = "".join(traceback.format_exception(error)) if debug else ""
    return f"{shown}{program}: error: {words}", code
