"""Remembered answers of whole states: ``cache/states``. May be deleted at any time.

What a state answers follows from the base model, the composition, the prompt and how it is put. So
what one update asked of its state, the next one need not ask again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.knowledge.facts import may_begin
from adapterstore.store.cache import Cache
from adapterstore.store.repository import Repository

FORMAT = 1
STATES = "states"
_MOST_REMEMBERED = 20_000
"""Prompts of one state; beyond it, the earliest are asked again."""


class StateAnswers:
    """Asks the states of one base, and remembers what they say, one cache file a state."""

    def __init__(self, repository: Repository, base: BaseModel, chat_template: str, device: str):
        """Use a store's cache.

        Args:
            repository: the store.
            base: its digests say which weights; without them nothing is remembered.
            chat_template: the setting by which prompts are put.
            device: the setting by which a device is chosen; another one rounds otherwise.
        """
        self._cache = Cache(repository.folder, STATES)
        self._base, self._how = base.digests, {"chat_template": chat_template, "device": device}

    def ask(
        self,
        composition: Composition,
        wanted: Mapping[str, Collection[str]],
        ask: Callable[[Mapping[str, Collection[str]]], Mapping[str, str]],
    ) -> dict[str, str]:
        """Return what a state says to each prompt; ``ask`` gets those not remembered, if any.

        ``wanted`` has the answers that it is compared with. What is remembered and may be cut off
        in the middle of one is asked again.
        """
        key = self._key(composition)
        known = self._read(key)
        missing = {
            prompt: expected
            for prompt, expected in wanted.items()
            if prompt not in known or any(may_begin(known[prompt], answer) for answer in expected)
        }
        if missing:
            known.update(ask(missing))
            if self._base is not None:
                kept = list(known.items())[-_MOST_REMEMBERED:]
                self._cache.write(key, dict(kept))
        return {prompt: known[prompt] for prompt in wanted}

    def _read(self, key: str) -> dict[str, str]:
        found = self._cache.read(key) if self._base is not None else None
        if not isinstance(found, Mapping) or not all(isinstance(v, str) for v in found.values()):
            return {}
        return dict(found)

    def _key(self, composition: Composition) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "base": self._base,
                "composition": hashlib.sha256(composition.to_bytes()).hexdigest(),
                **self._how,
            },
            sort_keys=True,
        )
