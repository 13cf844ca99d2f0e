"""Matrices of fractions: the products, ranks and roots of a lecture, with nothing rounded.

A sum or product that its shapes do not allow raises `ShapeError`, which is a verdict and no fault.
Numbers that no lecture prints are refused before they can fill the memory.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import floor, isqrt, lcm, log10
from typing import Any, NamedTuple

import numpy as np

from lora_ref.arrays import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.ledger.claim import shape_text
from lora_ref.ledger.document.expressions import floats, product
from lora_ref.worked import article
from lora_ref.worked.article import ExactArray

LARGEST = 10**100
"""The largest size of a number that comes out of a quantity."""

MOST_BITS = 4000
"""The most bits of a numerator or a denominator; a product of eight 60-digit numbers has fewer."""

MOST_ELIMINATED = 20_000
"""The most bits of the whole numbers that finding a rank may take."""

LARGEST_SIDE = 64
"""The most rows or columns of what comes out of a quantity."""

FLOAT_DIGITS = 12
"""Digits to which a singular value is given, counted from the first digit of the largest one."""


class Rounded(NamedTuple):
    """What went through floating point: decimals, and the unit to which they can be trusted."""

    value: Any
    unit: Fraction


def within_limits(value: Any) -> Any:
    """Return a value that can be judged and printed, as an array.

    Raises
    ------
    LoraRefError
        Where it has more than `LARGEST_SIDE` rows or columns, where a number is larger than
        `LARGEST`, or a fraction longer than `MOST_BITS`.
    """
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    if array.dtype != object:  # a shape without entries
        return array
    if max(array.shape, default=1) > LARGEST_SIDE:
        raise LoraRefError(
            f"the result is {shape_text(array.shape)}, expected at most {LARGEST_SIDE} rows and "
            "columns"
        )
    for number in array.flat:
        if abs(number) > LARGEST:
            raise LoraRefError("the result is beyond 1e100 in size, expected a printable number")
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > MOST_BITS:
            raise LoraRefError(f"the result is a fraction of more than {MOST_BITS} bits")
    return array


def chain(factors: Sequence[ExactArray]) -> ExactArray:
    """Multiply from left to right; a last vector is a column, a single number multiplies all."""
    result = factors[0]
    for factor in factors[1:]:
        plain = result.ndim == 0 or factor.ndim == 0
        result = within_limits(result * factor if plain else product(result, factor))
    return result


def matrix_of(what: str, array: ExactArray) -> ExactArray:
    """Return an array that is a matrix.

    Raises
    ------
    ShapeError
        For a vector or a single number.
    """
    if array.ndim != 2:
        raise ShapeError(f"{what} is {shape_text(array.shape)}, expected a matrix")
    return array


def root(square: Fraction | int) -> Fraction:
    """Return the square root of a number that is not negative: exact, or to 60 digits and more.

    Examples
    --------
    >>> print(root(Fraction(9, 16)), f"{float(root(2)):.6f}")
    3/4 1.414214
    """
    square = Fraction(square)
    inside = square.numerator * square.denominator
    if isqrt(inside) ** 2 == inside:
        return Fraction(isqrt(inside), square.denominator)
    scale = 10**60
    return Fraction(isqrt(inside * scale**2), scale * square.denominator)


def sum_of_squares(of: Any) -> Fraction:
    """Return the squared Frobenius norm of a matrix, or the squared length of a vector."""
    total = Fraction(0)
    for entry in of.flat:
        total += entry * entry
        if total.denominator.bit_length() > MOST_BITS:
            raise LoraRefError(f"the sum of squares is a fraction of more than {MOST_BITS} bits")
    return total


def rank_and_determinant(matrix: ExactArray) -> tuple[int, Fraction]:
    """Return the rank of any matrix, and the determinant if it is square, 0 otherwise.

    Raises
    ------
    LoraRefError
        Where elimination would take whole numbers of more than `MOST_ELIMINATED` bits.

    Examples
    --------
    >>> print(*rank_and_determinant(np.array([[Fraction(1, 2), Fraction(1)], [Fraction(3)] * 2])))
    2 -3/2
    """
    longest = 0
    for row in matrix:
        scale = lcm(*(entry.denominator for entry in row))
        longest = max(longest, *(int(entry * scale).bit_length() for entry in row))
    if longest * min(matrix.shape) > MOST_ELIMINATED:  # a minor is about so long
        raise LoraRefError(f"elimination needs whole numbers of more than {MOST_ELIMINATED} bits")
    return article.rank_and_determinant(matrix)


def in_floats(what: str, array: ExactArray) -> Array:
    """Return the float64 numbers nearest to the fractions of a matrix."""
    return floats(matrix_of(what, array))


def rounded(values: Any, largest: float) -> Rounded:
    """Return floating-point numbers as decimals, `FLOAT_DIGITS` digits of the largest one."""
    places = FLOAT_DIGITS - 1 - (floor(log10(largest)) if largest > 0 else 0)
    unit = Fraction(10) ** -places
    array = np.asarray(values)
    texts = [unit * round(Fraction(value) / unit) for value in array.ravel().tolist()]
    exact = np.empty(len(texts), dtype=object)
    exact[:] = texts
    return Rounded(exact.reshape(array.shape), unit)
