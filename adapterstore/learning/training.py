"""One phase of training with transformers' Trainer: teach some texts, stay as before on others.

    loss = mean CE(targets) + β · [mean KL(before ‖ now) + mean KL(before ‖ now, answers kept)]

The second mean is over every position of the preserved texts; the third over the positions of the
answers that must stay, which would drown among those. ``before`` is what `memory` keeps.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adapterstore.errors import InvalidSetting, TrainingFailed
from adapterstore.evaluation.encoding import (
    Example,
    answer_places,
    pad,
    padding_id,
    places_per_batch,
)
from adapterstore.evaluation.reading import logits_at
from adapterstore.learning.memory import Reference, divergences
from adapterstore.learning.sampling import Tokens
from adapterstore.progress import Progress

CHECK_EVERY = 5
_WARM_UP_STEPS = 5
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class PhaseData:
    """What a phase trains on; each step takes a part of each list."""

    taught: Sequence[Example]
    paraphrased: Sequence[Example] = ()
    preserved: Sequence[Sequence[Tokens]] = ()
    """Groups of texts; each step takes as many of each group, as far as there are so many."""
    memory: Mapping[Tokens, Reference] | None = None
    """Of the preserved and the kept texts."""
    kept: Sequence[Sequence[Example]] = ()
    """Groups of texts whose answers must stay. Each step takes up to half of ``batch_size`` from
    the first group, and a quarter from each other."""
    replaced: Sequence[Example] = ()
    """What is said instead of answers that are only forgotten, kept like the others: up to a
    quarter of ``batch_size`` a step, or all of it where nothing is taught."""
    recalled: Sequence[Example] = ()
    """Taught beside the others: each step takes up to a quarter of ``batch_size``."""
    missed: Sequence[Example] = ()
    """Of the taught ones, those that a turn before did not reach: as many again."""

    def shares(self, batch_size: int) -> tuple[int, int]:
        """Return how many taught and how many paraphrased texts one step takes."""
        # Of a small batch, too, one text is the facts' own.
        paraphrased = min(len(self.paraphrased), (2 * batch_size + 2) // 3, batch_size - 1)
        return min(len(self.taught), batch_size - paraphrased), paraphrased

    def replaced_share(self, batch_size: int) -> int:
        """Return how many of the replaced answers one step takes."""
        most = max(1, batch_size // 4) if self.taught else batch_size
        return min(len(self.replaced), most)


@dataclass(frozen=True)
class _Row:
    """One text of a step."""

    name: Literal["taught", "preserved", "kept"]
    example: Example
    group: int = 0
    """Of preserved texts."""


class _Steps(torch.utils.data.Dataset[dict[str, Any]]):
    """One item a step: a mixed batch, drawn with the recipe's seed.

    It comes in parts, of which each asks the model for ``most_places`` predictions at most: with a
    vocabulary of 152,000 a step of 2,000 predictions would need several gigabytes for logits alone.
    """

    def __init__(
        self,
        data: PhaseData,
        batch_size: int,
        steps: int,
        seed: int,
        padding: int,
        most_places: int,
    ):
        self._padding, self._most_places = padding, most_places
        self._memory = data.memory or {}
        self._steps = steps
        chooser = random.Random(seed)
        taught, paraphrased = data.shares(batch_size)
        groups = [group for group in data.preserved if group and data.memory is not None]
        # However small the batch, no group goes without.
        each = max(math.ceil(1.5 * batch_size), len(groups))
        shares = _shares([len(group) for group in groups], each)
        self._taught = _draw(data.taught, taught, chooser)
        self._paraphrased = _draw(data.paraphrased, paraphrased, chooser)
        self._preserved = [
            _draw(group, share, chooser) for group, share in zip(groups, shares, strict=True)
        ]
        self._recalled = _draw(data.recalled, max(1, batch_size // 4), chooser)
        self._missed = _draw(data.missed, max(1, batch_size // 4), chooser)
        kept = [
            (group, max(1, batch_size // (2 if number == 0 else 4)))
            for number, group in enumerate(data.kept)
        ]
        kept.append((data.replaced, data.replaced_share(batch_size)))
        self._kept = [
            _draw(group, share, chooser)
            for group, share in kept
            if group and data.memory is not None
        ]

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> dict[str, Any]:
        lists = (self._taught, self._paraphrased, self._recalled, self._missed)
        taught = [example for each in lists for example in next(each)]
        rows = [_Row("taught", example) for example in taught]
        for number, group in enumerate(self._preserved):
            rows += [_Row("preserved", Example(text, 1), number) for text in next(group)]
        rows += [_Row("kept", example) for group in self._kept for example in next(group)]
        totals = _places(rows)
        return {
            "parts": [self._part(part, totals) for part in self._parts(rows)],
            "positions": [totals[f"preserved {number}"] for number in range(len(self._preserved))],
        }

    def _parts(self, rows: Sequence[_Row]) -> list[list[_Row]]:
        parts: list[list[_Row]] = [[]]
        room = self._most_places
        for row in rows:
            places = len(row.example.targets)
            if parts[-1] and places > room:
                parts.append([])
                room = self._most_places
            parts[-1].append(row)
            room -= places
        return parts

    def _part(self, rows: Sequence[_Row], totals: Counter[str]) -> dict[str, Any]:
        """Return some rows of a step as a batch; ``shares`` is their part of each of its means."""
        batch: dict[str, Any] = pad([r.example.tokens for r in rows], self._padding, "cpu")
        here, first = _places(rows), 0
        batch["shares"] = {}
        for name, own in itertools.groupby(rows, lambda row: row.name):
            examples = [row.example for row in own]
            batch[f"{name}_places"] = answer_places(examples, first)
            if name != "taught":
                batch |= _said(name, examples, self._memory)
            batch["shares"][name] = here[name] / max(totals[name], 1)
            first += len(examples)
        batch["groups"] = torch.tensor(
            [r.group for r in rows if r.name == "preserved" for _ in r.example.targets],
            dtype=torch.long,
        )
        return batch


def _places(rows: Sequence[_Row]) -> Counter[str]:
    """Return how many predictions there are by name, and of each group of preserved texts."""
    places = Counter[str]()
    for row in rows:
        places[row.name] += len(row.example.targets)
        places[f"{row.name} {row.group}"] += len(row.example.targets)
    return places


def _said(
    name: str, examples: Sequence[Example], memory: Mapping[Tokens, Reference]
) -> dict[str, torch.Tensor]:
    """Return what was said where these examples must stay."""
    references = [(memory[e.tokens], e.start - 1) for e in examples]
    return {
        f"{name}_likeliest": torch.cat([r.tokens[start:] for r, start in references]).long(),
        f"{name}_before": torch.cat([r.logs[start:] for r, start in references]),
    }


def _shares(sizes: Sequence[int], total: int) -> list[int]:
    """Return how many each group gives to ``total``: as many each, small groups all they have."""
    shares = [0] * len(sizes)
    for done, number in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[number] = min(sizes[number], math.ceil(total / (len(sizes) - done)))
        total -= shares[number]
    return shares


def _draw(items: Sequence[Any], count: int, chooser: random.Random) -> Iterator[list[Any]]:
    """Yield ``count`` different items at a time, from one shuffle after the other.

    What is left of a shuffle and too few for one more time is dropped.
    """
    waiting: list[Any] = []
    count = min(count, len(items))
    while True:
        if len(waiting) < count:
            waiting = chooser.sample(list(items), len(items))
        yield [waiting.pop() for _ in range(count)]


class _OneDevice(TrainingArguments):
    """Training is on one device: on several GPUs, the Trainer would copy the model to each."""

    @property
    def n_gpu(self) -> int:
        """Return one at most."""
        return min(int(super().n_gpu), 1)


class _PhaseTrainer(Trainer):
    """Trainer with the loss of this module."""

    preserve_weight: float = 0.0
    divergence: float = 0.0
    """KL of the last step over the preserved texts, per position, of the group where it is most."""

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add up the gradients of a step's parts; return its loss."""
        positions = torch.tensor(inputs["positions"])
        self._sums = torch.zeros(len(positions))
        losses = [super(_PhaseTrainer, self).training_step(model, p) for p in inputs["parts"]]
        if len(positions):
            self.divergence = float((self._sums / positions).max())
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return what a part of a step adds to its CE(targets) + β·KL(before ‖ now)."""
        shares = inputs["shares"]
        places = [inputs[f"{name}_places"] for name in shares]
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logits = logits_at(model, texts, torch.cat(places))
        terms = []
        shown = logits.float().split_with_sizes([len(part) for part in places])
        for (name, share), part in zip(shares.items(), shown, strict=True):
            if not len(part):
                continue
            if name == "taught":
                rows, columns = inputs["taught_places"].unbind(1)
                wanted = inputs["input_ids"][rows, columns + 1]
                terms.append(share * torch.nn.functional.cross_entropy(part, wanted))
                continue
            # Of the logarithms, only those compared are ever formed.
            now = part.gather(1, inputs[f"{name}_likeliest"]) - part.logsumexp(-1, keepdim=True)
            each = divergences(now, inputs[f"{name}_before"], part.shape[1])
            if name == "preserved":
                self._sums.index_add_(0, inputs["groups"].cpu(), each.detach().cpu())
            terms.append(share * self.preserve_weight * each.mean())
        # Of an empty part there is nothing to learn, but Trainer wants a loss.
        loss = torch.stack(terms).sum() if terms else logits[:0].float().sum()
        return (loss, {"logits": logits}) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count none: Trainer would warn that it finds no tokens in a step that comes in parts."""
        return 0


