"""Where the answers come from that an update makes a model forget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adapterstore.history.ledger.known import Known
from adapterstore.history.update_report import Origin
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import old_answer


@dataclass(frozen=True)
class OldAnswer:
    """What was forgotten of one fact, and who said so."""

    prompt: str
    old_answer: str
    origin: Origin
    """``file``: the fact's own; ``ledger``: what an earlier update had taught; ``model``: neither
    says, so it is what the model itself answered."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def find_origins(given: Sequence[Fact], known: Known, asked: Iterable[Fact]) -> list[OldAnswer]:
    """Return each old answer with its origin.

    Args:
        given: the facts as they came.
        known: what the ledger says of them.
        asked: the same facts in the same order, each with the old answer that was forgotten (None:
            there was none, as the model gives the new one already).
    """
    found = []
    for fact, final in zip(given, asked, strict=True):
        if final.old_answer is None:
            continue
        origin: Origin = "model"
        if fact.old_answer is not None:
            origin = "file"
        elif old_answer(known.standing, fact) is not None:
            origin = "ledger"
        found.append(OldAnswer(fact.prompt, final.old_answer, origin))
    return found
