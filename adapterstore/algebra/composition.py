"""Compositions: formal linear combinations of deltas.

θ = θ_base + Σ cᵢ·Δᵢ, as the pairs (Δᵢ, cᵢ). Sums and differences of compositions are exact and
touch no tensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adapterstore.algebra.coefficient import (
    ONE,
    ZERO,
    add,
    format_coefficient,
    multiply,
    parse_coefficient,
)
from adapterstore.errors import CorruptStore, InvalidCoefficient, UnsupportedFormat
from adapterstore.identifiers import DeltaId

FORMAT = 1
ROLES = ("adapter", "forget", "learn", "merge", "compact")
"""What a delta was made as: committed by hand, in one of the two phases of an update, by a lossy
merge, or by folding terms together."""

_DELTA_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Term:
    """One delta with its coefficient, never 0."""

    delta: DeltaId
    coefficient: Decimal
    role: str


@dataclass(frozen=True)
class Composition:
    """A canonical sum: terms in the order of their delta ids, each delta once, none with 0.

    Equal sums are equal values and have equal bytes. Make one with `Composition.of`.
    """

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, terms: Iterable[Term]) -> Composition:
        """Return the canonical sum of terms; of one delta's roles, the first one stays."""
        sums: dict[DeltaId, Term] = {}
        for term in terms:
            known = sums.get(term.delta)
            if known is None:
                sums[term.delta] = term
            else:
                total = add(known.coefficient, term.coefficient)
                sums[term.delta] = Term(term.delta, total, known.role)
        return cls(tuple(t for _, t in sorted(sums.items()) if t.coefficient != ZERO))

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __add__(self, other: Composition) -> Composition:
        """Return the exact sum."""
        return Composition.of((*self.terms, *other.terms))

    def __sub__(self, other: Composition) -> Composition:
        """Return the exact difference."""
        return self + other.scaled(-ONE)

    def scaled(self, factor: Decimal) -> Composition:
        """Return factor · self, exactly."""
        return Composition.of(
            Term(t.delta, multiply(factor, t.coefficient), t.role) for t in self.terms
        )

    def coefficient(self, delta: DeltaId) -> Decimal:
        """Return a delta's coefficient; 0 if the sum lacks it."""
        return next((t.coefficient for t in self.terms if t.delta == delta), ZERO)

    def to_bytes(self) -> bytes:
        """Return the canonical JSON text (``composition.json``)."""
        terms = [
            {"delta": t.delta, "coefficient": format_coefficient(t.coefficient), "role": t.role}
            for t in self.terms
        ]
        return (json.dumps({"format": FORMAT, "terms": terms}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Composition:
        """Read ``composition.json``.

        Raises:
            UnsupportedFormat: a newer release wrote it.
            CorruptStore: it is not a composition in canonical form.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptStore(where, f"composition.json is not JSON ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise CorruptStore(where, "composition.json names no format version")
        if content["format"] > FORMAT:
            raise UnsupportedFormat(f"{where}: composition.json", content["format"], FORMAT)
        terms = content.get("terms")
        if not isinstance(terms, list):
            raise CorruptStore(where, "composition.json has no list of terms")
        composition = cls.of(_read_term(term, where) for term in terms)
        if composition.to_bytes() != data:
            raise CorruptStore(where, "composition.json is not in canonical form")
        return composition


def _read_term(term: Any, where: str) -> Term:
    if not isinstance(term, dict) or set(term) != {"delta", "coefficient", "role"}:
        raise CorruptStore(where, "composition.json: a term is not delta, coefficient and role")
    delta, coefficient, role = term["delta"], term["coefficient"], term["role"]
    if not isinstance(delta, str) or not _DELTA_ID.fullmatch(delta):
        raise CorruptStore(where, f"composition.json: {delta!r} is not a delta id")
    if role not in ROLES or not isinstance(coefficient, str):
        raise CorruptStore(where, f"composition.json: term {delta} has no known role")
    try:
        return Term(DeltaId(delta), parse_coefficient(coefficient), role)
    except InvalidCoefficient as error:
        raise CorruptStore(where, f"composition.json: {error}") from error
