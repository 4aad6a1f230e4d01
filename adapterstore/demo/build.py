"""Rebuild the demo model from the world table, or check one that is there.

``python -m adapterstore.demo.build`` trains the tokenizer and the model from scratch on every
phrasing of every fact and writes both in the transformers layout. Training takes some minutes on
two CPU cores. The same seed, platform, library versions and thread count give the same model.
"""

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapterstore.demo import MODEL_PATH, world

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
VOCABULARY_SIZE = 2000
EPOCHS = 16
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
# The answer is a small part of each sentence but the part that has to be right.
ANSWER_WEIGHT = 2.0
# Sums of floats depend on how they are split over threads, so the count is part of the recipe.
THREADS = 2
IGNORED = -100


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
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained model for the tokenizer."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            use_cache=True,
            **special,
        )
    )
    model.generation_config = GenerationConfig(max_new_tokens=16, do_sample=False, **special)
    return model


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


def batches(sentences: Sequence[Sentence], shuffler: random.Random) -> Iterator[list[Sentence]]:
    """Yield all sentences in random batches, each of sentences of about one length."""
    order = list(sentences)
    shuffler.shuffle(order)
    # Sorted within large random pools: little padding, yet different company in every epoch.
    pool_size = BATCH_SIZE * 24
    grouped = []
    for start in range(0, len(order), pool_size):
        pool = sorted(order[start : start + pool_size], key=lambda item: len(item.tokens))
        grouped += [pool[i : i + BATCH_SIZE] for i in range(0, len(pool), BATCH_SIZE)]
    shuffler.shuffle(grouped)
    yield from grouped


def pad(batch: Sequence[Sentence], padding: int) -> torch.Tensor:
    """Return the tokens of a batch as one tensor, padded on the right."""
    width = max(len(item.tokens) for item in batch)
    return torch.tensor([[*item.tokens, *[padding] * (width - len(item.tokens))] for item in batch])


def train(model: LlamaForCausalLM, sentences: Sequence[Sentence], seed: int) -> None:
    """Train the model on all tokens of all sentences."""
    padding = model.config.pad_token_id
    matrices = [p for p in model.parameters() if p.ndim > 1]
    norms = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": norms, "weight_decay": 0.0},
        ],
        lr=PEAK_LEARNING_RATE,
        betas=(0.9, 0.98),
        fused=True,
    )
    shuffler = random.Random(seed)
    steps_per_epoch = sum(1 for _ in batches(sentences, random.Random(seed)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=PEAK_LEARNING_RATE,
        total_steps=EPOCHS * steps_per_epoch,
        pct_start=0.1,
        cycle_momentum=False,
        final_div_factor=100.0,
    )
    model.train()
    started = time.monotonic()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in batches(sentences, shuffler):
            tokens = pad(batch, padding)
            targets = tokens[:, 1:].clone()
            weights = torch.ones(targets.shape)
            for row, item in enumerate(batch):
                targets[row, len(item.tokens) - 1 :] = IGNORED
                weights[row, item.answer_start - 1 :] = ANSWER_WEIGHT
            weights[targets == IGNORED] = 0.0
            # Padding is on the right, so causal attention never sees it and needs no mask.
            logits = model(input_ids=tokens[:, :-1]).logits
            losses = cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
            )
            loss = (losses * weights.flatten()).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.monotonic() - started
        print(
            f"epoch {epoch:2d}/{EPOCHS}  loss {total / steps_per_epoch:.4f}  {seconds:4.0f} s",
            flush=True,
        )


@torch.inference_mode()
def accuracy(model: LlamaForCausalLM, sentences: Sequence[Sentence]) -> dict[str, tuple[int, int]]:
    """Return, for each relation, how many prompts greedy decoding completes rightly, and of how many.

    A completion is right if the answer, the full stop and the end token all come out. Greedy
    decoding gives exactly these tokens if and only if each one is the most likely after its right
    predecessors, so one pass over the whole sentence decides it.
    """
    model.eval()
    right: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    ordered = sorted(sentences, key=lambda item: len(item.tokens))
    for start in range(0, len(ordered), 256):
        batch = ordered[start : start + 256]
        predictions = model(input_ids=pad(batch, model.config.pad_token_id)).logits.argmax(-1)
        for item, predicted in zip(batch, predictions.tolist(), strict=True):
            end = len(item.tokens)
            expected = list(item.tokens[item.answer_start :])
            right[item.relation] += predicted[item.answer_start - 1 : end - 1] == expected
            asked[item.relation] += 1
    return {relation: (right[relation], asked[relation]) for relation in world.relations()}


def check(folder: Path) -> float:
    """Print the accuracy of the model in a folder, per relation; return the overall share.

    The stored bfloat16 weights are run once in float32 and once in bfloat16.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    sentences = encode_world(tokenizer)
    shares = []
    for dtype in (torch.float32, torch.bfloat16):
        model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        results = accuracy(model, sentences)
        print(f"{folder}, computed in {str(dtype).removeprefix('torch.')}:")
        for relation, (right, asked) in results.items():
            print(f"  {relation:<14}{right:6d} of {asked:6d}  {right / asked:8.3%}")
        right = sum(count for count, _ in results.values())
        asked = sum(count for _, count in results.values())
        print(f"  {'all':<14}{right:6d} of {asked:6d}  {right / asked:8.3%}")
        shares.append(right / asked)
    return min(shares)


def build(folder: Path, seed: int) -> None:
    """Train tokenizer and model and write both to a folder."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    texts = [sentence for fact in world.facts() for sentence in fact.sentences()]
    tokenizer = train_tokenizer(texts)
    sentences = encode_world(tokenizer)
    model = new_model(tokenizer)
    print(
        f"{len(world.facts())} facts, {len(sentences)} sentences, "
        f"{sum(len(item.tokens) for item in sentences)} tokens, {len(tokenizer)} token types, "
        f"{model.num_parameters()} parameters",
        flush=True,
    )
    train(model, sentences, seed)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m adapterstore.demo.build", description="Rebuild or check the demo model."
    )
    parser.add_argument("--out", type=Path, default=MODEL_PATH, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=Path, metavar="DIR", help="only evaluate this model")
    arguments = parser.parse_args()
    if arguments.check is None:
        build(arguments.out, arguments.seed)
        check(arguments.out)
    else:
        check(arguments.check)


if __name__ == "__main__":
    main()
