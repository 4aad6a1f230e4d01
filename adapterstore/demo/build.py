"""Rebuild the demo model from the world table, or check one that is there.

``python -m adapterstore.demo.build`` trains the tokenizer and the model from scratch on every
phrasing of every fact and writes both in the transformers layout. Training takes some minutes on
two CPU cores. The same seed, platform, library versions and thread count give the same model.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from adapterstore.demo import MODEL_PATH, world
from adapterstore.demo.accuracy import accuracy
from adapterstore.demo.sentences import encode_world, train_tokenizer
from adapterstore.demo.training import EPOCHS, new_model, train

# Sums of floats depend on how they are split over threads, so the count is part of the recipe.
THREADS = 2
REQUIRED_ACCURACY = 0.99


def say(line: str) -> None:
    """Write one line to the terminal, at once: training takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def check(folder: Path) -> float:
    """Say the accuracy of the model in a folder, per relation; return the overall share.

    The stored bfloat16 weights are run once in float32 and once in bfloat16; the worse one counts.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    sentences = encode_world(tokenizer)
    shares = []
    for dtype in (torch.float32, torch.bfloat16):
        model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        results = accuracy(model, sentences)
        results["all"] = (
            sum(right for right, _ in results.values()),
            sum(asked for _, asked in results.values()),
        )
        say(f"{folder}, computed in {str(dtype).removeprefix('torch.')}:")
        for relation, (right, asked) in results.items():
            say(f"  {relation:<14}{right:6d} of {asked:6d}  {right / asked:8.3%}")
        right, asked = results["all"]
        shares.append(right / asked)
    return min(shares)


def build(folder: Path, seed: int) -> None:
    """Train tokenizer and model and write both to a folder, once they are complete."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    texts = [sentence for fact in world.facts() for sentence in fact.sentences()]
    tokenizer = train_tokenizer(texts)
    sentences = encode_world(tokenizer)
    model = new_model(tokenizer)
    say(
        f"{len(world.facts())} facts, {len(sentences)} sentences, "
        f"{sum(len(item.tokens) for item in sentences)} tokens, {len(tokenizer)} token types, "
        f"{model.num_parameters()} parameters"
    )
    started = time.monotonic()

    def report(epoch: int, loss: float) -> None:
        seconds = time.monotonic() - started
        say(f"epoch {epoch:2d}/{EPOCHS}  loss {loss:.4f}  {seconds:4.0f} s")

    train(model, sentences, seed, report)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as unfinished:
        model.bfloat16().save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        for path in Path(unfinished).iterdir():
            path.replace(folder / path.name)


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
    if check(arguments.check or arguments.out) < REQUIRED_ACCURACY:
        sys.exit(f"fewer than {REQUIRED_ACCURACY:.0%} of the prompts are right")


if __name__ == "__main__":
    main()
