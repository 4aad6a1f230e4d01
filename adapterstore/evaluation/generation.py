"""What a model says: greedy continuations, sampled texts, and how likely given answers are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapterstore.evaluation.decoding import can_write_on, rows_at_once, write_on
from adapterstore.evaluation.encoding import (
    Example,
    answer_places,
    by_length,
    by_logits,
    check_lengths,
    decode,
    encode_answer,
    encode_prompt,
    end_ids,
    most_tokens,
    pad,
    padding_id,
)
from adapterstore.evaluation.reading import logits_at
from adapterstore.knowledge.facts import may_begin

Asked = Mapping[str, Collection[str]]
"""Prompts, each with the answers that what is said will be compared with."""
BATCH_SIZE = 128
MAX_NEW_TOKENS = 24


def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    expected: Asked | None = None,
) -> list[str]:
    """Return the greedy continuation of each prompt, up to its end token or first line break.

    ``expected`` has the answers that it will be compared with: see `continue_greedily`.

    Raises:
        PromptTooLong: a prompt leaves no room for an answer.
        NotWritable: the tokenizer makes no token of one.
    """
    rows = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    compared = [(expected or {}).get(prompt, ()) for prompt in prompts]
    continued = continue_greedily(model, tokenizer, rows, compared)
    texts = (decode(tokenizer, tokens) for tokens in continued)
    return [text.lstrip().partition("\n")[0].rstrip() for text in texts]


def answers_to(model: Any, tokenizer: Any, asked: Asked) -> dict[str, str]:
    """Return what the model says to prompts, as far as it is compared; see `greedy_answers`."""
    return dict(
        zip(asked, greedy_answers(model, tokenizer, list(asked), expected=asked), strict=True)
    )


def continue_greedily(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Sequence[int]],
    expected: Sequence[Collection[str]],
) -> list[list[int]]:
    """Return the likeliest continuation of each row, of `MAX_NEW_TOKENS` or fewer.

    One that is the beginning of an answer expected of its row goes on until it is no longer, so
    that an answer of any length can be told from what only begins like it.

    Raises:
        PromptTooLong: a row leaves no room for a token more.
    """
    ends, most = end_ids(model, tokenizer), most_tokens(model)
    written: list[list[int]] = [[] for _ in rows]
    texts = [""] * len(rows)
    going = list(range(len(rows)))
    while going:
        begun = [[*rows[n], *written[n]] for n in going]
        more = continue_tokens(model, tokenizer, begun, MAX_NEW_TOKENS)
        unfinished = []
        for number, tokens in zip(going, more, strict=True):
            written[number] += tokens
            before, texts[number] = texts[number], decode(tokenizer, written[number])
            room = most is None or len(rows[number]) + len(written[number]) < most
            cut = room and len(tokens) == MAX_NEW_TOKENS and tokens[-1] not in ends
            grown = len(texts[number]) > len(before)
            # No further than a whole answer: one that was cut off here before, in the middle of a
            # word, must be found again as it was.
            if cut and grown and any(may_begin(texts[number], a) for a in expected[number]):
                unfinished.append(number)
        going = unfinished
    return written


def continue_tokens(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Sequence[int]],
    max_new_tokens: int,
    sample: bool = False,
) -> list[list[int]]:
    """Return what the model writes after each row of tokens, with the end token if it comes.

    ``sample`` draws from the model's own distribution (temperature 1); else the likeliest token is
    taken. Writing stops where the model's positions end.

    Raises:
        PromptTooLong: a row leaves no room for a token more.
    """
    import torch

    check_lengths(model, tokenizer, rows, more=1)
    most, padding = most_tokens(model), padding_id(tokenizer)

    ends = end_ids(model, tokenizer)
    write = write_on if can_write_on(model) else _generate

    def at_once(longest: int) -> int:
        return rows_at_once(model, longest + max_new_tokens, BATCH_SIZE)

    results: list[list[int]] = [[] for _ in rows]
    with torch.inference_mode():
        for numbers in _batches(rows, at_once, most, max_new_tokens):
            batch = [rows[n] for n in numbers]
            # Those near the end of the model's positions are of one length.
            room = most - max(map(len, batch)) if most else max_new_tokens
            written = write(
                model,
                batch,
                most=min(max_new_tokens, room),
                ends=ends,
                padding=padding,
                sample=sample,
            )
            for number, tokens in zip(numbers, written, strict=True):
                results[number] = tokens
    return results


def _batches(
    rows: Sequence[Sequence[int]],
    at_once: Callable[[int], int],
    most: int | None,
    max_new_tokens: int,
) -> Iterator[list[int]]:
    """Yield row numbers: rows alike long together; of those that may reach the end, equally long.

    One row that has little room left would cut all others in its batch short.
    """
    near: dict[int, list[int]] = {}
    far = []
    for number, row in enumerate(rows):
        if most is not None and len(row) + max_new_tokens > most:
            near.setdefault(len(row), []).append(number)
        else:
            far.append(number)
    for group in (far, *near.values()):
        for numbers in by_length([rows[n] for n in group], at_once):
            yield [group[n] for n in numbers]


def _generate(
    model: Any,
    rows: Sequence[Sequence[int]],
    *,
    most: int,
    ends: Sequence[int],
    padding: int,
    sample: bool = False,
) -> list[list[int]]:
    """Do as `write_on` does, with transformers' ``generate``."""
    chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    if sample:
        chosen = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    inputs = pad(rows, padding, model.device, "left")
    output = model.generate(
        **inputs,
        **chosen,
        max_new_tokens=most,
        pad_token_id=padding,
        eos_token_id=list(ends) or None,
    )
    written = []
    for tokens in output[:, inputs["input_ids"].shape[1] :].tolist():
        ended = next((i for i, token in enumerate(tokens, 1) if token in ends), None)
        written.append(tokens[:ended])
    return written


