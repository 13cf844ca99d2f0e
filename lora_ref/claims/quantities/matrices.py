"""Quantities of matrices: products, sums, norms, ranks, singular values, shapes."""

from fractions import Fraction
from functools import reduce
from math import exp, lcm, log
from typing import Any, Literal

import numpy as np

from lora_ref import lowrank
from lora_ref.checks import Array
from lora_ref.claims.quantity import (
    Count,
    Matrix,
    Number,
    Numbers,
    OneMatrix,
    OneNumber,
    Own,
    Shape,
    Shapes,
    Terms,
)
from lora_ref.claims.values import MOST_BITS, matrix_of, rounded, settled, shape_text
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.exact import ExactArray, added, floats, rank_and_determinant, root

TOPIC = "Matrices"

MOST_ELIMINATED = 20_000  # bits of the whole numbers that finding a rank takes

# entries, sums and products


def entry(of: Matrix, row: Count, column: Count | None = None) -> OneNumber:
    """Return one entry of a matrix, a vector or a product; counted from 1."""
    wanted = (row,) if column is None else (row, column)
    if of.ndim != len(wanted):
        keys = ("another quantity than entry", "row alone", "row and column")[of.ndim]
        raise LoraRefError(f"of is {shape_text(of.shape)}, expected {keys}")
    for name, index, size in zip(("row", "column"), wanted, of.shape, strict=False):
        if index > size:
            raise LoraRefError(f"{name} is {index}, expected 1 to {size}: of has no more")
    return of[tuple(index - 1 for index in wanted)]


def product(of: Matrix) -> OneMatrix:
    """Return a matrix, or the product of several."""
    return of


def products(of: Matrix, by: Matrix) -> Numbers:
    """Return two vectors multiplied entry by entry."""
    if of.shape != by.shape:
        raise ShapeError(f"{shape_text(of.shape)} meets {shape_text(by.shape)}")
    return of * by


def row(of: Matrix, row: Count) -> Numbers:
    """Return one row of a matrix; counted from 1."""
    if row > len(matrix_of("of", of)):
        raise LoraRefError(f"row is {row}, expected 1 to {len(of)}: of has no more")
    return of[row - 1]


def sum_(of: Terms) -> OneMatrix:
    """Return the sum of matrices of one shape; nothing is tiled."""
    return reduce(lambda left, right: np.asarray(added(left, right)), of)


def difference(of: Terms) -> OneMatrix:
    """Return the first less the second."""
    if len(of) != 2:
        raise LoraRefError(f"of has {len(of)} terms, expected 2: the first less the second")
    return added(of[0], np.asarray(-of[1]))


def scaled(of: Matrix, by: Number) -> OneMatrix:
    """Return a matrix times a number."""
    return of * by


def transpose(of: Matrix) -> OneMatrix:
    """Return a matrix with its rows as columns."""
    return of.T


def beside(of: Terms) -> OneMatrix:
    """Return matrices side by side."""
    for one in of:
        if matrix_of("a term of `of`", one).shape[0] != of[0].shape[0]:
            raise ShapeError(f"{len(of[0])} rows and {len(one)} rows cannot stand side by side")
    return np.hstack(of)


def term(k: Count, A: Own, B: Own) -> OneMatrix:
    """Return column k of B times row k of A: the k-th of the r terms of B A."""
    A, B = matrix_of("A", A), matrix_of("B", B)
    if B.shape[1] != len(A):
        raise ShapeError(f"B has {B.shape[1]} columns and A has {len(A)} rows")
    if k > len(A):
        raise LoraRefError(f"k is {k}, expected 1 to {len(A)}: there are no more terms")
    return np.outer(B[:, k - 1], A[k - 1])


def sum_of_terms(k: Count, A: Own, B: Own) -> OneMatrix:
    """Return the first k of the r terms of B A added up, each a column of B times a row of A."""
    return sum(term(i, A, B) for i in range(1, k + 1))


