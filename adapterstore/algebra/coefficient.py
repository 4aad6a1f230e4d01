"""Coefficients: exact decimals. Binary floats never take part.

Sums and products are computed with `decimal` in a context that raises when a result would have to
be rounded, so what is stored is exact or not stored.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from typing import Final

from adapterstore.errors import InvalidCoefficient

ONE: Final = Decimal(1)
ZERO: Final = Decimal(0)
MAX_DIGITS = 100
"""Most digits before and after the point together; more than any sensible chain of scales needs."""

_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_EXACT = Context(prec=4 * MAX_DIGITS, traps=[Inexact, InvalidOperation, Overflow])


def parse_coefficient(text: str | int | Decimal) -> Decimal:
    """Return the coefficient that ``text`` writes, in canonical form.

    A `Decimal` or a whole number is one already; a float never is what it shows.

    Raises:
        InvalidCoefficient: not a finite decimal number, or over `MAX_DIGITS` digits long.
    """
    if isinstance(text, int | Decimal) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise InvalidCoefficient(str(text)[:40], f"{type(text).__name__} is not exact, text is")
    if len(text) > 2 * MAX_DIGITS or not _TEXT.fullmatch(text):
        raise InvalidCoefficient(text[:40])
    return _canonical(Decimal(text), text)


def format_coefficient(value: Decimal) -> str:
    """Return the one text of a coefficient: no exponent, no trailing zeros, no ``-0``."""
    return format(_canonical(value, str(value)), "f")


def add(left: Decimal, right: Decimal) -> Decimal:
    """Return left + right, exactly.

    Raises:
        InvalidCoefficient: the sum has over `MAX_DIGITS` digits.
    """
    return _exactly(left, right, "+")


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """Return left · right, exactly.

    Raises:
        InvalidCoefficient: the product has over `MAX_DIGITS` digits.
    """
    return _exactly(left, right, "·")


def _exactly(left: Decimal, right: Decimal, sign: str) -> Decimal:
    shown = f"{left} {sign} {right}"
    try:
        result = _EXACT.add(left, right) if sign == "+" else _EXACT.multiply(left, right)
    except DecimalException as error:
        raise InvalidCoefficient(shown, "too many digits to stay exact") from error
    return _canonical(result, shown)


def _canonical(value: Decimal, shown: str) -> Decimal:
    if not value.is_finite():
        raise InvalidCoefficient(shown)
    if value == 0:
        return ZERO
    _, digits, exponent = value.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    length = max(len(digits) + max(exponent, 0), -exponent + 1)
    if length > MAX_DIGITS:
        raise InvalidCoefficient(shown[:60], f"over {MAX_DIGITS} digits long")
    return Decimal(format(value.normalize(_EXACT), "f"))
