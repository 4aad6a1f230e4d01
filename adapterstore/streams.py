"""Output that outlives its readers: work does not end because nobody reads of it."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Outliving(io.FileIO):
    """A descriptor to write to, on which some errors lose what is written and nothing else."""

    def __init__(self, descriptor: int, lost_to: type[OSError]):
        super().__init__(descriptor, "wb", closefd=False)
        self._lost_to = lost_to

    def write(self, data: ReadableBuffer, /) -> int:
        """Write; say that all was written where it could not be."""
        try:
            written: int | None = super().write(data)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return written
        except OSError as error:
            told = not isinstance(error, self._lost_to)
            # An error that is told is told once: at exit Python writes again what it still holds.
            self._lost_to = OSError
            if told:
                raise
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Make stdout and stderr UTF-8 streams that end no work.

    A command whose reader has gone, as ``head`` goes, still ends its work and tells by its exit
    code what came of it. What is said on stderr is of no account for that: a full disk or a closed
    terminal loses it, too.
    """
    sys.stdout = _anew(sys.stdout, BrokenPipeError)
    sys.stderr = _anew(sys.stderr, OSError)


def _anew(stream: TextIO, lost_to: type[OSError]) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        # None, if the descriptor is closed.
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Outliving(stream.fileno(), lost_to)),
        # A prompt in Japanese is to be printed whatever the locale is.
        encoding="utf-8",
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