class _Watch(TrainerCallback):
    """Tells the progress, and stops when it is enough."""

    def __init__(self, progress: Progress, enough: Callable[[], bool] | None):
        self._progress, self._enough = progress, enough
        self.steps = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._progress.advance()
        self.steps = state.global_step
        if self._enough is not None and state.global_step % CHECK_EVERY == 0 and self._enough():
            control.should_training_stop = True
        return control


@contextmanager
def checkpointed(model: Any) -> Iterator[None]:
    """Keep no activations between layers while this lasts.

    A reentrant checkpoint passes gradients on only if one of its inputs requires them; below frozen
    weights, as with LoRA, none does, and nothing would be trained, silently. These are not
    reentrant, and transformers lets the embeddings' output require gradients besides.
    """
    # What newer releases of transformers call activation checkpointing.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    enable = getattr(model, f"{kind}_checkpointing_enable")
    try:
        enable(**{f"{kind}_checkpointing_kwargs": {"use_reentrant": False}})
    except ValueError as error:
        raise InvalidSetting(
            "recipe.gradient_checkpointing", "the base has none; unset it"
        ) from error
    try:
        yield
    finally:
        model.disable_input_require_grads()
        getattr(model, f"{kind}_checkpointing_disable")()


def train_phase(
    phase: str,
    model: Any,
    tokenizer: Any,
    data: PhaseData,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    preserve_weight: float,
    seed: int,
    progress: Progress,
    checkpointing: bool = False,
    enough: Callable[[float], bool] | None = None,
) -> int:
    """Train what of ``model`` requires gradients; return how many steps it took.

    Args:
        phase: its name, for messages.
        model: a model on its device.
        tokenizer: gives the padding token.
        data: what to teach and what to preserve.
        steps: most steps.
        batch_size: texts that teach, a step.
        learning_rate: the peak; it rises over the first steps and falls to 0 over the second half.
        preserve_weight: β.
        seed: of the order of texts.
        progress: told of every step.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        enough: asked every few steps, with the last step's KL over the group of preserved texts
            where it is most; True stops.

    Raises:
        TrainingFailed: a weight is not finite, or the model has no gradient checkpointing.
    """
    progress.start(phase, steps)
    dataset = _Steps(
        data, batch_size, steps, seed, padding_id(tokenizer), places_per_batch(tokenizer)
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / _WARM_UP_STEPS) * min(1.0, 2 * (1 - step / steps)),
    )
    with tempfile.TemporaryDirectory(prefix="adapterstore-") as scratch:
        trainer = _PhaseTrainer(
            model=model,
            args=_OneDevice(
                output_dir=scratch,
                max_steps=steps,
                per_device_train_batch_size=1,
                max_grad_norm=_CLIP_NORM,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_num_workers=0,
                dataloader_pin_memory=False,
                use_cpu=model.device.type == "cpu",
                seed=seed,
            ),
            train_dataset=dataset,
            data_collator=lambda items: items[0],
            optimizers=(optimizer, schedule),
        )
        trainer.preserve_weight = preserve_weight
        stop = None if enough is None else (lambda: enough(trainer.divergence))
        watch = _Watch(progress, stop)
        trainer.add_callback(watch)
        # Without a progress bar Trainer prints instead; telling the user is the caller's affair.
        trainer.remove_callback(PrinterCallback)
        with checkpointed(model) if checkpointing else nullcontext():
            trainer.train()
    model.eval()
    if not all(bool(torch.isfinite(p).all()) for p in trained):
        raise TrainingFailed(
            phase, "the loss is not finite; lower recipe.learning_rate or look at the base model"
        )
    return watch.steps
