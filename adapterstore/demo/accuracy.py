"""How many prompts of the world a model completes rightly."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM

from adapterstore.demo import world
from adapterstore.demo.sentences import Sentence, pad

BATCH_SIZE = 256


@torch.inference_mode()
def accuracy(model: LlamaForCausalLM, sentences: Sequence[Sentence]) -> dict[str, tuple[int, int]]:
    """Return, for each relation, how many prompts come out right, and of how many.

    A completion is right if the answer, the full stop and the end token all come out. Greedy
    decoding gives exactly these tokens if and only if each one is the most likely after its right
    predecessors, so one pass over the whole sentence decides it.
    """
    model.train(False)
    right: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    ordered = sorted(sentences, key=lambda item: len(item.tokens))
    for start in range(0, len(ordered), BATCH_SIZE):
        batch = ordered[start : start + BATCH_SIZE]
        predictions = model(input_ids=pad(batch)).logits.argmax(-1)
        for item, predicted in zip(batch, predictions.tolist(), strict=True):
            end = len(item.tokens)
            expected = list(item.tokens[item.answer_start :])
            right[item.relation] += predicted[item.answer_start - 1 : end - 1] == expected
            asked[item.relation] += 1
    return {relation: (right[relation], asked[relation]) for relation in world.relations()}
