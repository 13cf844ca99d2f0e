"""What the article prints of its example, the same as fractions, and the input that we add."""

from fractions import Fraction
from math import lcm, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.arrays import Array
from lora_ref.layers import LoRALinear

Table: TypeAlias = tuple[tuple[str, ...], ...]
"""A matrix as it is printed: rows of texts."""

ExactArray: TypeAlias = NDArray[np.object_]
"""An array of fractions; ``@`` works on it as on any other."""

# what the article prints


def _table(*rows: str) -> Table:
    return tuple(tuple(row.split()) for row in rows)


PRINTED_W0 = _table(
    "0.80 0.20 0.30 0.70", "0.40 0.90 0.10 0.60", "0.30 0.50 0.70 0.20", "0.60 0.10 0.80 0.40"
)
PRINTED_A = _table("0.10 0.20 0.30 0.40", "0.50 0.60 0.70 0.80")
PRINTED_B_START = _table(*["0.00 0.00"] * 4)
PRINTED_B = _table("0.10 0.20", "0.30 0.40", "0.50 0.60", "0.70 0.80")
PRINTED_AB_TERMS = ("0.10", "0.06", "0.15", "0.28")
PRINTED_AB = _table("0.59 0.74", "1.39 1.74", "2.19 2.74", "2.99 3.74")
PRINTED_W = _table(
    "1.39 0.94 0.89 1.44", "1.79 2.64 1.49 2.34", "2.49 3.24 2.89 2.94", "3.59 3.84 3.79 4.14"
)
PRINTED_NORM = "8.97"

# the same in exact arithmetic, and what we add


def fractions_of(printed: tuple[str, ...] | Table) -> ExactArray:
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


def rounded(numbers: ExactArray) -> Array:
    """Return the float64 numbers nearest to fractions."""
    return numbers.astype(np.float64)


def tiled(printed: Table) -> Table:
    """Return a matrix twice, side by side: how the article adds a 4x2 matrix to a 4x4 one."""
    return tuple(row * 2 for row in printed)


R = 2
ALPHA = 2
EXACT_W0 = fractions_of(PRINTED_W0)
EXACT_A = fractions_of(PRINTED_A)
EXACT_B_START = fractions_of(PRINTED_B_START)
EXACT_B = fractions_of(PRINTED_B)

EXACT_X = fractions_of(("2", "-1", "1", "0.5"))
"""Our input: the article gives none."""

EXACT_TARGET = fractions_of(("2", "1.25", "1.85", "3.45"))
"""What our loss wants y to be."""

EXACT_LR = Fraction("0.1")
"""Our learning rate."""


def article_layer(B: ExactArray = EXACT_B) -> LoRALinear:
    """Return the example in float64, with the article's trained B or another one."""
    return LoRALinear(rounded(EXACT_W0), rounded(EXACT_A), rounded(B), ALPHA)


def rank_and_determinant(matrix: ExactArray) -> tuple[int, Fraction]:
    """Return the rank of any matrix, and the determinant if it is square, 0 otherwise.

    Elimination in whole numbers, where every division leaves no remainder (Bareiss, 1968,
    Mathematics of Computation 22:565-578).

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
