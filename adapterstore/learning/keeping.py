"""What an update must leave as it is: earlier facts, their other phrasings, unrelated prompts.

Each becomes a text with the answer that has to stay, and with what the model itself writes after
it, so that training can hold in place just what the model would say.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapterstore.evaluation.chat import ChatTokenizer
from adapterstore.evaluation.encoding import (
    Example,
    decode,
    encode_answer,
    encode_prompt,
    end_id,
    end_ids,
)
from adapterstore.evaluation.generation import continue_greedily
from adapterstore.knowledge.facts import Probe, same_answer
from adapterstore.knowledge.sentences import SENTENCE_MARKS

Ending = tuple[str, bool]
"""What the model writes after an answer, and whether it ends the text there."""

_MOST_CHECKED = 64


@dataclass(frozen=True)
class Kept:
    """What must be said still, as texts; what the model says now is what it must say later."""

    prompts: list[Example] = field(default_factory=list)
    """Earlier facts by their own prompts, and unrelated prompts."""
    facts: list[Example] = field(default_factory=list)
    """Of the prompts, the earlier facts', each up to the end of its answer: what comes after it is
    not asked when it is decided whether a fact is lost."""
    required: list[Example] = field(default_factory=list)
    """Likewise, of those of which no answer may be lost."""
    phrasings: list[Example] = field(default_factory=list)
    """Earlier facts by their other phrasings, of those that the model answers rightly."""
    recalled: list[Example] = field(default_factory=list)
    """Earlier facts that the model does not give, though it is meant to: they are taught again."""

    @property
    def texts(self) -> list[tuple[int, ...]]:
        """The tokens of all of it, each text once."""
        every = (*self.prompts, *self.phrasings, *self.recalled)
        return list(dict.fromkeys(example.tokens for example in every))

    def to_check(self, seed: int) -> list[Example]:
        """Return what the early stop asks for: what is required, and of many others a sample."""
        if len(self.prompts) <= _MOST_CHECKED:
            return self.prompts
        sample = random.Random(seed).sample(self.prompts, _MOST_CHECKED)
        return list(dict.fromkeys((*sample, *self.required)))

    def bears(self, lost: Collection[Example], share: float) -> bool:
        """Return whether these of the facts and the required ones may be lost.

        Nothing that is required may be, and of the earlier facts at least ``share`` has to stay.
        """
        gone = set(lost)
        facts = sum(example not in gone for example in self.facts)
        return gone.isdisjoint(self.required) and facts >= share * len(self.facts)


def keep(
    model: Any,
    tokenizer: Any,
    known: Sequence[Probe],
    phrasings: Sequence[Probe],
    unrelated: Sequence[Probe],
    required: Collection[str] = (),
) -> Kept:
    """Ask the model; return what it must go on saying.

    Args:
        model: the state before the update.
        tokenizer: its tokenizer.
        known: earlier facts, by their own prompts.
        phrasings: other prompts of theirs.
        unrelated: other prompts; one without an answer keeps whatever the model says.
        required: prompts of known and unrelated ones of which no answer may be lost. Where the
            model does not give the stated one, there is none to lose.
    """
    probes = list(dict.fromkeys((*known, *phrasings, *unrelated)))
    rows = [encode_prompt(tokenizer, probe.prompt) for probe in probes]
    stated = [[probe.answer] if probe.answer is not None else [] for probe in probes]
    said = dict(zip(probes, continue_greedily(model, tokenizer, rows, stated), strict=True))
    asked = dict(zip(probes, rows, strict=True))
    ends = end_ids(model, tokenizer)
    endings = {
        probe: ending_of(tokenizer, probe.answer, row, ends)
        for probe, row in said.items()
        if probe.answer is not None
    }
    default = usual_ending(tokenizer, list(endings.values()))
    prompts, facts, answers = list[Example](), list[Example](), dict[str, Example]()
    recalled = list[Example]()
    for probe in known:
        if probe.answer is not None:
            ending = endings[probe]
            text = teach(tokenizer, probe.prompt, probe.answer, *(ending or default))
            (recalled if ending is None else prompts).append(text)
            if ending is not None:
                facts.append(_up_to_answer(tokenizer, asked[probe], said[probe], probe.answer))
                answers[probe.prompt] = facts[-1]
    for probe in unrelated:
        ending = endings.get(probe)
        if probe.answer is not None and ending is not None:
            prompts.append(teach(tokenizer, probe.prompt, probe.answer, *ending))
            answer = _up_to_answer(tokenizer, asked[probe], said[probe], probe.answer)
            answers[probe.prompt] = answer
        elif said[probe]:
            # Whatever it says is to stay: its own tokens.
            line = _first_line(tokenizer, said[probe])
            prompts.append(Example((*asked[probe], *line), len(asked[probe])))
            if probe.answer is None:
                answers.setdefault(probe.prompt, prompts[-1])
    return Kept(
        prompts=list(dict.fromkeys(prompts)),
        facts=list(dict.fromkeys(facts)),
        required=[answer for prompt, answer in answers.items() if prompt in required],
        phrasings=[
            teach(tokenizer, probe.prompt, str(probe.answer), *ending)
            for probe in dict.fromkeys(phrasings)
            if (ending := endings.get(probe)) is not None
        ],
        recalled=list(dict.fromkeys(recalled)),
    )


def _first_line(tokenizer: Any, said: Sequence[int]) -> Sequence[int]:
    """Return what the model writes up to its first line break, which ends what is measured.

    Breaks before the first word do not count; a token that ends a line and goes on is the last.
    """
    end = len(said)
    if "\n" in decode(tokenizer, said).lstrip():
        end = next(n for n in range(1, end + 1) if "\n" in decode(tokenizer, said[:n]).lstrip())
    return said[:end]


def _up_to_answer(
    tokenizer: Any, asked: Sequence[int], said: Sequence[int], answer: str
) -> Example:
    """Return a prompt and what the model writes after it, up to the end of the answer.

    In the model's own tokens: the answer's last one may be the sentence mark's, too ("%.").
    """
    end = 1
    while end < len(said) and not same_answer(decode(tokenizer, said[:end]).strip(), answer):
        end += 1
    return Example((*asked, *said[:end]), len(asked))


def teach(tokenizer: Any, prompt: str, answer: str, ending: str, ends: bool) -> Example:
    """Return the example that teaches an answer, with what comes after it.

    An answer that brings its own sentence mark gets no second one.
    """
    if answer.endswith(tuple(SENTENCE_MARKS)):
        ending = ""
    example = encode_answer(tokenizer, prompt, answer + ending)
    end = end_id(tokenizer)
    if not ends or end is None:
        return example
    return Example((*example.tokens, end), example.start)


def ending_of(
    tokenizer: Any, answer: str, row: Sequence[int], ends: Sequence[int]
) -> Ending | None:
    """Return how a continuation goes on after an answer: a sentence mark, the end, or nothing.

    None: the continuation does not give the answer.
    """
    text = decode(tokenizer, row).strip()
    if not same_answer(text, answer):
        return None
    rest = text[len(answer) :]
    mark = rest[:1] if rest[:1] in tuple(SENTENCE_MARKS) else ""
    return mark, rest == mark and row[-1] in ends


def usual_ending(tokenizer: Any, endings: Sequence[Ending | None]) -> Ending:
    """Return what comes after most answers; of a chat's answer alone, the turn ends with it."""
    found = [ending for ending in endings if ending is not None]
    alone = ("", isinstance(tokenizer, ChatTokenizer))
    return max(dict.fromkeys(found), key=found.count) if found else alone
