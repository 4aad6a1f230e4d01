"""What a state is to say where an answer goes and no new one comes.

Learning puts a new answer in the place of an old one. Where there is none, nothing but
S′ = S − λ·O says that the old one is to go, and two things may bring it back. All that holds the
state to what it was before, as what is preserved does, pulls it back while other facts are learned:
what S′ says instead is held as well. And an answer that a model knows by heart gives O little to
learn, for its loss is 0 from the start; no λ reaches it without harm. Such an answer is replaced:
at each of its tokens t, the model is trained to say what it would say if t were not there,

    p(x) = S′(x) ÷ (1 − S′(t)) for x ≠ t,  p(t) = 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapterstore.counting import counted
from adapterstore.evaluation.encoding import Example, decode, encode_answer, encode_prompt
from adapterstore.evaluation.generation import score_examples
from adapterstore.knowledge.facts import Fact, Probe, other_prompts
from adapterstore.learning.keeping import keep
from adapterstore.learning.memory import Reference, remember
from adapterstore.learning.merged import merged
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import Tokens

_NEVER = -30.0
"""The logarithm of a probability that is as good as none."""


@dataclass(frozen=True)
class Replaced:
    """What is to be said of facts that are only forgotten."""

    texts: list[Example]
    memory: Mapping[Tokens, Reference]
    """Of the texts."""
    old: list[Example]
    """The old answers that must not be given in the end."""
    instead: Mapping[Example, Example]
    """Of the old answers, the texts that are to displace them."""
    left: int
    """To how many of the facts' own prompts λ left the old answer."""
    must_train: bool
    """Whether these are more than the recipe bears, so that they are trained even by themselves."""

    def instead_of(self, old: Iterable[Example]) -> list[Example]:
        """Return the texts that are to displace some of the old answers."""
        return [self.instead[example] for example in old if example in self.instead]

    @property
    def note(self) -> str:
        """Say what was done of it, for the report."""
        answers = counted(self.left, "answers")
        return (
            f"λ left {answers} of those that are only to be forgotten; "
            "the state was trained to give others instead"
        )


def hold_forgotten(model: Any, tokenizer: Any, facts: Sequence[Fact], recipe: Recipe) -> Replaced:
    """Ask the state after forgetting about the facts that get no new answer, in every phrasing.

    What λ left is replaced only where λ was searched: a recipe that forgets nothing, or with a λ of
    its own, gets what it asks for. Nothing is held or replaced without the preserve term.

    Args:
        model: S′.
        tokenizer: its tokenizer.
        facts: all of the update, with the old answers that were to be forgotten.
        recipe: ``forget_target`` is the share of answers that λ may leave.
    """
    gone = [(fact, fact.old_answer) for fact in facts if fact.answer is None and fact.old_answer]
    if not gone or not recipe.forget or not recipe.preserve_weight:
        return Replaced([], {}, [], {}, 0, False)
    # Their own prompts first.
    asked = [(fact.prompt, old) for fact, old in gone]
    for fact, old in gone:
        asked += [(prompt, old) for prompt in other_prompts(fact.prompt, fact.paraphrases)]
    examples = [encode_answer(tokenizer, prompt, old) for prompt, old in asked]
    with merged(model):
        given = [score.given for score in score_examples(model, tokenizer, examples)]
        forgotten = [n for n, still in enumerate(given) if not still]
        left = [n for n, still in enumerate(given) if still and recipe.coefficient is None]
        kept = keep(
            model, tokenizer, [], [], [Probe(prompt=asked[n][0]) for n in forgotten]
        ).prompts
        memory = remember(model, tokenizer, [example.tokens for example in kept])
        known = remember(model, tokenizer, [examples[n].tokens for n in left])
    for n in left:
        text = examples[n].tokens
        memory[text] = _without(known[text], examples[n], tokenizer)
    # Where answer and prompt share a token, the two texts begin differently.
    said = {text.tokens[: text.start]: text for text in kept}
    begun = {n: tuple(encode_prompt(tokenizer, asked[n][0])) for n in forgotten}
    instead = {examples[n]: said[row] for n, row in begun.items() if row in said}
    own = sum(n < len(gone) for n in left)
    return Replaced(
        texts=[*kept, *(examples[n] for n in left)],
        memory=memory,
        old=[examples[n] for n in sorted([*forgotten, *left])],
        instead=instead | {examples[n]: examples[n] for n in left},
        left=own,
        must_train=own > recipe.forget_target * len(gone),
    )


def _without(reference: Reference, example: Example, tokenizer: Any) -> Reference:
    """Return what would be said if the answer's own tokens were not there.

    Of the others, as of the whole reference, those count that are among the likeliest.
    A token that is nothing but space stays: any answer may begin with it.
    """
    logs = reference.logs.clone()
    for place, token in enumerate(example.targets, example.start - 1):
        if not decode(tokenizer, [token]).strip():
            continue
        own = reference.tokens[place] == token
        rest = logs[place].masked_fill(own, -torch.inf)
        logs[place] = (rest - rest.logsumexp(-1)).masked_fill(own, _NEVER)
    return Reference(reference.tokens, logs)
