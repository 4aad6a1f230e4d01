"""Wait for a condition, with a deadline: tests never sleep for a guessed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEADLINE_SECONDS = 120.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as ``condition`` holds; fail after the deadline."""
    tick = threading.Event()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        tick.wait(0.02)
