"""Measure an update against the state before it and against the base, and say what broke.

One loaded base serves all three states; what a state is known to say is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.composition import Composition
from adapterstore.counting import counted
from adapterstore.history.attach import attach_composition, attached
from adapterstore.history.ledger.index import LedgerIndex, use_index
from adapterstore.history.ledger.known import Retained
from adapterstore.history.ledger.suite import SuiteDraw, draw_suite
from adapterstore.history.state_answers import StateAnswers
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, Probe, canonical_text, same_answer, still_gives
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    import torch

    from adapterstore.evaluation.generation import Asked
    from adapterstore.evaluation.metrics import Report

_NAMED = 3
"""How many prompts a note names."""


@dataclass(frozen=True)
class Guarded:
    """What an update must leave alone, besides the facts of the ledger."""

    locality: Sequence[Probe] = ()
    suite: Sequence[Probe] = ()
    drawn: SuiteDraw = field(default_factory=SuiteDraw)
    taught: frozenset[str] = frozenset()
    """Which of the prompts an update has changed on purpose, this one or one in the ledger."""
    asked: Sequence[str] = ()
    """Prompts that would be among them, but that the update's own facts ask: of the suite, and
    those of locality that state the very answer that is taught."""

    @property
    def probes(self) -> list[Probe]:
        """Return every prompt to preserve."""
        return list(dict.fromkeys((*self.locality, *self.suite)))


def find_guarded(
    repository: Repository, commit: CommitId, facts: Sequence[Fact], most: int, seed: str
) -> Guarded:
    """Return what an update of some facts must leave alone.

    Args:
        repository: the store.
        commit: the commit that the update starts from.
        facts: what it changes.
        most: how many prompts of the suite are drawn.
        seed: of the draw.
    """
    drawn = draw_suite(repository, commit, most, seed)
    own = {canonical_text(prompt) for fact in facts for prompt in (fact.prompt, *fact.paraphrases)}
    given = dict.fromkeys(probe for fact in facts for probe in fact.locality)
    kept = [Probe(prompt=entry.prompt, answer=entry.answer) for entry in drawn.prompts]
    # A prompt that the file wants to stay "as before", and changes, is the gate's affair.
    taught = {p for p in given if p.answer is not None and canonical_text(p.prompt) in own}
    taught |= {probe for probe in kept if canonical_text(probe.prompt) in own}
    locality, suite = ([p for p in probes if p not in taught] for probes in (given, kept))
    prompts = list(dict.fromkeys(probe.prompt for probe in (*locality, *suite)))

    def asked(index: LedgerIndex) -> frozenset[str]:
        found = index.entries_asked_by(commit, prompts) if prompts else {}
        # An entry of no update was protected as it is: the base says so.
        return frozenset(p for p, entries in found.items() if any(e.update for e in entries))

    known = use_index(repository, commit, asked)
    changed = frozenset(prompt for prompt in prompts if canonical_text(prompt) in own)
    asked_too = dict.fromkeys(probe.prompt for probe in (*given, *kept) if probe in taught)
    return Guarded(locality, suite, drawn, known | changed, list(asked_too))


@dataclass(frozen=True)
class Measured:
    """What was measured of a state."""

    report: Report
    notes: list[str]
    model: Any
    """In that state."""
    tokenizer: Any


@dataclass
class Measurement:
    """The three states of one update, asked through what is remembered of them."""

    repository: Repository
    """Holds the deltas; the cache is the store's."""
    answers: StateAnswers
    load: Callable[[], tuple[Any, Any]]
    """Gives the base model, fresh from its files, and its tokenizer."""
    stored: Mapping[str, torch.dtype]
    """The dtype of each weight in the base's files."""

    def measure(
        self,
        start: Composition,
        after: Composition,
        facts: Sequence[Fact],
        guarded: Guarded,
        retained: Retained,
        control: Sequence[Probe],
        stated: Sequence[Probe] = (),
    ) -> Measured:
        """Return the figures of a state after an update, and notes.

        Locality and suite are compared with what the state before says; drift (``locality_base``)
        with what the base says, on prompts that were not taught. A prompt of the suite whose stated
        answer was not given before the update can't break: it is left out, and said.

        Args:
            start: the state before the update.
            after: the state to be measured.
            facts: what was changed, every old answer filled in.
            guarded: what must stay.
            retained: facts of the ledger that must stay. One that was forgotten counts if the
                state before does not give the old answer; a protected one has a figure of its own
                if the state before gives its answer.
            control: prompts of the model's own that must stay.
            stated: old answers that the file states. One that the state before does not give counts
                as forgotten; a note says so.
        """
        from adapterstore.evaluation.generation import answers_to
        from adapterstore.evaluation.measure import asked_for, evaluate, expected_answers

        unrelated = [*guarded.locality, *control]
        retention = [Probe(prompt=e.prompt, answer=e.answer) for e in retained.entries]
        gone = {fact.entry.prompt: fact.old for fact in retained.forgotten}
        still = [probe for probe in guarded.probes if probe.prompt not in guarded.taught]
        own: list[tuple[str, str | None]] = [
            (prompt, None)
            for fact in facts
            for prompt in (fact.prompt, *fact.paraphrases, *(p.prompt for p in fact.portability))
        ]
        others = [(p.prompt, p.answer) for p in (*unrelated, *guarded.suite, *retention)]
        others += [(prompt, old) for prompt, olds in gone.items() for old in olds]
        own += [(probe.prompt, probe.answer) for probe in stated]
        at_base = self._ask(Composition(), asked_for((p.prompt, p.answer) for p in still))
        said = self._ask(start, asked_for([*others, *own]))
        false = [probe for probe in guarded.suite if _is_false(probe, said)]
        suite = [probe for probe in guarded.suite if probe not in false]
        model, tokenizer = self._base
        model = attach_composition(self.repository, after, model, self.stored)
        report = evaluate(
            model,
            tokenizer,
            facts,
            retention=retention,
            forgotten={
                prompt: olds
                for prompt, olds in gone.items()
                if not any(still_gives(said[prompt], old, None) for old in olds)
            },
            before=expected_answers(unrelated, said),
            suite=expected_answers(suite, said),
            protected={
                entry.prompt: entry.answer
                for entry in retained.entries
                if entry.protected
                and entry.answer is not None
                and same_answer(said[entry.prompt], entry.answer)
            },
            base=expected_answers(still, at_base),
            said=said,
            ask=lambda asked: self.answers.ask(
                after, asked, lambda missing: answers_to(model, tokenizer, missing)
            ),
        )
        claimed = [probe for probe in guarded.locality if _is_false(probe, said)]
        new = {fact.prompt: fact.answer for fact in facts}
        never = [p for p in stated if not still_gives(said[p.prompt], str(p.answer), new[p.prompt])]
        notes = [
            *_note_on_asked(guarded.asked),
            *_note(claimed, said, "locality prompts state", "what it gave counts"),
            *_note(false, said, "prompts of the suite state", "they were not measured"),
            *_note_on_old(never, said),
        ]
        return Measured(report, notes, model, tokenizer)

    def _ask(self, composition: Composition, asked: Asked) -> dict[str, str]:
        from adapterstore.evaluation.generation import answers_to

        def ask(missing: Asked) -> Mapping[str, str]:
            model, tokenizer = self._base
            with attached(self.repository, composition, model, self.stored) as in_state:
                return answers_to(in_state, tokenizer, missing)

        return self.answers.ask(composition, asked, ask)

    @cached_property
    def _base(self) -> tuple[Any, Any]:
        return self.load()


