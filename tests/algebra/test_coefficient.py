"""Coefficients are exact decimals with one text each."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.algebra.coefficient import (
    MAX_DIGITS,
    add,
    format_coefficient,
    multiply,
    parse_coefficient,
)
from adapterstore.errors import InvalidCoefficient

LAW = settings(derandomize=True, deadline=None, max_examples=200)
COEFFICIENTS = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9, places=9
)


@given(left=COEFFICIENTS, right=COEFFICIENTS)
@LAW
def test_sums_and_products_are_those_of_rational_numbers(left: Decimal, right: Decimal) -> None:
    assert Fraction(add(left, right)) == Fraction(left) + Fraction(right)
    assert Fraction(multiply(left, right)) == Fraction(left) * Fraction(right)


@given(value=COEFFICIENTS)
@LAW
def test_the_text_reads_back(value: Decimal) -> None:
    assert parse_coefficient(format_coefficient(value)) == value


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"),
        ("+1.0", "1"),
        ("-0.70", "-0.7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("-0", "0"),
        ("0e7", "0"),
        ("100", "100"),
    ],
)
def test_a_number_has_one_text(text: str, canonical: str) -> None:
    assert format_coefficient(parse_coefficient(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1,5",
        "0x1",
        "nan",
        "inf",
        "-Infinity",
        "1_000",
        "--1",
        "e5",
        "1e",
        "1/3",
        "٣x",
    ],
)
def test_what_is_no_finite_decimal_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidCoefficient, match=r"not a finite decimal number; write it like -0\.7"
    ):
        parse_coefficient(text)


@pytest.mark.parametrize("text", ["1e999", "1e-999", "1" * (MAX_DIGITS + 1)])
def test_a_number_too_long_to_stay_exact_is_refused(text: str) -> None:
    with pytest.raises(InvalidCoefficient, match=f"over {MAX_DIGITS} digits long"):
        parse_coefficient(text)


def test_a_product_that_would_have_to_be_rounded_is_refused() -> None:
    long = Decimal("1." + "3" * 80)
    with pytest.raises(InvalidCoefficient, match="over 100 digits long"):
        multiply(long, long)
