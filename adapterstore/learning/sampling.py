"""What the model itself writes: the material of the preserve set and of paraphrases.

Texts about a subject are found without any template: wherever the model, in a text of its own,
finds it likely that the subject comes next, the subject is put there and the model goes on. Texts
of a relation ("... plays for") are found in the same way.

With a chat template a text is two turns. The model writes the user's by itself when it is begun for
it (Magpie, arXiv 2406.08464), and answers it as it answers any prompt.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import set_seed

from adapterstore.errors import NotWritable
from adapterstore.evaluation.chat import ChatTokenizer
from adapterstore.evaluation.encoding import (
    by_logits,
    check_lengths,
    decode,
    encode_answer,
    encode_prompt,
    encode_text,
    end_ids,
    most_tokens,
    pad,
    padding_id,
)
from adapterstore.evaluation.generation import BATCH_SIZE, MAX_NEW_TOKENS, continue_tokens
from adapterstore.evaluation.reading import logits_at
from adapterstore.knowledge.facts import Probe

Tokens = tuple[int, ...]
MAX_TEXT_TOKENS = 48
MIN_PHRASE_PROBABILITY = 2e-4
MAX_CONTROL_TOKENS = 8
_MOST_CANDIDATES, _LEAST_CANDIDATES = 200, 16
_ALL_CANDIDATES = 48_000
_DRAWN_EACH = 20
"""Beginnings taken down for each candidate, until they are thinned out."""
_CONFIDENT = 0.5
_FROM_START = 8
_FROM_PROMPT = 4
_FROM_RELATIONS = 320
_MOST_FROM_RELATION, _LEAST_FROM_RELATION = 64, 8
_MANY_FACTS = 200
"""Of more facts, what is written for each of them is less: the whole stays about the same."""


def text_start(model: Any, tokenizer: Any) -> Tokens:
    """Return what stands before the first word of a text of the model's own.

    With a chat template, all before the user's words; else the start token, or what serves as one:
    some tokenizers have none, and the model's config or the end token stands in, or a line break.
    """
    if isinstance(tokenizer, ChatTokenizer):
        return tokenizer.start
    configured = getattr(model.config.get_text_config(), "bos_token_id", None)
    for token in (tokenizer.bos_token_id, configured, tokenizer.eos_token_id):
        if isinstance(token, int):
            return (token,)
    return tuple(encode_text(tokenizer, "\n"))


def can_go_on(model: Any, opening: Sequence[int]) -> bool:
    """Tell whether the model can write on from a beginning: it has a token, and leaves room."""
    return 0 < len(opening) < (most_tokens(model) or math.inf)


def sample_texts(model: Any, tokenizer: Any, count: int, seed: int | None = None) -> list[Tokens]:
    """Return up to ``count`` different texts that the model writes from nothing.

    ``seed`` sets the random generators first (None: they go on from where they are).
    """
    if seed is not None:
        set_seed(seed)
    start = text_start(model, tokenizer)
    if not can_go_on(model, start) or not count:
        return []
    written = write_texts(model, tokenizer, [start] * count)
    return list(dict.fromkeys(text for text in written if len(text) > len(start) + 1))


def write_texts(model: Any, tokenizer: Any, openings: Sequence[Tokens]) -> list[Tokens]:
    """Return the texts that the model makes of openings, in their order.

    With a chat template, an opening is of the user's turn; the model ends it, and answers. A text
    of which it makes no question is the opening alone.
    """
    rows = continue_tokens(model, tokenizer, openings, MAX_TEXT_TOKENS, sample=True)
    if not isinstance(tokenizer, ChatTokenizer):
        return [(*opening, *row) for opening, row in zip(openings, rows, strict=True)]
    questions = [
        tokenizer.question((*opening, *row)) for opening, row in zip(openings, rows, strict=True)
    ]
    asked = {question: encode_prompt(tokenizer, question) for question in questions if question}
    asked = {q: row for q, row in asked.items() if can_go_on(model, row)}
    answers = continue_tokens(model, tokenizer, list(asked.values()), MAX_NEW_TOKENS)
    turns = {q: (*asked[q], *answer) for q, answer in zip(asked, answers, strict=True)}
    return [turns.get(q, opening) for q, opening in zip(questions, openings, strict=True)]


def read_text(tokenizer: Any, tokens: Tokens) -> str:
    """Return a text as it reads; of two turns, the question and the answer below each other."""
    turns = tokenizer.split(tokens) if isinstance(tokenizer, ChatTokenizer) else None
    if turns is None:
        return decode(tokenizer, tokens)
    question, start = turns
    return f"{question}\n{decode(tokenizer, tokens[start:]).strip()}"


def name_openings(model: Any, tokenizer: Any, prompt: str, name: str, facts: int) -> list[Tokens]:
    """Return beginnings of texts that end in a name: the prompt's up to it, and the name alone.

    ``facts`` is how many there are of the update.
    """
    position = prompt.find(name)
    known = [prompt[: position + len(name)]] * _of_many(_FROM_PROMPT, facts)
    known = known if position >= 0 else []
    bare = [name] * _of_many(_FROM_START, facts)
    if isinstance(tokenizer, ChatTokenizer):
        return [tokenizer.begin(words) for words in (*known, *bare)]
    start = text_start(model, tokenizer)
    return [
        *(tuple(encode_text(tokenizer, words)) for words in known),
        *((*start, *tokenizer(words, add_special_tokens=False)["input_ids"]) for words in bare),
    ]


def from_relation(facts: int) -> int:
    """Return how many texts of each fact's relation are written, for so many facts.

    Few facts harm their nearest neighbours most, and many together cover each other's.
    """
    least = _of_many(_LEAST_FROM_RELATION, facts)
    return min(_MOST_FROM_RELATION, max(least, _FROM_RELATIONS // max(facts, 1)))


def _of_many(each: int, facts: int) -> int:
    return max(1, min(each, each * _MANY_FACTS // max(facts, 1)))


def relation_openings(tokenizer: Any, prompt: str, name: str | None, count: int) -> list[Tokens]:
    """Return beginnings of texts that end where a prompt names its subject: none, if it begins so.

    What the model writes from there is of the same relation, mostly about other subjects.
    """
    words = prompt[: prompt.find(name)].strip() if name and name in prompt else ""
    if not words:
        return []
    if isinstance(tokenizer, ChatTokenizer):
        return [tokenizer.begin(words)] * count
    return [tuple(encode_text(tokenizer, words))] * count


def relation_words(prompt: str, name: str | None) -> str | None:
    """Return what follows the subject that a prompt begins with: "plays", of "Marián Hossa plays".

    None: the prompt begins otherwise, or nothing but marks follows.
    """
    if not name or not prompt.startswith(name):
        return None
    words = prompt[len(name) :].strip()
    return words if any(character.isalnum() for character in words) else None


def find_slots(
    model: Any, tokenizer: Any, texts: Sequence[Tokens], phrases: Collection[str]
) -> dict[str, list[Tokens]]:
    """Return, for each phrase, beginnings of the texts that may well go on with it, and it.

    A slot counts if the model gives the whole phrase a probability of at least
    `MIN_PHRASE_PROBABILITY` there. Of very many phrases, fewer slots of each are looked for.
    """
    forms = [
        [
            tuple(tokenizer(form, add_special_tokens=False)["input_ids"])
            for form in (f" {phrase}", phrase)
        ]
        for phrase in phrases
    ]
    threshold, positions = math.log(MIN_PHRASE_PROBABILITY), most_tokens(model) or math.inf
    by_first: dict[int, list[tuple[int, Tokens]]] = {}
    for number, alternatives in enumerate(forms):
        for form in alternatives:
            if form:
                by_first.setdefault(form[0], []).append((number, form))
    firsts = list(by_first)
    most = max(_LEAST_CANDIDATES, min(_MOST_CANDIDATES, _ALL_CANDIDATES // max(len(phrases), 1)))
    drawn = [_Drawn(_DRAWN_EACH * most) for _ in phrases]
    slots: dict[str, list[Tokens]] = {phrase: [] for phrase in phrases}
    if not firsts:
        return slots
    with torch.inference_mode():
        for numbers in by_logits(tokenizer, texts, BATCH_SIZE):
            rows = [texts[n] for n in numbers]
            places = [
                (row, column)
                for row, text in enumerate(rows)
                for column in _own_words(tokenizer, text)
            ]
            logits = _logits_at(model, tokenizer, rows, places)
            likely = logits[:, firsts].float() - logits.float().logsumexp(-1, keepdim=True)
            likely = likely.cpu()
            for place, first in (likely > threshold).nonzero().tolist():
                row, column = places[place]
                log = float(likely[place, first])
                for number, form in by_first[firsts[first]]:
                    if column + 1 + len(form) < positions:
                        drawn[number].offer(rows[row][: column + 1], form, log)
        openings: dict[Tokens, _Candidate] = {}
        for phrase, some in zip(phrases, drawn, strict=True):
            for opening, (length, log) in some.evenly(most):
                openings.setdefault(opening, _Candidate(phrase, length, log))
        for opening in _likely_phrases(model, tokenizer, openings, threshold):
            slots[openings[opening].phrase].append(opening)
    return slots


class _Drawn:
    """Beginnings of texts that end in one phrase: all, or of very many an even part.

    Relations begin with words ("is", "in") that may come next at a large share of all places.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[Tokens, tuple[int, float]] = {}
        self._offered, self._step = 0, 1

    def offer(self, beginning: Tokens, form: Tokens, log: float) -> None:
        """Take a beginning, with the phrase and the logarithm of its first token's probability."""
        self._offered += 1
        if self._offered % self._step:
            return
        self._taken.setdefault((*beginning, *form), (len(form), log))
        if len(self._taken) > self._most:
            self._taken = dict(list(self._taken.items())[::2])
            self._step *= 2

    def evenly(self, most: int) -> list[tuple[Tokens, tuple[int, float]]]:
        """Return at most so many, each with the phrase's length in tokens, and that logarithm."""
        taken = list(self._taken.items())
        return taken[:: max(1, math.ceil(len(taken) / most))]


