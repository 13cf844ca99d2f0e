"""Quantities of a LoRA layer, in fractions: its update, its output, its gradients.

The formulas are those of `lora_ref.layers.LoRALinear`, which works in floating point; a test holds
the two together.
"""

from fractions import Fraction
from typing import Any

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.ledger.claim import shape_text
from lora_ref.ledger.document.expressions import added, product
from lora_ref.ledger.lecture.exact import matrix_of, root
from lora_ref.ledger.lecture.quantity import Need, Quantity
from lora_ref.worked.article import ExactArray


def _scaling(alpha: Any, r: int, rank_stabilised: bool) -> Fraction:
    if alpha is None:
        if rank_stabilised:
            raise LoraRefError("rank-stabilised is true and alpha is missing, expected both")
        return Fraction(1)
    return Fraction(alpha) / (root(r) if rank_stabilised else r)


def _delta_w(A: ExactArray, B: ExactArray, alpha: Any, rank_stabilised: bool) -> Any:
    scaling = _scaling(alpha, len(matrix_of("A", A)), rank_stabilised)
    return scaling * product(matrix_of("B", B), A)


def _merged(W0: ExactArray, **update: Any) -> Any:
    return added(matrix_of("W0", W0), _delta_w(**update))


def _output(x: ExactArray, W0: ExactArray, **update: Any) -> Any:
    rows = _rows("x", x)
    h = product(rows, matrix_of("W0", W0).T)
    A, B = matrix_of("A", update["A"]), matrix_of("B", update["B"])
    scaling = _scaling(update["alpha"], len(A), update["rank_stabilised"])
    y = added(h, scaling * product(product(rows, A.T), B.T))
    return y[0] if x.ndim == 1 else y


def _rows(what: str, array: ExactArray) -> Any:
    """Return rows (n, width); a vector is one row."""
    if array.ndim == 0:
        raise ShapeError(f"{what} is a single number, expected a vector or rows")
    return array[None] if array.ndim == 1 else array


def _both(x: ExactArray, grad_y: ExactArray) -> tuple[Any, Any]:
    if x.ndim != grad_y.ndim or (x.ndim == 2 and len(x) != len(grad_y)):
        raise ShapeError(
            f"x is {shape_text(x.shape)} and grad_y {shape_text(grad_y.shape)}: as many rows of "
            "the one as of the other are needed"
        )
    return _rows("x", x), _rows("grad_y", grad_y)


def _grad_A(x: Any, grad_y: Any, A: Any, B: Any, alpha: Any, rank_stabilised: bool) -> Any:
    rows, g = _both(x, grad_y)
    scaling = _scaling(alpha, len(matrix_of("A", A)), rank_stabilised)
    product(matrix_of("B", B), A)  # the shapes of A and B must fit each other, and x's must fit A
    product(A, rows.T)
    return scaling * product(product(g, B).T, rows)


def _grad_B(x: Any, grad_y: Any, A: Any, B: Any, alpha: Any, rank_stabilised: bool) -> Any:
    rows, g = _both(x, grad_y)
    scaling = _scaling(alpha, len(matrix_of("A", A)), rank_stabilised)
    product(matrix_of("B", B), A)
    product(g, B)
    return scaling * product(g.T, product(rows, A.T))


def _grad_x(grad_y: ExactArray, W0: ExactArray, **update: Any) -> Any:
    grad_x = product(_rows("grad_y", grad_y), _merged(W0, **update))
    return grad_x[0] if grad_y.ndim == 1 else grad_x


def _grad_W0(x: ExactArray, grad_y: ExactArray) -> Any:
    rows, g = _both(x, grad_y)
    return product(g.T, rows)


def _kaiming(in_features: int) -> Fraction:
    return root(Fraction(1, 3 * in_features))


ALPHA = Need("alpha", "number", required=False)
STABILISED = Need("rank-stabilised", "flag", required=False, default=False)


def _matrix(name: str) -> Need:
    return Need(name, "factors", default=name)


FACTORS = (_matrix("A"), _matrix("B"), ALPHA, STABILISED)
PASSES = (_matrix("x"), _matrix("grad_y"))

QUANTITIES = (
    Quantity(
        "scaling",
        "alpha / r, or alpha / sqrt(r) if rank-stabilised (Kalajdzievski, 2023, arXiv 2312.03732)",
        (Need("alpha", "number"), Need("r", "count"), STABILISED),
        "number",
        _scaling,
    ),
    Quantity(
        "delta-w",
        "the update, scaling B A (Hu et al., 2021, arXiv 2106.09685)",
        FACTORS,
        "matrix",
        _delta_w,
    ),
    Quantity(
        "merged",
        "W0 plus the update: the merged weight",
        (_matrix("W0"), *FACTORS),
        "matrix",
        _merged,
    ),
    Quantity(
        "output",
        "y = W0 x + scaling B (A x); for a matrix x the same for each of its rows",
        (_matrix("x"), _matrix("W0"), *FACTORS),
        "matrix",
        _output,
    ),
    Quantity(
        "grad-A",
        "the gradient of A: scaling B^T grad_y x^T, summed over the rows of x",
        (*PASSES, *FACTORS),
        "matrix",
        _grad_A,
    ),
    Quantity(
        "grad-B",
        "the gradient of B: scaling grad_y (A x)^T, summed over the rows of x",
        (*PASSES, *FACTORS),
        "matrix",
        _grad_B,
    ),
    Quantity(
        "grad-x",
        "the gradient of x: (W0 + scaling B A)^T grad_y",
        (_matrix("grad_y"), _matrix("W0"), *FACTORS),
        "matrix",
        _grad_x,
    ),
    Quantity(
        "grad-W0",
        "the gradient that W0 would have: grad_y x^T, which LoRA neither computes nor applies",
        PASSES,
        "matrix",
        _grad_W0,
    ),
    Quantity(
        "kaiming-std",
        "1 / sqrt(3 in), the standard deviation of the Kaiming-uniform start of A in the authors' "
        "library and in PEFT",
        (Need("in", "count"),),
        "number",
        _kaiming,
    ),
)
