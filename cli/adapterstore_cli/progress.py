"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_QUIET_SECONDS = 5.0


class Lines:
    """One line a stage on stderr, and one every few seconds within a long one."""

    def __init__(self) -> None:
        self._stage = ""
        self._total: int | None = None
        self._done = 0
        self._said = 0.0

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage; stages of bytes are too many to tell one by one."""
        self._stage, self._total, self._done = stage, total, 0
        if not stage.startswith(("storing ", "checking ")):
            click.echo(f"{stage} …", err=True)
        self._said = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        self._done += steps
        if time.monotonic() - self._said > _QUIET_SECONDS:
            share = f" {self._done / self._total:.0%}" if self._total else ""
            click.echo(f"{self._stage}{share} …", err=True)
            self._said = time.monotonic()

    def note(self, text: str) -> None:
        """Say one line."""
        click.echo(text, err=True)


class Bar:
    """A bar of rich, drawn on stderr from the first stage on, and removed at the end."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def _shown(self) -> tuple[Progress, TaskID]:
        if self._progress is None or self._task is None:
            # Most commands are over before there is anything to draw.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._progress.add_task("", total=None)
            self._progress.start()
        return self._progress, self._task

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage."""
        progress, task = self._shown()
        progress.reset(task, description=stage, total=total)

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        progress, task = self._shown()
        progress.advance(task, steps)

    def note(self, text: str) -> None:
        """Say one line above the bar."""
        self._shown()[0].console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Remove the bar: what is said next stands on a line of its own."""
        if self._progress is not None:
            self._progress.stop()

    def __del__(self) -> None:
        self.stop()