@dataclass(frozen=True)
class _Candidate:
    """A beginning of a text that ends in a phrase, which may be likely there."""

    phrase: str
    length: int
    """Of the phrase, in tokens."""
    log: float
    """Of the probability of its first token."""


def _likely_phrases(
    model: Any, tokenizer: Any, openings: Mapping[Tokens, _Candidate], threshold: float
) -> list[Tokens]:
    """Return the openings to whose whole phrase the model gives more than the threshold.

    Phrases are read token by token: what begins alike is read once, and what is too unlikely
    already is read no further.
    """
    logs = {opening: candidate.log for opening, candidate in openings.items()}
    read = 1
    while True:
        unread: dict[Tokens, list[Tokens]] = {}
        for opening in logs:
            left = openings[opening].length - read
            if left > 0:
                unread.setdefault(opening[:-left], []).append(opening)
        if not unread:
            return list(logs)
        beginnings = list(unread)
        for numbers in by_logits(tokenizer, beginnings, 4 * BATCH_SIZE):
            rows = [beginnings[n] for n in numbers]
            ends = [(row, len(beginning) - 1) for row, beginning in enumerate(rows)]
            predicted = _logits_at(model, tokenizer, rows, ends).float().log_softmax(-1).cpu()
            for row, beginning in enumerate(rows):
                for opening in unread[beginning]:
                    logs[opening] += float(predicted[row, opening[len(beginning)]])
        logs = {opening: log for opening, log in logs.items() if log > threshold}
        read += 1