def best_approximation(of: Matrix, r: Count) -> OneMatrix:
    """Return the nearest matrix of rank at most r (Eckart and Young, 1936)."""
    matrix = _ranked(of, r)
    return rounded(lowrank.truncate(matrix, r), float(np.abs(matrix).max()))


# numbers


def trace(of: Matrix) -> OneNumber:
    """Return the sum of the diagonal of a square matrix."""
    return sum(np.diagonal(_square(of)), Fraction(0))


def determinant(of: Matrix) -> OneNumber:
    """Return the determinant of a square matrix."""
    return _eliminated(_square(of))[1]


def rank(of: Matrix) -> OneNumber:
    """Return the rank, by elimination in fractions: exact."""
    return _eliminated(matrix_of("of", of))[0]


def frobenius_norm(of: Matrix) -> OneNumber:
    """Return the root of the sum of squares; of a vector, its length."""
    return root(squared_norm(of))


def squared_norm(of: Matrix) -> OneNumber:
    """Return the sum of squares."""
    total = Fraction(0)
    for one in of.flat:
        total += one * one
        if total.denominator.bit_length() > MOST_BITS:
            raise LoraRefError(f"the sum of squares is a fraction of more than {MOST_BITS} bits")
    return total


def norm_of_terms(k: Count, A: Own, B: Own) -> OneNumber:
    """Return the Frobenius norm of the first k of the r terms of B A added up."""
    return frobenius_norm(sum_of_terms(k, A, B))


def spectral_norm(of: Matrix) -> OneNumber:
    """Return the largest singular value."""
    largest = _singular(of)[0]
    return rounded(largest, largest)


def nuclear_norm(of: Matrix) -> OneNumber:
    """Return the sum of the singular values."""
    total = _singular(of).sum()
    return rounded(total, total)


def singular_values(of: Matrix) -> Numbers:
    """Return all singular values, largest first."""
    s = _singular(of)
    return rounded(s, s[0])


def condition_number(of: Matrix) -> OneNumber:
    """Return the largest singular value by the smallest."""
    s = _singular(of)
    if _eliminated(of)[0] < len(s):
        raise LoraRefError("of has a singular value 0, so no condition number")
    if s[-1] < 1e-14 * s[0]:
        raise LoraRefError("of is too near to a matrix of lower rank for floating point")
    condition = float(s[0] / s[-1])
    return rounded(condition, condition**2)  # the smallest value's rounding is the largest one's


def effective_rank(of: Matrix) -> OneNumber:
    """Return the exponential of the entropy of the singular values (Roy and Vetterli, 2007)."""
    s = _singular(of)
    if not s[0]:
        raise LoraRefError("of is zero, expected a singular value above 0")
    shares = [share for share in (s / s.sum()).tolist() if share > 0]
    return rounded(exp(-sum(share * log(share) for share in shares)), len(s))


def truncation_error(
    of: Matrix, r: Count, norm: Literal["frobenius", "spectral"] = "frobenius"
) -> OneNumber:
    """Return the distance to the nearest matrix of rank at most r."""
    matrix = _ranked(of, r)
    if _eliminated(of)[0] <= r:
        return Fraction(0)
    error = getattr(lowrank.truncation_error(matrix, r), norm)
    return rounded(error, lowrank.truncation_error(matrix, 0).spectral)


def largest_entry(of: Matrix) -> OneNumber:
    """Return the largest entry, signs left out."""
    return max(abs(one) for one in of.flat)


def size(of: Matrix) -> OneNumber:
    """Return how many entries there are."""
    return of.size


def multiples_of(of: Matrix, step: Number) -> OneNumber:
    """Return how many entries are whole multiples of a number."""
    return sum((one / step).denominator == 1 for one in of.flat)


def entry_steps(of: Matrix) -> Numbers:
    """Return by how much each entry exceeds the one before it, read row by row."""
    return np.diff(of.ravel())


