"""The same questions put to a model twice: what an intervention between them changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapterstore.knowledge.facts import same_answer, still_gives

FORGETTING = "forgetting"


@dataclass(frozen=True)
class Question:
    """A prompt, and what decides whether it is answered rightly."""

    figure: str
    """Which figure it counts for; of ``forgetting``, the answer must not be given."""
    prompt: str
    answer: str
    new: str | None = None
    """Of ``forgetting``: what took the answer's place."""

    def is_right(self, given: str) -> bool:
        """Tell whether a greedy answer is right."""
        if self.figure == FORGETTING:
            return not still_gives(given, self.answer, self.new)
        return given == self.answer or same_answer(given, self.answer)


@dataclass(frozen=True)
class Shift:
    """One figure before and after."""

    figure: str
    asked: int
    before: int
    """Prompts answered rightly before."""
    after: int
    lost: int
    """Right before, wrong after; of ``forgetting``: old answers that came back."""
    gained: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as JSON values; shares with four decimals."""
        return {
            "asked": self.asked,
            "before": {"right": self.before, "value": round(self.before / self.asked, 4)},
            "after": {"right": self.after, "value": round(self.after / self.asked, 4)},
            "lost": self.lost,
            "gained": self.gained,
        }


@dataclass(frozen=True)
class Turned:
    """A prompt whose answer is right no longer, or right now."""

    question: Question
    before: str
    after: str
    right: bool
    """Whether it is right after."""

    def to_dict(self) -> dict[str, Any]:
        """Return the prompt as JSON values."""
        return {
            "figure": self.question.figure,
            "prompt": self.question.prompt,
            "answer": self.question.answer,
            "before": self.before,
            "after": self.after,
            "right": self.right,
        }


@dataclass(frozen=True)
class Effect:
    """What an intervention did to the answers of a state."""

    name: str
    told: str
    """How it was done, in a few words."""
    shifts: list[Shift]
    turned: list[Turned]

    def to_dict(self) -> dict[str, Any]:
        """Return the effect as JSON values."""
        return {
            "effect": self.name,
            "how": self.told,
            "figures": {shift.figure: shift.to_dict() for shift in self.shifts},
            "changed": [turned.to_dict() for turned in self.turned],
        }


def answer_questions(model: Any, tokenizer: Any, questions: Sequence[Question]) -> dict[str, str]:
    """Return the model's greedy answer to each prompt; a prompt of several questions is put once.

    Raises:
        PromptTooLong: a prompt leaves no room for an answer.
        NotWritable: the tokenizer makes no token of one.
    """
    from adapterstore.evaluation.generation import answers_to
    from adapterstore.evaluation.measure import asked_for

    asked = asked_for((question.prompt, question.answer) for question in questions)
    return answers_to(model, tokenizer, asked)


def compare_answers(
    name: str,
    told: str,
    questions: Sequence[Question],
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> Effect:
    """Return what became of the answers; figures in the order in which they are first asked."""
    shifts = []
    turned = []
    for figure in dict.fromkeys(question.figure for question in questions):
        asked = [question for question in questions if question.figure == figure]
        was = [question.is_right(before[question.prompt]) for question in asked]
        now = [question.is_right(after[question.prompt]) for question in asked]
        lost = sum(w and not n for w, n in zip(was, now, strict=True))
        gained = sum(n and not w for w, n in zip(was, now, strict=True))
        shifts.append(Shift(figure, len(asked), sum(was), sum(now), lost, gained))
        turned += [
            Turned(question, before[question.prompt], after[question.prompt], n)
            for question, w, n in zip(asked, was, now, strict=True)
            if w != n
        ]
    return Effect(name, told, shifts, turned)