def _own_words(tokenizer: Any, text: Tokens) -> range:
    """Return the positions after which the model chose the next word; of two turns, the first."""
    turns = tokenizer.split(text) if isinstance(tokenizer, ChatTokenizer) else None
    if turns is None:
        return range(len(text) - 1)
    return range(len(tokenizer.start) - 1, turns[1] - 1)


def control_probes(model: Any, tokenizer: Any, texts: Sequence[Tokens], count: int) -> list[Probe]:
    """Return prompts that the model completes with confidence, made of its own texts.

    A text's prompt ends where all that follows is what the model finds likeliest, each token with
    a probability over a half: what it knows, not what it happened to say.
    """
    special = {*tokenizer.all_special_ids, *end_ids(model, tokenizer)}
    least = math.log(_CONFIDENT)
    probes: dict[str, str] = {}
    with torch.inference_mode():
        for numbers in by_logits(tokenizer, texts, BATCH_SIZE):
            rows = [texts[n] for n in numbers]
            for tokens, taken in zip(rows, _taken(model, tokenizer, rows), strict=True):
                end = len(tokens)
                while end and tokens[end - 1] in special:
                    end -= 1
                sure = [True, *(log >= least for log in taken)]
                if isinstance(tokenizer, ChatTokenizer):
                    cut = _cut_turns(tokenizer, tokens, end, sure)
                else:
                    cut = _cut_text(tokenizer, tokens, end, sure)
                prompt, answer = cut
                if len(answer) > 1 and prompt.strip() and _can_ask(model, tokenizer, *cut):
                    probes.setdefault(prompt, answer)
    return [Probe(prompt=p, answer=a) for p, a in list(probes.items())[:count]]


