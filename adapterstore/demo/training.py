"""The demo model and its training: all tokens of all sentences, the answers weighted more."""

import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapterstore.demo.sentences import Sentence, pad

EPOCHS = 16
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
# The answer is a small part of each sentence but the part that has to be right.
ANSWER_WEIGHT = 2.0
IGNORED = -100


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
    model.generation_config = GenerationConfig.from_dict(
        {"max_new_tokens": 16, "do_sample": False, **special}
    )
    return model


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


def train(
    model: LlamaForCausalLM,
    sentences: Sequence[Sentence],
    seed: int,
    report: Callable[[int, float], None],
) -> None:
    """Train the model on all tokens of all sentences.

    Args:
        model: an untrained model; changed in place.
        sentences: what to learn.
        seed: decides the order of the sentences.
        report: called after each epoch with its number, from 1, and its mean loss in nats a token.
    """
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
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in batches(sentences, shuffler):
            tokens = pad(batch)
            targets = tokens[:, 1:].clone()
            weights = torch.ones(targets.shape)
            for row, item in enumerate(batch):
                targets[row, len(item.tokens) - 1 :] = IGNORED
                weights[row, item.answer_start - 1 :] = ANSWER_WEIGHT
            weights[targets == IGNORED] = 0.0
            logits = model(input_ids=tokens[:, :-1]).logits
            losses = cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
            )
            loss = (losses * weights.flatten()).sum() / weights.sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        report(epoch, total / steps_per_epoch)
