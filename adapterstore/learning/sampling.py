"""What the model itself writes: the material of the preserve set and of paraphrases.

Texts about a subject are found without any template: wherever the model, in a text of its own,
finds it likely that the subject comes next, the subject is put there and the model goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adapterstore.evaluation.encoding import by_length, pad_right, rows_per_batch
from adapterstore.evaluation.generation import BATCH_SIZE, continue_tokens
from adapterstore.knowledge.facts import Probe

Tokens = tuple[int, ...]
MAX_TEXT_TOKENS = 48
MIN_SUBJECT_PROBABILITY = 2e-4
MAX_CONTROL_TOKENS = 8
_MOST_CANDIDATES = 200
_CONFIDENT = 0.5
_FROM_START = 8
_FROM_PROMPT = 4


def start_token(tokenizer: Any) -> int | None:
    """Return the token that stands before a text, if the tokenizer has one."""
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    return int(tokenizer.eos_token_id) if tokenizer.eos_token_id is not None else None


def sample_texts(model: Any, tokenizer: Any, count: int) -> list[Tokens]:
    """Return up to ``count`` different texts that the model writes from nothing."""
    start = start_token(tokenizer)
    if start is None or not count:
        return []
    rows = continue_tokens(model, tokenizer, [[start]] * count, MAX_TEXT_TOKENS, sample=True)
    return list(dict.fromkeys((start, *row) for row in rows if len(row) > 1))


def name_openings(tokenizer: Any, prompt: str, name: str) -> list[Tokens]:
    """Return beginnings of texts that end in a name: the prompt's up to it, and the name alone."""
    openings: list[Tokens] = []
    position = prompt.find(name)
    if position >= 0:
        own = tokenizer(prompt[: position + len(name)])["input_ids"]
        openings += [tuple(own)] * _FROM_PROMPT
    start = start_token(tokenizer)
    if start is not None:
        bare = tokenizer(name, add_special_tokens=False)["input_ids"]
        openings += [(start, *bare)] * _FROM_START
    return openings


def find_slots(
    model: Any, tokenizer: Any, texts: Sequence[Tokens], subjects: Sequence[str]
) -> list[list[Tokens]]:
    """Return, for each subject, texts cut where it may well come next, with it appended.

    A slot counts if the model gives the whole subject a probability of at least
    `MIN_SUBJECT_PROBABILITY` there.
    """
    import torch

    forms = [
        [
            tuple(tokenizer(form, add_special_tokens=False)["input_ids"])
            for form in (f" {subject}", subject)
        ]
        for subject in subjects
    ]
    threshold = math.log(MIN_SUBJECT_PROBABILITY)
    by_first: dict[int, list[tuple[int, Tokens]]] = {}
    for number, alternatives in enumerate(forms):
        for form in alternatives:
            by_first.setdefault(form[0], []).append((number, form))
    firsts = list(by_first)
    candidates: dict[Tokens, tuple[int, int]] = {}
    with torch.inference_mode():
        for numbers in by_length(texts, rows_per_batch(tokenizer, BATCH_SIZE)):
            rows = [texts[n] for n in numbers]
            likely = _log_probabilities(model, tokenizer, rows)[:, :, firsts] > threshold
            for row, column, first in likely.nonzero().tolist():
                if column < len(rows[row]) - 1:
                    for number, form in by_first[firsts[first]]:
                        opening = (*rows[row][: column + 1], *form)
                        candidates.setdefault(opening, (number, len(form)))
        slots: list[list[Tokens]] = [[] for _ in subjects]
        openings = _thin_out(candidates)
        for numbers in by_length(openings, rows_per_batch(tokenizer, 4 * BATCH_SIZE)):
            rows = [openings[n] for n in numbers]
            logs = _log_probabilities(model, tokenizer, rows)
            tokens = pad_right(rows, 0, "cpu")["input_ids"]
            # logs[:, i] predicts tokens[:, i + 1]
            taken = logs[:, :-1].gather(2, tokens[:, 1:, None])[:, :, 0]
            for row, opening in enumerate(rows):
                subject, length = candidates[opening]
                end = len(opening) - 1
                if float(taken[row, end - length : end].sum()) > threshold:
                    slots[subject].append(opening)
    return slots


def _thin_out(candidates: dict[Tokens, tuple[int, int]]) -> list[Tokens]:
    """Return at most `_MOST_CANDIDATES` openings of each subject, drawn evenly."""
    by_subject: dict[int, list[Tokens]] = {}
    for opening, (subject, _) in candidates.items():
        by_subject.setdefault(subject, []).append(opening)
    kept = []
    for openings in by_subject.values():
        step = math.ceil(len(openings) / _MOST_CANDIDATES)
        kept += openings[::step]
    return kept


def control_probes(model: Any, tokenizer: Any, texts: Sequence[Tokens], count: int) -> list[Probe]:
    """Return prompts that the model completes with confidence, made of its own texts.

    A text's prompt ends where all that follows is what the model finds likeliest, each token with
    a probability over a half: what it knows, not what it happened to say.
    """
    import torch

    special = set(tokenizer.all_special_ids)
    probes: dict[str, str] = {}
    with torch.inference_mode():
        for numbers in by_length(texts, rows_per_batch(tokenizer, BATCH_SIZE)):
            rows = [texts[n] for n in numbers]
            logs = _log_probabilities(model, tokenizer, rows)
            for row, tokens in enumerate(rows):
                end = len(tokens)
                while end and tokens[end - 1] in special:
                    end -= 1
                start = end
                while start > 2 and end - start < MAX_CONTROL_TOKENS:
                    if float(logs[row, start - 2, tokens[start - 1]]) < math.log(_CONFIDENT):
                        break
                    start -= 1
                prompt = tokenizer.decode(tokens[:start], skip_special_tokens=True)
                answer = tokenizer.decode(tokens[start:end], skip_special_tokens=True).strip()
                if len(answer) > 1 and prompt.strip():
                    probes.setdefault(prompt, answer)
    return [Probe(prompt=p, answer=a) for p, a in list(probes.items())[:count]]


def _log_probabilities(model: Any, tokenizer: Any, rows: Sequence[Tokens]) -> Any:
    inputs = pad_right(rows, tokenizer.pad_token_id, model.device)
    return model(**inputs).logits.float().log_softmax(-1).cpu()
