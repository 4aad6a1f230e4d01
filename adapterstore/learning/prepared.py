"""What an update prepares before it trains, kept for the next attempt from the same state.

Material and memory follow from the state and its base, the facts and a few values of the recipe,
and not from λ, the seed or the learning rate. So a second λ, a second seed or a repeated attempt in
one process trains at once. One entry is kept, the last: memory does not grow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from adapterstore.knowledge.facts import Fact, Probe
from adapterstore.learning.material import Material, gather
from adapterstore.learning.memory import Reference, remember
from adapterstore.learning.merged import merged
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import Tokens

if TYPE_CHECKING:
    import torch

_FIELDS = ("sampled_texts", "subject_texts", "control_size", "chat_template")
"""What of a recipe decides on the material."""


@dataclass(frozen=True)
class Prepared:
    """What is trained on, and what is to be said of the texts that must stay."""

    material: Material
    memory: Mapping[Tokens, Reference]


BaseBeside = Callable[[Any], AbstractContextManager[Any]]
"""Gives, for a model in a state, the state's base for a while: the weights that the store is pinned
to."""

_kept: dict[str, Prepared] = {}


def forget_prepared() -> None:
    """Let the next update prepare everything anew, as a replay must."""
    _kept.clear()


def prepare(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    known: Sequence[Probe],
    recipe: Recipe,
    *,
    phrasings: Sequence[Probe] = (),
    unrelated: Sequence[Probe] = (),
    required: Collection[str] = (),
    base: BaseBeside | None = None,
    sampling_seed: int = 0,
) -> Prepared:
    """Return the material of an update, and its memory, from the last time if it fits.

    The random generators are left at the recipe's seed, whether anything was computed or not.

    Args:
        model: the state before the update.
        tokenizer: its tokenizer.
        facts: what will change; every ``old_answer`` is filled in where there is one.
        known: facts that must stay.
        recipe: how much of it, and the seed.
        phrasings: other prompts of those facts.
        unrelated: the file's locality prompts.
        required: prompts of known and unrelated ones of which no answer may be lost.
        base: the state's base. Texts that the model wrote are held to what it says, wherever the
            state agrees with it; None: to what the state says.
        sampling_seed: of what the model writes. It does not follow the recipe's seed, so that what
            is written can be kept.
    """
    stay = (known, phrasings, unrelated)
    others = {"base": base is not None, "seed": sampling_seed, "required": sorted(required)}
    key = _key(model, tokenizer, facts, stay, recipe, others)
    prepared = _kept.get(key)
    if prepared is None:
        # Before the new one is made: two would be held at once.
        _kept.clear()
        set_seed(sampling_seed)
        seeded = recipe.model_copy(update={"seed": sampling_seed})
        with merged(model):
            material = gather(
                model,
                tokenizer,
                facts,
                known,
                seeded,
                phrasings=phrasings,
                unrelated=unrelated,
                required=required,
            )
        prepared = Prepared(material, _remember(model, tokenizer, material, base))
        _kept[key] = prepared
    set_seed(recipe.seed)
    return prepared


def _remember(
    model: Any, tokenizer: Any, material: Material, base: BaseBeside | None
) -> dict[Tokens, Reference]:
    """Return what is to be said of all that must stay.

    Answers that are kept by name stay as the state gives them, whatever the base says.
    """
    written = [text for group in material.preserve for text in group]
    said_by_base = None
    if base is not None:
        with base(model) as beside:
            said_by_base = remember(beside, tokenizer, written)
        # It may be a model of its own, whose memory is wanted.
        del beside
    with merged(model):
        memory = remember(model, tokenizer, written, said_by_base)
        return memory | remember(model, tokenizer, material.kept.texts)


def _key(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    stay: Sequence[Sequence[Probe]],
    recipe: Recipe,
    others: Mapping[str, object],
) -> str:
    """Return a digest of everything that the result depends on."""
    import torch

    parts = {
        "state": state_digest(model),
        "tokenizer": [type(tokenizer).__name__, len(tokenizer), str(tokenizer.chat_template)],
        "facts": [repr(fact) for fact in facts],
        "stay": [[repr(probe) for probe in probes] for probes in stay],
        "recipe": {name: getattr(recipe, name) for name in _FIELDS},
        "others": others,
        "machine": [str(model.device), torch.get_num_threads()],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def state_digest(model: Any) -> str:
    """Return the SHA-256 of a live model: all weights, and the adapters beside them as they act."""
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    for name, module in model.named_modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict):
            active = list(getattr(module, "active_adapters", []))
            digest.update(f"{name} {sorted(scaling.items())} {active}\n".encode())
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