def _can_ask(model: Any, tokenizer: Any, prompt: str, answer: str) -> bool:
    """Tell whether a text taken apart fits the model again: its tokens may be others now."""
    try:
        tokens = encode_answer(tokenizer, prompt, answer).tokens
    except NotWritable:
        return False
    return len(tokens) <= (most_tokens(model) or math.inf)


def _cut_text(tokenizer: Any, tokens: Tokens, end: int, sure: Sequence[bool]) -> tuple[str, str]:
    """Return a text up to where the model is sure of all the rest, and that rest."""
    start = end
    while start > 2 and end - start < MAX_CONTROL_TOKENS and sure[start - 1]:
        start -= 1
    return decode(tokenizer, tokens[:start]), decode(tokenizer, tokens[start:end]).strip()


def _cut_turns(
    tokenizer: ChatTokenizer, tokens: Tokens, end: int, sure: Sequence[bool]
) -> tuple[str, str]:
    """Return the question, and the beginning of its answer of which the model is sure."""
    turns = tokenizer.split(tokens)
    if turns is None:
        return "", ""
    question, start = turns
    stop = start
    while stop < end and stop - start < MAX_CONTROL_TOKENS and sure[stop]:
        stop += 1
    return question, decode(tokenizer, tokens[start:stop]).strip()


def _taken(model: Any, tokenizer: Any, rows: Sequence[Tokens]) -> list[list[float]]:
    """Return log P(token i + 1 | tokens up to i) for each row.

    The logarithms of the whole vocabulary are never formed.
    """
    lengths = [len(row) - 1 for row in rows]
    places = [(row, column) for row, length in enumerate(lengths) for column in range(length)]
    logits = _logits_at(model, tokenizer, rows, places)
    tokens = torch.tensor([token for row in rows for token in row[1:]], device=logits.device)
    chosen = logits.gather(1, tokens[:, None])[:, 0].float()
    logs = (chosen - logits.float().logsumexp(-1)).cpu()
    return [part.tolist() for part in logs.split_with_sizes(lengths)]


def _logits_at(
    model: Any, tokenizer: Any, rows: Sequence[Tokens], places: Sequence[tuple[int, int]]
) -> torch.Tensor:
    check_lengths(model, tokenizer, rows)
    inputs = pad(rows, padding_id(tokenizer), model.device)
    asked = torch.tensor(places, dtype=torch.long).reshape(-1, 2)
    return logits_at(model, inputs, asked)
