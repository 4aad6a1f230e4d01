"""Prompts and answers as tokens, for whatever tokenizer a base brings along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adapterstore.errors import NotWritable, PromptTooLong
from adapterstore.evaluation.chat import ChatTokenizer
from adapterstore.knowledge.facts import join

if TYPE_CHECKING:
    import torch


_MOST_LOGITS = 1 << 27
"""Logits of one batch: half a gigabyte in float32."""
_MOST_PADDING = 128
"""Tokens of padding of one batch: a forward pass of their own costs about as much."""


@dataclass(frozen=True)
class Example:
    """A text as token ids; those from ``start`` on are what is to be predicted."""

    tokens: tuple[int, ...]
    start: int

    @property
    def targets(self) -> tuple[int, ...]:
        """The tokens to be predicted."""
        return self.tokens[self.start :]


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Return a prompt as the model is asked it; through the chat template with a `ChatTokenizer`.

    An end token that the tokenizer puts behind every text is left out: the answer comes there.

    Raises:
        NotWritable: the tokenizer makes no token of it.
    """
    if isinstance(tokenizer, ChatTokenizer):
        return tokenizer.encode(tokenizer.ask(prompt))
    tokens = encode_text(tokenizer, prompt)
    if not tokens:
        raise NotWritable(prompt, "the base's tokenizer makes no token of this prompt; reword it")
    return tokens


def encode_answer(tokenizer: Any, prompt: str, answer: str) -> Example:
    """Return prompt and answer as one text; what follows the prompt's own tokens is the answer.

    Written as one, they may share a token, as in scripts without spaces, and so may an answer and
    what a chat template puts before it. Who asks gives the
    prompt's own tokens, so the answer is what the model is to say behind these.

    Raises:
        NotWritable: the tokenizer makes no token of the prompt.
    """
    asked = encode_prompt(tokenizer, prompt)
    if isinstance(tokenizer, ChatTokenizer):
        rest, whole = answer, tokenizer.encode(tokenizer.ask(prompt) + answer)
    else:
        text = join(prompt, answer)
        rest, whole = text[len(prompt) :], encode_text(tokenizer, text)
    if whole[: len(asked)] != asked:
        behind = tokenizer(rest, add_special_tokens=False)["input_ids"]
        # Some tokenizers begin every text with a space, which may be a token of its own.
        for own in (behind, behind[1:]):
            if own and decode(tokenizer, [*asked, *own]) == decode(tokenizer, whole):
                return Example((*asked, *own), len(asked))
    common = 0
    while common < min(len(asked), len(whole) - 1) and asked[common] == whole[common]:
        common += 1
    return Example(tuple(whole), max(common, 1))


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return a text's tokens without the end token; there may be none."""
    tokens: list[int] = tokenizer(text)["input_ids"]
    while len(tokens) > 1 and tokens[-1] == tokenizer.eos_token_id:
        tokens = tokens[:-1]
    return tokens


def decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of some tokens, without special ones and with the spaces as they stand."""
    text: str = tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def padding_id(tokenizer: Any) -> int:
    """Return the token that fills up rows; it is masked, so any one that exists will do."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def end_id(tokenizer: Any) -> int | None:
    """Return the token with which an answer ends; with a chat template, that of the turn."""
    token = tokenizer.turn_end if isinstance(tokenizer, ChatTokenizer) else tokenizer.eos_token_id
    return int(token) if token is not None else None


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token at which the model is done: the tokenizer's, and its generation config's.

    Instruct models often end a turn with another token than a text.
    """
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = own if isinstance(own, (list, tuple)) else [own]
    found = [end_id(tokenizer), tokenizer.eos_token_id, *listed]
    return sorted({int(token) for token in found if token is not None})


def most_tokens(model: Any) -> int | None:
    """Return how many positions the model has (None: its config states no limit)."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else None


def check_lengths(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], more: int = 0) -> None:
    """Raise unless each row, and ``more`` tokens behind it, fit the model's positions.

    Raises:
        PromptTooLong: the first that does not.
    """
    most = most_tokens(model)
    for row in rows:
        if most is not None and len(row) + more > most:
            raise PromptTooLong(decode(tokenizer, row), len(row), most)


def pad(
    rows: Sequence[Sequence[int]],
    padding: int,
    device: Any,
    side: Literal["left", "right"] = "right",
) -> dict[str, torch.Tensor]:
    """Return rows of token ids as ``input_ids`` and ``attention_mask``.

    Generation wants the padding on the left, so that what is written stands behind each row.
    """
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        first = width - len(row) if side == "left" else 0
        ids[number, first : first + len(row)] = torch.tensor(row)
        mask[number, first : first + len(row)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def answer_places(examples: Sequence[Example], first: int = 0) -> torch.Tensor:
    """Return (row, column) of what predicts each target; the examples are rows ``first`` and on."""
    import torch

    return torch.tensor(
        [
            (row, column - 1)
            for row, example in enumerate(examples, first)
            for column in range(example.start, len(example.tokens))
        ],
        dtype=torch.long,
    ).reshape(-1, 2)


def places_per_batch(tokenizer: Any) -> int:
    """Return at how many places of a batch the next token is predicted, so that logits stay small.

    A vocabulary of 128,000 makes logits of 25 MB a text of 48 tokens; one of 2,000, of 0.4 MB.
    """
    return max(1, _MOST_LOGITS // len(tokenizer))


def rows_per_batch(tokenizer: Any, most: int, width: int) -> int:
    """Return how many texts of ``width`` tokens go through the model at once."""
    return max(1, min(most, places_per_batch(tokenizer) // max(width, 1)))


def by_length(rows: Sequence[Sequence[int]], at_once: Callable[[int], int]) -> list[list[int]]:
    """Return the rows' numbers in batches of like length, so that little is padded.

    ``at_once`` says how many rows a batch may have whose longest is of some length.
    """
    batches: list[list[int]] = []
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number])):
        # The longest of a batch comes last.
        if not batches or len(batches[-1]) >= at_once(len(rows[number])):
            batches.append([])
        batches[-1].append(number)
    return batches


def by_logits(tokenizer: Any, rows: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Return the rows' numbers in batches of like length, at most ``most``, of bounded logits.

    A batch ends, too, where the next row would add more padding than a batch costs.
    """
    batches: list[list[int]] = []
    filled = 0
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number])):
        # The longest of a batch comes last.
        length = len(rows[number])
        room = rows_per_batch(tokenizer, most, length)
        batch = batches[-1] if batches else []
        padded = len(batch) * length - filled
        if not batch or len(batch) >= room or padded > _MOST_PADDING:
            batches.append([])
            filled = 0
        batches[-1].append(number)
        filled += length
    return batches
