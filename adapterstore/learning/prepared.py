"""What an update prepares before it trains, kept for the next attempt from the same state.

Material and memory follow from the state, the facts and a few values of the recipe, and not from
λ, the seed or the learning rate. So a second λ, a second seed or a repeated attempt in one process
trains at once. One entry is kept, the last: memory does not grow.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
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
    """What is trained on, and what the state said of the texts that must stay."""

    material: Material
    memory: Mapping[Tokens, Reference]


Pinned = Callable[[], AbstractContextManager[Any]]
"""Gives the base for a while: a model with the weights that the store is pinned to."""

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
    pinned: Pinned | None = None,
) -> Prepared:
    """Return the material of an update and the memory of its state, from the last time if it fits.

    The random generators are left at the recipe's seed, whether anything was computed or not.

    Args:
        model: the state before the update.
        tokenizer: its tokenizer.
        facts: what will change; every ``old_answer`` is filled in where there is one.
        known: facts that must stay.
        recipe: how much of it, and the seed.
        phrasings: other prompts of those facts.
        unrelated: the file's locality prompts.
        pinned: the base, by which what is to be said is judged where the state still agrees with
            it; None: the state is the base.
    """
    stay = (known, phrasings, unrelated)
    key = _key(model, tokenizer, facts, stay, recipe)
    prepared = _kept.get(key)
    if prepared is None:
        # Before the new one is made: two would be held at once.
        _kept.clear()
        seed = _material_seed(known)
        set_seed(seed)
        seeded = recipe.model_copy(update={"seed": seed})
        with merged(model):
            material = gather(
                model,
                tokenizer,
                facts,
                known,
                seeded,
                phrasings=phrasings,
                unrelated=unrelated,
            )
        first = None
        if pinned is not None:
            with pinned() as base:
                first = remember(base, tokenizer, material.held)
        with merged(model):
            prepared = Prepared(material, remember(model, tokenizer, material.held, first))
        _kept[key] = prepared
    set_seed(recipe.seed)
    return prepared


def _material_seed(known: Sequence[Probe]) -> int:
    """Return the seed of what is sampled: the same for each seed of a recipe, so it can be kept.

    With other earlier facts it is another one, so that each update holds other texts in place.
    """
    return zlib.crc32("\n".join(probe.prompt for probe in known).encode())


def _key(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    stay: Sequence[Sequence[Probe]],
    recipe: Recipe,
) -> str:
    """Return a digest of everything that the result depends on."""
    import torch

    parts = {
        "state": state_digest(model),
        "tokenizer": [type(tokenizer).__name__, len(tokenizer), str(tokenizer.chat_template)],
        "facts": [repr(fact) for fact in facts],
        "stay": [[repr(probe) for probe in probes] for probes in stay],
        "recipe": {name: getattr(recipe, name) for name in _FIELDS},
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
