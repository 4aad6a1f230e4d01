"""Ask the states along a history until the commit is found at which an answer changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adapterstore.errors import CannotBisect
from adapterstore.history.attach import attached
from adapterstore.history.base import check_base
from adapterstore.history.bisect import (
    State,
    composition_of,
    find_flip,
    most_evaluations,
    read_states,
)
from adapterstore.history.snapshot import read_snapshot
from adapterstore.history.state_answers import StateAnswers
from adapterstore.history.store import Store
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import same_answer
from adapterstore.knowledge.sentences import first_sentence
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.asking import load_for_asking
from adapterstore.update.settings import read_update_settings

if TYPE_CHECKING:
    import torch

    from adapterstore.evaluation.generation import Asked


@dataclass(frozen=True)
class Bisection:
    """What the states along a first-parent history answer to one prompt.

    ``commit`` gives what the newest state gives and its first parent does not: both were asked. If
    the answer changed several times, this is one of the changes, not necessarily the last one.
    """

    prompt: str
    answer: str
    """What was looked for: whether a state gives this."""
    commit: CommitId | None
    """None: oldest and newest state are alike, so there is nothing to halve between them."""
    before: str | None
    """What its parent's state says (None: no commit was found)."""
    after: str
    """What its state says; without a commit, what the newest state says."""
    gives: bool
    """Whether the newest state gives the answer; False: the commit is where it was lost."""
    states: int
    """States that differ from their neighbours; commits that only change the ledger are none."""
    evaluations: int
    """How often a model was asked."""
    remembered: int
    """How many answers were remembered from earlier."""

    @property
    def most(self) -> int:
        """The most evaluations that the search may need: ⌈log₂ n⌉ + 2."""
        return most_evaluations(self.states)

    def to_dict(self) -> dict[str, object]:
        """Return the bisection as JSON values."""
        return {
            "prompt": self.prompt,
            "answer": self.answer,
            "commit": self.commit,
            "before": self.before,
            "after": self.after,
            "gives": self.gives,
            "states": self.states,
            "evaluations": self.evaluations,
            "most_evaluations": self.most,
            "remembered": self.remembered,
        }


def bisect_answer(
    store: Store,
    prompt: str,
    newest: str = "HEAD",
    oldest: str | None = None,
    answer: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> Bisection:
    """Find the commit at which the model began, or ceased, to answer a prompt so.

    Args:
        store: the store.
        prompt: what is asked.
        newest: the revision at which the history ends.
        oldest: the revision at which it begins (None: the store's first commit).
        answer: what is looked for (None: what the newest state says, up to the end of its
            sentence).
        progress: told of every state that is asked.

    Raises:
        UnknownRevision: no such revision, or ``oldest`` is not on the history of ``newest``.
        CannotBisect: a given ``oldest`` and ``newest`` agree about the answer.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
    """
    tip = store.resolve(newest)
    start = store.resolve(oldest) if oldest is not None else None
    states = read_states(store.repository, tip, start)
    questioner = _Questioner(store, tip, prompt, answer, progress)
    latest = questioner.ask(states[-1])
    wanted = answer if answer is not None else first_sentence(latest)

    def gives(state: State) -> bool:
        text = questioner.ask(state)
        return text == wanted or same_answer(text, wanted)

    flip = find_flip(states, gives)
    if flip is None and oldest is not None:
        problem = f"both {'give' if gives(states[-1]) else 'do not give'} {wanted!r}"
        raise CannotBisect(prompt, oldest, newest, problem)
    return Bisection(
        prompt=prompt,
        answer=wanted,
        commit=flip.after.first if flip is not None else None,
        before=questioner.ask(flip.before) if flip is not None else None,
        after=questioner.ask(flip.after) if flip is not None else latest,
        gives=gives(states[-1]),
        states=len(states),
        evaluations=questioner.evaluations,
        remembered=questioner.remembered,
    )


@dataclass
class _Questioner:
    """Puts one prompt to many states of one base, which is loaded when first needed, and once."""

    store: Store
    tip: CommitId
    prompt: str
    wanted: str | None
    """What is looked for (None: what the first state asked says)."""
    progress: Progress
    evaluations: int = 0
    remembered: int = 0
    _answers: dict[str, str] = field(default_factory=dict)
    """By the composition's blob id."""

    def ask(self, state: State) -> str:
        """Return the state's greedy answer."""
        if state.blob not in self._answers:
            self._answers[state.blob] = self._find(state)
        return self._answers[state.blob]

    def _find(self, state: State) -> str:
        repository = self.store.repository
        composition = composition_of(repository, state)

        def ask(missing: Asked) -> Mapping[str, str]:
            model, tokenizer, stored = self._model
            from adapterstore.evaluation.generation import answers_to

            self.progress.start(f"asking the state of commit {state.last[:12]}")
            self.evaluations += 1
            with attached(repository, composition, model, stored) as in_state:
                return answers_to(in_state, tokenizer, missing)

        before = self.evaluations
        wanted = [self.wanted] if self.wanted is not None else []
        answer = self._remembering.ask(composition, {self.prompt: wanted}, ask)[self.prompt]
        self.remembered += self.evaluations == before
        return answer

    @cached_property
    def _remembering(self) -> StateAnswers:
        repository = self.store.repository
        base = read_snapshot(repository, self.tip).base
        if base.digests is None:
            base = check_base(base, self.store.base_folder_at(self.tip))
        recipe, _ = read_update_settings(self.store.settings, {})
        return StateAnswers(repository, base, recipe.chat_template, recipe.device)

    @cached_property
    def _model(self) -> tuple[Any, Any, dict[str, torch.dtype]]:
        self.progress.start("loading the base model")
        return load_for_asking(self.store, self.tip)
