"""The output file: one JSON line a finished run, by which an interrupted benchmark goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Line = dict[str, Any]
KEY = ("part", "base", "mix", "row", "seed", "changed")
"""What tells one run from another."""


class Results:
    """The lines of a file, and runs that add to them."""

    def __init__(self, path: Path):
        self._path = path
        self.lines: list[Line] = []
        if path.exists():
            # A line that a crash cut short is made again.
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole, encoding="utf-8")
            self.lines = [json.loads(line) for line in whole.splitlines()]

    def find(self, **values: Any) -> list[Line]:
        """Return the lines that have these values."""
        return [line for line in self.lines if all(line.get(k) == v for k, v in values.items())]

    def once(self, key: Line, run: Callable[[], Line]) -> Line:
        """Return the line of a key; make and write it if it is not there."""
        assert tuple(key) == KEY
        found = self.find(**key)
        if found:
            return found[0]
        line = {**key, **run()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.lines.append(line)
        figures = "  ".join(f"{n} {v:.3f}" for n, v in line.get("figures", {}).items())
        print(" ".join(str(value) for value in key.values()), figures, flush=True)
        return line