def _is_false(probe: Probe, said: dict[str, str]) -> bool:
    return probe.answer is not None and not same_answer(said[probe.prompt], probe.answer)


def _note(false: Sequence[Probe], said: dict[str, str], what: str, so: str) -> list[str]:
    if not false:
        return []
    named = _compared(false, said)
    return [f"{len(false)} {what} another answer than the model gave before, and {so}: {named}"]


def _note_on_old(never: Sequence[Probe], said: dict[str, str]) -> list[str]:
    if not never:
        return []
    count, were = counted(len(never), "old answers"), "was" if len(never) == 1 else "were"
    return [
        f"{count} that the file states {were} not what the model gave before: "
        f"{_compared(never, said)}"
    ]


def _compared(probes: Sequence[Probe], said: dict[str, str]) -> str:
    return _named([f"{p.prompt!r} states {p.answer!r}, was {said[p.prompt]!r}" for p in probes])


def _note_on_asked(prompts: Sequence[str]) -> list[str]:
    if not prompts:
        return []
    count, named = counted(len(prompts), "prompts"), _named([repr(prompt) for prompt in prompts])
    return [
        f"not counted, as the update's own facts ask them: {count} of suite or locality ({named})"
    ]


def _named(texts: Sequence[str]) -> str:
    """Return the first few, and how many more there are."""
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return "; ".join([*texts[:_NAMED], *more])
