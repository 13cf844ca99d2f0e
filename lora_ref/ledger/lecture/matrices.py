"""Quantities of matrices: products, sums, norms, ranks, singular values, shapes."""

from fractions import Fraction
from math import exp, log
from typing import Any

import numpy as np

from lora_ref import lowrank
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.ledger.claim import shape_text
from lora_ref.ledger.document.expressions import added
from lora_ref.ledger.lecture.exact import (
    Rounded,
    in_floats,
    matrix_of,
    rank_and_determinant,
    root,
    rounded,
    sum_of_squares,
)
from lora_ref.ledger.lecture.quantity import Need, Quantity
from lora_ref.worked.article import ExactArray


def _entry(of: ExactArray, row: int, column: int | None) -> Any:
    wanted = (row,) if column is None else (row, column)
    if of.ndim != len(wanted):
        keys = ("another quantity than entry", "row alone", "row and column")[of.ndim]
        raise LoraRefError(f"of is {shape_text(of.shape)}, expected {keys}")
    for name, index, size in zip(("row", "column"), wanted, of.shape, strict=False):
        if index > size:
            raise LoraRefError(f"{name} is {index}, expected 1 to {size}: of has no more")
    return of[tuple(index - 1 for index in wanted)]


def _sum(of: tuple[ExactArray, ...]) -> Any:
    total = of[0]
    for term in of[1:]:
        total = np.asarray(added(total, term))
    return total


def _difference(of: tuple[ExactArray, ...]) -> Any:
    if len(of) != 2:
        raise LoraRefError(f"of has {len(of)} terms, expected 2: the first less the second")
    return added(of[0], np.asarray(-of[1]))


def _beside(of: tuple[ExactArray, ...]) -> Any:
    for term in of:
        if matrix_of("a term of `of`", term).shape[0] != of[0].shape[0]:
            raise ShapeError(f"{len(of[0])} rows and {len(term)} rows cannot stand side by side")
    return np.hstack(of)


def _term(A: ExactArray, B: ExactArray, k: int) -> Any:
    A, B = matrix_of("A", A), matrix_of("B", B)
    if B.shape[1] != len(A):
        raise ShapeError(f"B has {B.shape[1]} columns and A has {len(A)} rows")
    if k > len(A):
        raise LoraRefError(f"k is {k}, expected 1 to {len(A)}: there are no more terms")
    return np.outer(B[:, k - 1], A[k - 1])


def _square(what: str, of: ExactArray) -> ExactArray:
    if len(set(matrix_of(what, of).shape)) != 1:
        raise ShapeError(f"{what} is {shape_text(of.shape)}, expected a square matrix")
    return of


def _trace(of: ExactArray) -> Any:
    return sum(np.diagonal(_square("of", of)), Fraction(0))


def _determinant(of: ExactArray) -> Any:
    return rank_and_determinant(_square("of", of))[1]


def _rank(of: ExactArray) -> Any:
    return rank_and_determinant(matrix_of("of", of))[0]


def _s(of: ExactArray) -> Any:
    return np.linalg.svd(in_floats("of", of), compute_uv=False)


def _singular_values(of: ExactArray) -> Rounded:
    return rounded(s := _s(of), s[0])


def _spectral(of: ExactArray) -> Rounded:
    return rounded((s := _s(of))[0], s[0])


def _nuclear(of: ExactArray) -> Rounded:
    return rounded((s := _s(of)).sum(), s.sum())


def _condition(of: ExactArray) -> Rounded:
    s = _s(of)
    if rank_and_determinant(of)[0] < len(s):
        raise LoraRefError("of has a singular value 0, so no condition number")
    if s[-1] < 1e-14 * s[0]:
        raise LoraRefError("of is too near to a matrix of lower rank for floating point")
    condition = float(s[0] / s[-1])
    return rounded(condition, condition**2)  # the smallest value's rounding is the largest one's


def _effective_rank(of: ExactArray) -> Rounded:
    s = _s(of)
    if not s[0]:
        raise LoraRefError("of is zero, expected a singular value above 0")
    shares = [share for share in (s / s.sum()).tolist() if share > 0]
    return rounded(exp(-sum(share * log(share) for share in shares)), len(s))


def _truncation_error(of: ExactArray, r: int, norm: str) -> Rounded:
    matrix = in_floats("of", of)
    if r > min(matrix.shape):
        raise LoraRefError(f"r is {r}, expected at most {min(matrix.shape)}, of's smaller side")
    return rounded(getattr(lowrank.tail(matrix, r), norm), lowrank.tail(matrix, 0).spectral)


def _best(of: ExactArray, r: int) -> Rounded:
    matrix = in_floats("of", of)
    if r > min(matrix.shape):
        raise LoraRefError(f"r is {r}, expected at most {min(matrix.shape)}, of's smaller side")
    return rounded(lowrank.truncate(matrix, r), float(np.abs(matrix).max()))


