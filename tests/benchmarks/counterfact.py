"""``make bench-counterfact``: an update by real CounterFact records, as they are.

    python -m tests.benchmarks.counterfact --data FOLDER [--known 600] [--changed 60]

No pretrained model is at hand here, so a stand-in is trained from scratch on the old answers of the
first records: prompt, paraphrase and locality prompt of each (a Llama of 4 layers × 256 over a
byte-level BPE of 4,000). Then ``adapterstore update`` takes the first records as they are. The
report printed is the product's own; beside it, what the stand-in knew before.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapterstore.evaluation.encoding import encode_answer, pad
from adapterstore.evaluation.generation import score_answers
from adapterstore.knowledge.facts import join

FILE = "counterfact-2000.json"
VOCABULARY = 4000
EPOCHS = 25
BATCH = 64
PEAK_RATE = 2e-3


def pairs_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a record's prompts with the answers from before the update."""
    return [
        (record["prompt"].strip(), record["ground_truth"].strip()),
        (record["rephrase_prompt"].strip(), record["ground_truth"].strip()),
        (record["locality_prompt"].strip(), record["locality_ground_truth"].strip()),
    ]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that begins every text with its start token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<bos>", "<eos>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


def train_base(
    pairs: list[tuple[str, str]], folder: Path, seed: int, epochs: int = EPOCHS
) -> tuple[float, float]:
    """Train the stand-in and save it; return the share of prompts it knows, and the seconds."""
    started = time.perf_counter()
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([f"{join(prompt, answer)}." for prompt, answer in pairs])
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )
    rows = [(*encode_answer(tokenizer, prompt, f"{answer}.").tokens, 1) for prompt, answer in pairs]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    shuffler = random.Random(seed)
    model.train()
    for _ in range(epochs):
        shuffler.shuffle(rows)
        for start in range(0, len(rows), BATCH):
            inputs = pad(rows[start : start + BATCH], 2, "cpu")
            labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
            loss = model(**inputs, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval().to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    known = score_answers(model.float(), tokenizer, pairs)
    share = sum(score.given for score in known) / len(known)
    return share, time.perf_counter() - started


def main() -> None:
    """Train the stand-in, run the update and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--known", type=int, default=600)
    parser.add_argument("--changed", type=int, default=60)
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    records = json.loads((arguments.data / FILE).read_text(encoding="utf-8"))[: arguments.known]
    pairs = list(dict.fromkeys(pair for record in records for pair in pairs_of(record)))
    with tempfile.TemporaryDirectory(prefix="bench-counterfact-") as scratch:
        folder = Path(scratch)
        share, seconds = train_base(pairs, folder / "base", arguments.seed)
        print(
            f"stand-in: {len(pairs)} prompts, {share:.1%} known, {seconds:.0f} s of training\n",
            flush=True,
        )
        drop = folder / "records.json"
        drop.write_text(json.dumps(records[: arguments.changed]), encoding="utf-8")
        program = [sys.executable, "-m", "adapterstore_cli"]
        subprocess.run([*program, "init", "--base", "./base"], cwd=folder, check=True)
        started = time.perf_counter()
        command = ["update", drop.name, "--method", arguments.method]
        print(f"$ adapterstore {' '.join(command)}", flush=True)
        done = subprocess.run([*program, *command], cwd=folder, check=False)
        print(f"exit code {done.returncode}, {time.perf_counter() - started:.0f} s")
        if done.returncode not in (0, 13):
            raise SystemExit("the update came to no result")


if __name__ == "__main__":
    main()
