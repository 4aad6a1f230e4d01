"""A short fine-tune on text that has nothing to do with the facts: does what was forgotten return?

Benign relearning (Hu et al., arXiv 2406.13356): forgetting that only hides an answer is undone by a
few steps of training on other text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import set_seed

from adapterstore.evaluation.encoding import Example, encode_text, most_tokens
from adapterstore.knowledge.facts import Fact, may_mention
from adapterstore.learning.phase_delta import start_delta
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import MAX_TEXT_TOKENS, Tokens, read_text, sample_texts
from adapterstore.learning.training import PhaseData, train_phase
from adapterstore.progress import Progress

RELEARN_STEPS = 30


def read_texts(model: Any, tokenizer: Any, text: str) -> list[Tokens]:
    """Return a text as training takes it: line by line, long ones in parts."""
    most = min(most_tokens(model) or MAX_TEXT_TOKENS, MAX_TEXT_TOKENS)
    rows = [encode_text(tokenizer, line.strip()) for line in text.splitlines() if line.strip()]
    parts = [tuple(row[i : i + most]) for row in rows for i in range(0, len(row), most)]
    return [part for part in parts if len(part) > 1]


def own_texts(
    model: Any, tokenizer: Any, count: int, facts: Sequence[Fact], seed: int
) -> list[Tokens]:
    """Return texts that the base itself writes, without those that name a fact or an answer."""
    set_seed(seed)
    named = {
        part
        for fact in facts
        for part in (fact.subject or fact.prompt, fact.answer, fact.old_answer)
        if part
    }
    texts = sample_texts(model, tokenizer, count)
    return [t for t in texts if not any(may_mention(read_text(tokenizer, t), n) for n in named)]


def relearn(
    model: Any, tokenizer: Any, texts: Sequence[Tokens], recipe: Recipe, progress: Progress
) -> int:
    """Fine-tune all weights of a model on some texts, in place; return how many steps it took.

    Raises:
        TrainingFailed: the weights are quantised, or no longer finite.
    """
    recipe = recipe.model_copy(update={"method": "full", "learn_method": None}).for_model(model)
    set_seed(recipe.seed)
    delta = start_delta(model, "full", "relearn", recipe)
    steps = train_phase(
        "relearning",
        delta.model,
        tokenizer,
        PhaseData([Example(tokens, 1) for tokens in texts]),
        steps=RELEARN_STEPS,
        batch_size=recipe.batch_size,
        learning_rate=recipe.phase_rate("learn"),
        preserve_weight=0.0,
        seed=recipe.seed,
        checkpointing=recipe.gradient_checkpointing,
        progress=progress,
    )
    delta.finish()
    return steps
