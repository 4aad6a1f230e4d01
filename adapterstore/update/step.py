"""One phase of an update as it will be committed."""

from __future__ import annotations

from dataclasses import dataclass

from adapterstore.history.snapshot import Snapshot


@dataclass(frozen=True)
class Step:
    """One phase, and the state after it."""

    operation: str
    trailers: dict[str, str]
    """From which the phase's change can be computed again."""
    state: Snapshot
    """The state after it."""
    manner: str = ""
    """How it was done, where not by training; part of the commit's subject."""
    facts: int = 0
    """Of how many facts it is, where it was not trained."""
