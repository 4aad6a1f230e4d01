"""What a verification says: each finding names a commit, what, the expected and the found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that does not follow from what it should follow from."""

    where: str
    """A commit's full id; a tag's ref name."""
    what: str
    expected: str
    found: str
    intact: bool = False
    """Whether nothing was changed: nobody who counts has signed it."""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return {
            "where": self.where,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
        }


@dataclass
class Verification:
    """What was looked at, and what was wrong with it."""

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""

    def report(
        self, where: str, what: str, expected: object, found: object, *, intact: bool = False
    ) -> None:
        """Add a finding."""
        self.findings.append(Finding(where, what, str(expected), str(found), intact))

    def count(self, kind: str, number: int = 1) -> None:
        """Count things that were looked at."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def note(self, text: str) -> None:
        """Say once what could not be looked at."""
        if text not in self.notes:
            self.notes.append(text)
