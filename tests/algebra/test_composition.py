"""Compositions: one value and one text for each sum, laws exact."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.composition import ROLES, Composition, Term
from adapterstore.errors import CorruptStore, UnsupportedFormat
from adapterstore.identifiers import DeltaId

LAW = settings(derandomize=True, deadline=None, max_examples=200)
FACTORS = st.decimals(-5, 5, places=3)
# A delta was made as one thing, so it has one role wherever it stands.
TERMS = st.tuples(st.integers(0, 5), FACTORS).map(
    lambda pair: Term(DeltaId(f"{pair[0]:040x}"), pair[1], ROLES[pair[0] % len(ROLES)])
)
COMPOSITIONS = st.lists(TERMS, max_size=6).map(Composition.of)
EMPTY = Composition()


@given(one=COMPOSITIONS, two=COMPOSITIONS)
@LAW
def test_taking_back_what_was_added_gives_the_same_bytes(
    one: Composition, two: Composition
) -> None:
    assert ((one + two) - two).to_bytes() == one.to_bytes()
    assert ((one - two) + two).to_bytes() == one.to_bytes()


def sums(composition: Composition) -> dict[str, Decimal]:
    return {term.delta: term.coefficient for term in composition}


@given(one=COMPOSITIONS, two=COMPOSITIONS, three=COMPOSITIONS, factor=FACTORS)
@LAW
def test_sums_are_a_vector_space(
    one: Composition, two: Composition, three: Composition, factor: Decimal
) -> None:
    assert one + EMPTY == one
    assert one - one == EMPTY
    assert sums(one + two) == sums(two + one)
    assert sums((one + two) + three) == sums(one + (two + three))
    assert sums((one + two).scaled(factor)) == sums(one.scaled(factor) + two.scaled(factor))
    assert sums(one - two) == sums(one + two.scaled(Decimal(-1)))


@given(composition=COMPOSITIONS)
@LAW
def test_the_text_reads_back_and_is_the_only_one(composition: Composition) -> None:
    data = composition.to_bytes()
    assert Composition.from_bytes(data, "test") == composition
    mixed = Composition.of(reversed(composition.terms))
    assert mixed.to_bytes() == data
    assert Decimal(0) not in sums(composition).values()
    assert list(sums(composition)) == sorted(sums(composition))


TERM = {"delta": "a" * 40, "coefficient": "1", "role": "adapter"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ([], "names no format version"),
        ({"terms": []}, "names no format version"),
        ({"format": 1}, "has no list of terms"),
        ({"format": 1, "terms": [7]}, "a term is not delta, coefficient and role"),
        ({"format": 1, "terms": [{**TERM, "more": 1}]}, "a term is not delta, coefficient and"),
        ({"format": 1, "terms": [{**TERM, "delta": "A" * 40}]}, "is not a delta id"),
        ({"format": 1, "terms": [{**TERM, "delta": "../x"}]}, "is not a delta id"),
        ({"format": 1, "terms": [{**TERM, "role": "other"}]}, "has no known role"),
        ({"format": 1, "terms": [{**TERM, "coefficient": 1}]}, "has no known role"),
        ({"format": 1, "terms": [{**TERM, "coefficient": "nan"}]}, "coefficient 'nan'"),
        ({"format": 1, "terms": [{**TERM, "coefficient": "1.0"}]}, "not in canonical form"),
        ({"format": 1, "terms": [{**TERM, "coefficient": "0"}]}, "not in canonical form"),
        ({"format": 1, "terms": [TERM, TERM]}, "not in canonical form"),
    ],
)
def test_anything_but_the_canonical_text_is_corrupt(content: Any, problem: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    with pytest.raises(CorruptStore, match=f"commit 1: .*{problem}"):
        Composition.from_bytes(text.encode(), "commit 1")


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(UnsupportedFormat, match=r"version 2, .* upgrade adapterstore"):
        Composition.from_bytes(b'{"format": 2, "terms": []}', "commit 1")


def test_of_two_roles_of_one_delta_the_first_stays() -> None:
    delta = DeltaId("a" * 40)
    terms = [Term(delta, Decimal(1), "learn"), Term(delta, Decimal(2), "adapter")]
    assert Composition.of(terms).terms == (Term(delta, Decimal(3), "learn"),)
