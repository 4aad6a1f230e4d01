"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

import click

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
    """A bar of rich, drawn on stderr and removed at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

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

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage."""
        self._progress.reset(self._task, description=stage, total=total)

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        """Say one line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def __del__(self) -> None:
        self._progress.stop()
