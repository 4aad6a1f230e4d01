"""Chat templates: a prompt is the user's turn, its answer the assistant's.

`ChatTokenizer` stands where a tokenizer stands. All that turns prompts and answers into tokens asks
it, so that training, evaluation and ``ask`` see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Literal

from adapterstore.errors import InvalidSetting

ChatMode = Literal["auto", "on", "off"]

SETTING = "recipe.chat_template"
_QUESTION, _ANSWER = "adapterstore-question", "adapterstore-answer"
_FIXED = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""Variables of the templates in use: today's date would make every day another state, and an answer
is what comes first, not what follows a text of thoughts."""


def with_chat_template(tokenizer: Any, mode: ChatMode) -> Any:
    """Return the tokenizer that a setting asks for: itself, or a `ChatTokenizer` over it.

    Args:
        tokenizer: a transformers tokenizer.
        mode: ``off``; ``on``; or ``auto``: on where the tokenizer brings a template.

    Raises:
        InvalidSetting: ``on``, but there is no template, or one that makes no turns of a text.
    """
    has_one = getattr(tokenizer, "chat_template", None) is not None
    if mode == "off" or (mode == "auto" and not has_one):
        return tokenizer
    if not has_one:
        raise InvalidSetting(SETTING, "the base's tokenizer has no chat template; set it to off")
    return ChatTokenizer(tokenizer)


class ChatTokenizer:
    """A tokenizer with its chat template; what is not about turns is the tokenizer's own."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        asked = self.ask(_QUESTION)
        told = self._render(
            [
                {"role": "user", "content": _QUESTION},
                {"role": "assistant", "content": _ANSWER},
            ],
            ask=False,
        )
        before, found, between = asked.partition(_QUESTION)
        _, answered, after = told.rpartition(_ANSWER)
        if not found or not answered:
            raise InvalidSetting(SETTING, "the base's template leaves out what is said; use off")
        self.between = between
        """What stands between question and answer."""
        self._before = before
        # A space at the end belongs to the word that comes next.
        self.start = tuple(self.encode(before.rstrip(" "))) if before else ()
        """What stands before the question, as tokens."""
        added = tokenizer.added_tokens_decoder
        ends = [token for token in self.encode(after) if token in added] if after else []
        self.turn_end = ends[0] if ends else tokenizer.eos_token_id
        """The token that ends the assistant's turn."""
        # Read off what is asked: by itself, what stands between may make other tokens.
        whole = self.encode(asked)
        self._between = tuple(whole[_alike(self.encode(before + _QUESTION), whole) :])
        self._read_before = self._plain(self.start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return what the tokenizer itself gives; see `ask` for prompts."""
        return self._tokenizer(*arguments, **options)

    def ask(self, prompt: str) -> str:
        """Return the text after which the assistant answers a prompt."""
        return self._render([{"role": "user", "content": prompt}], ask=True)

    def begin(self, words: str) -> tuple[int, ...]:
        """Return the tokens of a user's turn that begins with some words and is to go on."""
        return tuple(self.encode(self._before + words))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text that has its special ones already."""
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def split(self, tokens: Sequence[int]) -> tuple[str, int] | None:
        """Return a text's question, and where its answer begins; None if it has no two turns."""
        size = len(self._between)
        for position in range(len(tokens) - size, len(self.start), -1):
            if tuple(tokens[position : position + size]) == self._between:
                return self.question(tokens[:position]), position + size
        return None

    def question(self, tokens: Sequence[int]) -> str:
        """Return the question in a text that is a user's turn, and may go on behind it."""
        words = self._plain(tokens).removeprefix(self._read_before)
        return words.partition(self.between.strip() or "\n\n")[0].strip()

    def _plain(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()

    def _render(self, turns: list[dict[str, str]], ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=ask, **_FIXED
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InvalidSetting(
                SETTING, f"the base's template can't be used: {reason}; set it to off"
            ) from error
        return text


def _alike(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two texts have in common from their beginnings."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