def _largest(of: Any) -> Any:
    return max(abs(entry) for entry in of.flat)


def _shape(of: ExactArray) -> Any:
    return of


def _product_shape(shapes: tuple[tuple[int, ...], ...]) -> Any:
    """Return an array of the product's shape that takes no memory."""
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
    return np.broadcast_to(np.int8(0), left)


def _path(of: tuple[ExactArray, ...], x: ExactArray) -> Any:
    """Return the sizes of x and of what each map makes of it; the last map of `of` acts first."""
    if x.ndim != 1:
        raise ShapeError(f"x is {shape_text(x.shape)}, expected a vector")
    sizes = [len(x)]
    for factor in reversed(of):
        if matrix_of("a map of `of`", factor).shape[1] != sizes[-1]:
            raise ShapeError(f"{factor.shape[1]} columns meet {sizes[-1]} entries")
        sizes.append(len(factor))
    return tuple(sizes)


def _ratio(numerator: Any, denominator: Any) -> Any:
    if not denominator:
        raise LoraRefError("denominator is 0, expected another number")
    return Fraction(numerator) / Fraction(denominator)


OF = Need("of", "factors")
TERMS = Need("of", "terms")
RANK = Need("r", "count")

QUANTITIES = (
    Quantity(
        "entry",
        "one entry of a matrix, a vector or a product; counted from 1",
        (OF, Need("row", "count"), Need("column", "count", required=False)),
        "number",
        _entry,
    ),
    Quantity("product", "a matrix, or the product of several", (OF,), "matrix", _shape),
    Quantity("sum", "the sum of matrices of one shape; nothing is tiled", (TERMS,), "matrix", _sum),
    Quantity("difference", "the first less the second", (TERMS,), "matrix", _difference),
    Quantity(
        "scaled",
        "a matrix times a number",
        (OF, Need("by", "number")),
        "matrix",
        lambda of, by: of * by,
    ),
    Quantity("transpose", "rows become columns", (OF,), "matrix", lambda of: of.T),
    Quantity("beside", "matrices side by side", (TERMS,), "matrix", _beside),
    Quantity(
        "term",
        "column k of B times row k of A: the k-th of the r terms of B A",
        (Need("A", "factors", default="A"), Need("B", "factors", default="B"), Need("k", "count")),
        "matrix",
        _term,
    ),
    Quantity(
        "best-approximation",
        "the nearest matrix of rank at most r (Eckart and Young, 1936)",
        (OF, RANK),
        "matrix",
        _best,
    ),
    Quantity("trace", "the sum of the diagonal of a square matrix", (OF,), "number", _trace),
    Quantity("determinant", "of a square matrix", (OF,), "number", _determinant),
    Quantity("rank", "by elimination in fractions: exact", (OF,), "number", _rank),
    Quantity(
        "frobenius-norm",
        "the root of the sum of squares; of a vector, its length",
        (OF,),
        "number",
        lambda of: root(sum_of_squares(of)),
    ),
    Quantity("squared-norm", "the sum of squares", (OF,), "number", sum_of_squares),
    Quantity("spectral-norm", "the largest singular value", (OF,), "number", _spectral),
    Quantity("nuclear-norm", "the sum of the singular values", (OF,), "number", _nuclear),
    Quantity("singular-values", "all of them, largest first", (OF,), "numbers", _singular_values),
    Quantity(
        "condition-number",
        "the largest singular value by the smallest",
        (OF,),
        "number",
        _condition,
    ),
    Quantity(
        "effective-rank",
        "the exponential of the entropy of the singular values (Roy and Vetterli, 2007)",
        (OF,),
        "number",
        _effective_rank,
    ),
    Quantity(
        "truncation-error",
        "the distance to the nearest matrix of rank at most r",
        (
            OF,
            RANK,
            Need("norm", "word", False, "frobenius", words=("frobenius", "spectral")),
        ),
        "number",
        _truncation_error,
    ),
    Quantity("largest-entry", "the largest entry, signs left out", (OF,), "number", _largest),
    Quantity("size", "how many entries", (OF,), "number", lambda of: of.size),
    Quantity("shape", "rows x columns of a matrix or a product", (OF,), "shape", _shape),
    Quantity(
        "product-shape",
        "rows x columns of a product, from the shapes alone",
        (Need("shapes", "shapes"),),
        "shape",
        _product_shape,
    ),
    Quantity(
        "path",
        "the length of x, and of what each of the maps makes of it; the last acts first",
        (TERMS, Need("x", "factors", default="x")),
        "numbers",
        _path,
    ),
    Quantity(
        "ratio",
        "a quotient of two numbers",
        (Need("numerator", "number"), Need("denominator", "number")),
        "number",
        _ratio,
    ),
)
