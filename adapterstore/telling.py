"""What a command line says of an error."""

from __future__ import annotations

import traceback

from adapterstore.errors import AdapterStoreError


def told(error: Exception, program: str, debug: bool) -> tuple[str, int]:
    """Return what a command line says of an error, whatever it is, and the exit code.

    One line; with ``debug``, the traceback before it.
    """
    if isinstance(error, AdapterStoreError):
        words = str(error)
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        words = f"{place}{error.strerror or error}"
    else:
        # Nothing that we know of: a bug, or a library's refusal of what it was given.
        words = f"unexpected {type(error).__name__}: {error}"
        if not debug:
            words += "; --debug before the verb shows where, for a report"
    code = error.exit_code if isinstance(error, AdapterStoreError) else 1
    shown = "".join(traceback.format_exception(error)) if debug else ""
    return f"{shown}{program}: error: {' '.join(words.split())}", code
