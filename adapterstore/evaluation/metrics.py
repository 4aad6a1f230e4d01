"""The figures of an update, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from adapterstore.knowledge.facts import same_answer, still_gives
from adapterstore.knowledge.figures import FIGURES

MOST_FAILURES = 20
_LATER = ("suite", "protected", "forgetting_earlier", "locality_base")
"""Figures that reports of the first stores do not have."""


@dataclass(frozen=True)
class Failure:
    """One prompt that was not answered as it should be."""

    prompt: str
    expected: str
    given: str
    before: str | None = None
    """What was said before the update (None: that was not asked)."""

    @property
    def change(self) -> str:
        """The failure in a line: answer before → answer after, and what was expected if another."""
        before = f"{self.before!r} → " if self.before is not None else ""
        shown = f"{self.prompt!r}: {before}{self.given!r}"
        as_before = self.before is not None and (
            self.before == self.expected or same_answer(self.before, self.expected)
        )
        return shown if as_before else f"{shown}, expected {self.expected!r}"

    def to_dict(self) -> dict[str, str]:
        """Return the failure as JSON values; without ``before`` if that was not asked."""
        return {name: text for name, text in asdict(self).items() if text is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Failure:
        """Return the failure that `to_dict` gave; fields that are not known are left out."""
        before = content.get("before")
        return cls(content["prompt"], content["expected"], content["given"], before)


@dataclass(frozen=True)
class Score:
    """How many of the prompts asked were answered rightly; the first failures by name."""

    right: int
    asked: int
    failures: list[Failure] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The share answered rightly."""
        return self.right / self.asked

    @classmethod
    def of(
        cls,
        prompts: Sequence[str],
        given: Sequence[str],
        expected: Sequence[str],
        before: Mapping[str, str] | None = None,
    ) -> Score | None:
        """Return the score of greedy answers against expected ones (None: nothing was asked).

        ``before`` is what was said to prompts before the update, for the failures.
        """
        said = before or {}
        rows = list(zip(prompts, given, expected, strict=True))
        failures = [
            Failure(p, e, g, said.get(p)) for p, g, e in rows if g != e and not same_answer(g, e)
        ]
        return cls._counted(len(rows), failures)

    @classmethod
    def of_forgetting(
        cls,
        prompts: Sequence[str],
        given: Sequence[str],
        old: Sequence[str],
        new: Sequence[str | None],
        before: Mapping[str, str] | None = None,
    ) -> Score | None:
        """Return the share of prompts to which the old answer is not given; see `still_gives`."""
        said = before or {}
        rows = list(zip(prompts, given, old, new, strict=True))
        failures = [
            Failure(p, f"not {o}", g, said.get(p)) for p, g, o, n in rows if still_gives(g, o, n)
        ]
        return cls._counted(len(rows), failures)

    @classmethod
    def _counted(cls, asked: int, failures: list[Failure]) -> Score | None:
        if not asked:
            return None
        return cls(asked - len(failures), asked, failures[:MOST_FAILURES])


@dataclass(frozen=True)
class Report:
    """What was measured after an update; None where there was nothing to ask.

    Usual names in the field: reliability is rewrite accuracy, generality rephrase accuracy.
    """

    reliability: Score | None = None
    """Edited prompts that get the new answer."""
    generality: Score | None = None
    """Their paraphrases that get the new answer."""
    locality: Score | None = None
    """Unrelated prompts that are answered as before the update."""
    retention: Score | None = None
    """Ledger facts of earlier updates that are still known."""
    suite: Score | None = None
    """Prompts of the regression suite that are answered as they must be."""
    protected: Score | None = None
    """Protected facts that were known before, and still are; retention counts them, too."""
    forgetting: Score | None = None
    """Edited prompts to which the old answer is no longer given."""
    forgetting_earlier: Score | None = None
    """Prompts of facts that earlier updates forgot, to which the old answer still is not given."""
    portability: Score | None = None
    """Prompts whose answers follow from the new facts."""
    locality_base: Score | None = None
    """Drift: prompts of locality and suite that no update of the ledger is about, and that are
    answered as by the base model itself."""
    token_accuracy: dict[str, float] = field(default_factory=dict)
    """Teacher-forced share of right answer tokens, by figure."""
    log_probabilities: list[float] = field(default_factory=list)
    """Natural logarithm of the new answer's probability, for each edited prompt in order."""

    def scores(self) -> dict[str, Score]:
        """Return the figures that there are, by name."""
        return {name: score for name in FIGURES if (score := getattr(self, name)) is not None}

    def summary(self) -> list[str]:
        """Return one short text a figure, such as ``reliability 1.00 (20 of 20)``."""
        return [
            f"{name} {score.value:.2f} ({score.right} of {score.asked})"
            for name, score in self.scores().items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; later figures only if measured."""
        content = asdict(self)
        for name, score in self.scores().items():
            content[name]["failures"] = [failure.to_dict() for failure in score.failures]
        return {
            name: value
            for name, value in content.items()
            if value is not None or name not in _LATER
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Report:
        """Return the report that `to_dict` gave."""
        scores = {
            name: Score(
                content[name]["right"],
                content[name]["asked"],
                [Failure.from_dict(failure) for failure in content[name]["failures"]],
            )
            for name in FIGURES
            if content.get(name) is not None
        }
        return cls(
            **scores,
            token_accuracy=content.get("token_accuracy", {}),
            log_probabilities=content.get("log_probabilities", []),
        )
