"""Matrices of fractions: products, ranks, determinants and roots with nothing rounded.

Shapes that do not fit raise `ShapeError`; nothing is broadcast.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt, lcm, prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array
from lora_ref.errors import ShapeError

ExactArray: TypeAlias = NDArray[np.object_]
"""An array of fractions; ``@`` works on it as on any other."""


def fractions_of(printed: Sequence[Any]) -> ExactArray:
    """Return printed numbers as a read-only array of fractions.

    Examples
    --------
    >>> fractions_of(("0.10", "0.25"))
    array([Fraction(1, 10), Fraction(1, 4)], dtype=object)
    """
    texts = np.array(printed)
    numbers = np.array([Fraction(text) for text in texts.flat], dtype=object).reshape(texts.shape)
    numbers.flags.writeable = False
    return numbers


def floats(matrix: Any) -> Array:
    """Return the float64 numbers nearest to fractions, or to printed texts."""
    return np.asarray(matrix).astype(np.float64)


def product(*factors: Any) -> Any:
    """Multiply matrices from left to right; the last may be a vector, taken as a column."""
    result, *others = factors
    for right in others:
        if result.shape[-1] != right.shape[0]:
            raise ShapeError(
                f"no product of shapes {result.shape} and {right.shape}: "
                f"{result.shape[-1]} columns meet {right.shape[0]} rows"
            )
        result = result @ right
    return result


def added(left: Any, right: Any) -> Any:
    """Add two arrays of one shape."""
    if left.shape != right.shape:
        raise ShapeError(f"no sum of shapes {left.shape} and {right.shape}")
    return left + right


def root(square: Fraction | int) -> Fraction:
    """Return the square root of a non-negative number: exact, or to at least 60 digits.

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


def rank_and_determinant(matrix: ExactArray) -> tuple[int, Fraction]:
    """Return the rank, and the determinant, which is 0 here if the matrix is not square.

    Elimination in whole numbers: every division is exact (Bareiss, 1968, Mathematics of
    Computation 22:565-578).

    Examples
    --------
    >>> rank_and_determinant(fractions_of((("1", "2"), ("3", "4"))))
    (2, Fraction(-2, 1))
    """
    scales = [lcm(*(entry.denominator for entry in row)) for row in matrix]
    rows = [[int(entry * s) for entry in row] for row, s in zip(matrix, scales, strict=True)]
    rank, last, sign = 0, 1, 1
    for column in range(matrix.shape[1]):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        if pivot != rank:
            rows[rank], rows[pivot], sign = rows[pivot], rows[rank], -sign
        top = rows[rank]
        for i in range(rank + 1, len(rows)):
            below = rows[i]
            rows[i] = [
                (top[column] * entry - below[column] * above) // last
                for entry, above in zip(below, top, strict=True)
            ]
        last, rank = top[column], rank + 1
    if rank < len(rows) or matrix.shape[0] != matrix.shape[1]:
        return rank, Fraction(0)
    return rank, Fraction(sign * last, prod(scales))
