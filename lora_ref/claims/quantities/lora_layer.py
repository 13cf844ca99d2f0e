"""Quantities of a LoRA layer, in fractions: its update, its output, its gradients.

The formulas are those of `lora_ref.layers.LoRALinear`, which works in floating point. A test
compares the two.
"""

from fractions import Fraction
from typing import Any

from lora_ref.claims.quantity import Count, Flag, Number, OneMatrix, OneNumber, Own
from lora_ref.claims.values import matrix_of, shape_text
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.exact import ExactArray, added, product, root

TOPIC = "A LoRA layer"


def scaling(alpha: Number, r: Count, rank_stabilized: Flag = False) -> OneNumber:
    """Return alpha / r, or alpha / sqrt(r) if rank-stabilized (arXiv 2312.03732)."""
    if alpha is None:
        if rank_stabilized:
            raise LoraRefError("rank-stabilized is true and alpha is missing, expected both")
        return Fraction(1)
    return Fraction(alpha) / (root(r) if rank_stabilized else r)


def delta_w(
    A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return the update, scaling B A (Hu et al., 2021, arXiv 2106.09685); no alpha scales by 1."""
    s = scaling(alpha, len(matrix_of("A", A)), rank_stabilized)
    return s * product(matrix_of("B", B), A)


def merged(
    W0: Own, A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return W0 plus the update: the merged weight."""
    return added(matrix_of("W0", W0), delta_w(A, B, alpha, rank_stabilized))


def output(
    x: Own, W0: Own, A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return y = W0 x + scaling B (A x); for a matrix x the same for each of its rows."""
    rows = _rows("x", x)
    h = product(rows, matrix_of("W0", W0).T)
    s = scaling(alpha, len(matrix_of("A", A)), rank_stabilized)
    y = added(h, s * product(rows, A.T, matrix_of("B", B).T))
    return y[0] if x.ndim == 1 else y


def grad_A(
    x: Own, grad_y: Own, A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return the gradient of A: scaling B^T grad_y x^T, summed over the rows of x."""
    s = scaling(alpha, len(matrix_of("A", A)), rank_stabilized)
    return s * product(B.T, _grad_update(x, grad_y, A, B))


def grad_B(
    x: Own, grad_y: Own, A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return the gradient of B: scaling grad_y (A x)^T, summed over the rows of x."""
    s = scaling(alpha, len(matrix_of("A", A)), rank_stabilized)
    return s * product(_grad_update(x, grad_y, A, B), A.T)


def grad_x(
    grad_y: Own, W0: Own, A: Own, B: Own, alpha: Number | None = None, rank_stabilized: Flag = False
) -> OneMatrix:
    """Return the gradient of x: (W0 + scaling B A)^T grad_y."""
    found = product(_rows("grad_y", grad_y), merged(W0, A, B, alpha, rank_stabilized))
    return found[0] if grad_y.ndim == 1 else found


def grad_W0(x: Own, grad_y: Own) -> OneMatrix:
    """Return the gradient that W0 would have, grad_y x^T: LoRA neither computes nor applies it."""
    if x.ndim != grad_y.ndim or (x.ndim == 2 and len(x) != len(grad_y)):
        raise ShapeError(
            f"x is {shape_text(x.shape)} and grad_y {shape_text(grad_y.shape)}: as many rows of "
            "the one as of the other are needed"
        )
    return product(_rows("grad_y", grad_y).T, _rows("x", x))


def kaiming_std(in_: Count) -> OneNumber:
    """Return 1 / sqrt(3 in), the standard deviation of the Kaiming-uniform start of A.

    It is the start in the authors' library and in PEFT.
    """
    return root(Fraction(1, 3 * in_))


def _rows(what: str, array: ExactArray) -> Any:
    """Return rows (n, width); a vector is one row."""
    if array.ndim == 0:
        raise ShapeError(f"{what} is a single number, expected a vector or rows")
    return array[None] if array.ndim == 1 else array


def _grad_update(x: ExactArray, grad_y: ExactArray, A: ExactArray, B: ExactArray) -> Any:
    """Return the gradient of B A, that of W0, where the shapes of both fit."""
    gradient, update = grad_W0(x, grad_y), product(matrix_of("B", B), A)
    if gradient.shape != update.shape:
        raise ShapeError(
            f"B A is {shape_text(update.shape)}, and grad_y x^T {shape_text(gradient.shape)}"
        )
    return gradient
