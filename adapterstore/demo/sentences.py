"""The demo model's tokenizer, and the world as the sentences that the model is trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from adapterstore.demo import world

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
VOCABULARY_SIZE = 2000


@dataclass(frozen=True)
class Sentence:
    """One training sentence as tokens, with the place where its answer starts."""

    relation: str
    tokens: tuple[int, ...]
    answer_start: int


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that puts the start token before every text."""
    tokenizer = Tokenizer(models.BPE())
    # Japanese has no spaces: without the cut between scripts a token could span the end of the
    # prompt and the start of the answer.
    scripts = Regex(r"\p{Hiragana}+|[\p{Katakana}ー・]+|\p{Han}+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(scripts, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE,
            special_tokens=[BOS, EOS, PAD],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    # transformers leaves this constructor untyped.
    wrap: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def encode_world(tokenizer: PreTrainedTokenizerFast) -> list[Sentence]:
    """Return every phrasing of every fact as a training sentence."""
    sentences = []
    for fact in world.facts():
        for prompt, text in zip(fact.phrasings, fact.sentences(), strict=True):
            prompt_tokens = tokenizer(prompt)["input_ids"]
            tokens = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            if tokens[: len(prompt_tokens)] != prompt_tokens:
                raise ValueError(f"a token spans the end of the prompt {prompt!r}")
            sentences.append(Sentence(fact.relation, tuple(tokens), len(prompt_tokens)))
    return sentences


def pad(batch: Sequence[Sentence]) -> torch.Tensor:
    """Return the tokens of a batch, padded on the right; shape (sentences, longest).

    What stands in the padding is of no account: causal attention never looks to the right.
    """
    width = max(len(item.tokens) for item in batch)
    return torch.tensor([[*item.tokens, *[0] * (width - len(item.tokens))] for item in batch])