@dataclass(frozen=True)
class AnswerScore:
    """How a model takes a given answer, fed to it token by token (teacher forcing)."""

    log_probability: float
    """Natural logarithm of the probability of the whole answer after its prompt."""
    token_accuracy: float
    """Share of the answer's tokens that are the likeliest ones."""

    @property
    def given(self) -> bool:
        """Whether greedy generation gives exactly this answer."""
        return self.token_accuracy == 1.0


def score_answers(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]
) -> list[AnswerScore]:
    """Return how the model takes each (prompt, answer); one forward pass a batch."""
    examples = [encode_answer(tokenizer, prompt, answer) for prompt, answer in pairs]
    return score_examples(model, tokenizer, examples)


def score_examples(model: Any, tokenizer: Any, examples: Sequence[Example]) -> list[AnswerScore]:
    """Return how the model takes the targets of each example.

    Raises:
        PromptTooLong: an example has more tokens than the model has positions.
    """
    import torch

    rows = [example.tokens for example in examples]
    check_lengths(model, tokenizer, rows)
    scores: dict[int, AnswerScore] = {}
    with torch.inference_mode():
        for numbers in by_logits(tokenizer, rows, BATCH_SIZE):
            asked = [examples[n] for n in numbers]
            inputs = pad([rows[n] for n in numbers], padding_id(tokenizer), model.device)
            logits = logits_at(model, inputs, answer_places(asked)).float()
            targets = torch.tensor([token for example in asked for token in example.targets])
            chosen = logits.gather(1, targets[:, None].to(logits.device))[:, 0]
            likely = (chosen - logits.logsumexp(-1)).cpu()
            hits = (logits.argmax(-1).cpu() == targets).float()
            lengths = [len(example.targets) for example in asked]
            for number, logs, right in zip(
                numbers,
                likely.split_with_sizes(lengths),
                hits.split_with_sizes(lengths),
                strict=True,
            ):
                scores[number] = AnswerScore(float(logs.sum()), float(right.mean()))
    return [scores[number] for number in range(len(examples))]