def row_steps(of: Matrix) -> OneMatrix:
    """Return by how much each row exceeds the one above it."""
    return np.diff(matrix_of("of", of), axis=0)


# subspaces


def coordinates(basis: Matrix, x: Own) -> Numbers:
    """Return the coordinates of x's part in the span of some rows, by the rows."""
    rows = _floats("basis", basis)
    return tuple(np.linalg.pinv(rows.T) @ floats(x))


def products_less_coordinates(basis: Matrix, x: Own) -> OneNumber:
    """Return the largest gap between inner products with some rows and coordinates by them."""
    rows = _floats("basis", basis)
    gap = np.abs(rows @ floats(x) - np.linalg.pinv(rows.T) @ floats(x)).max()
    return settled(float(gap / np.linalg.norm(floats(x))))


def orthonormal_rows(of: Matrix) -> OneMatrix:
    """Return orthonormal rows of the same span, by a QR decomposition."""
    Q = np.linalg.qr(_floats("of", of).T)[0].T
    return rounded(Q, float(np.abs(Q).max()))


def share_inside(basis: Matrix, x: Own) -> OneNumber:
    """Return the share of x's squared length that lies in the span of some rows."""
    rows = _floats("basis", basis)
    inside = np.linalg.pinv(rows) @ rows @ floats(x)
    return settled(float(inside @ inside / (floats(x) @ floats(x))))


# shapes


def shape(of: Matrix) -> Shape:
    """Return rows x columns of a matrix or a product."""
    return of


def product_shape(shapes: Shapes) -> Shape:
    """Return rows x columns of a product, from the shapes alone."""
    left = shapes[0]
    for right in shapes[1:]:
        if not left or not right:
            raise ShapeError("a single number has no rows and no columns to multiply")
        if left[-1] != right[0]:
            raise ShapeError(
                f"no product of {shape_text(left)} and {shape_text(right)}: "
                f"{left[-1]} columns meet {right[0]} rows"
            )
        left = (*left[:-1], *right[1:])
    return np.broadcast_to(np.False_, left)  # takes no memory


def path(of: Terms, x: Own) -> Numbers:
    """Return the length of x, and of what each of the maps makes of it; the last acts first."""
    if x.ndim != 1:
        raise ShapeError(f"x is {shape_text(x.shape)}, expected a vector")
    sizes = [len(x)]
    for factor in reversed(of):
        if matrix_of("a map of `of`", factor).shape[1] != sizes[-1]:
            raise ShapeError(f"{factor.shape[1]} columns meet {sizes[-1]} entries")
        sizes.append(len(factor))
    return tuple(sizes)


def _square(of: ExactArray) -> ExactArray:
    if len(set(matrix_of("of", of).shape)) != 1:
        raise ShapeError(f"of is {shape_text(of.shape)}, expected a square matrix")
    return of


def _eliminated(matrix: ExactArray) -> tuple[int, Fraction]:
    """Return rank and determinant, where elimination takes no overlong whole numbers."""
    longest = 0
    for one in matrix:
        scale = lcm(*(number.denominator for number in one))
        longest = max(longest, *(int(number * scale).bit_length() for number in one))
    if longest * min(matrix.shape) > MOST_ELIMINATED:  # a minor is about so long
        raise LoraRefError(f"elimination needs whole numbers of more than {MOST_ELIMINATED} bits")
    return rank_and_determinant(matrix)


def _floats(what: str, array: ExactArray) -> Array:
    """Return the float64 numbers nearest to the fractions of a matrix."""
    return floats(matrix_of(what, array))


def _singular(of: ExactArray) -> Any:
    return np.linalg.svd(_floats("of", of), compute_uv=False)


def _ranked(of: ExactArray, r: int) -> Array:
    matrix = _floats("of", of)
    if r > min(matrix.shape):
        raise LoraRefError(f"r is {r}, expected at most {min(matrix.shape)}, of's smaller side")
    return matrix
