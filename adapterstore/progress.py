"""How long work tells its caller how far it is, without printing anything itself."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the stages and steps of one long operation."""

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage of ``total`` steps (None: unknown)."""

    def advance(self, steps: int = 1) -> None:
        """Count steps of the stage begun last."""

    def note(self, text: str) -> None:
        """Say one line about what happens."""


class NoProgress:
    """The default: says nothing."""

    def start(self, stage: str, total: int | None = None) -> None:
        """Ignore the stage."""

    def advance(self, steps: int = 1) -> None:
        """Ignore the steps."""

    def note(self, text: str) -> None:
        """Ignore the line."""


NO_PROGRESS = NoProgress()
