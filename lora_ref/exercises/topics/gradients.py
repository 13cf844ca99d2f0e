"""Exercises of notebook 03: the three gradients of a LoRA layer.

The specifications move one number at a time and look at the loss. The loss is affine in each number
alone, so the difference quotient is the derivative, to rounding.
"""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Exercise, Slip
from lora_ref.exercises.random_inputs import chosen, layer, scalings

LOSS = (
    "Rows x (n, in_features) have gone through y = W0 x + (alpha/r) B (A x), and grad_y, of shape\n"
    "(n, out_features), is the gradient of the loss with respect to y. "
)

DIVIDED = (
    "this is divided by the number of rows. grad_y has that factor already, if the loss is a mean."
)
SUMMED = (
    "the rows are added up before they are multiplied, so every row of grad_y meets every row of "
    "x. Right only for batch size 1."
)


def _grad_A(grad_y: Array, x: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(A: Array) -> float:  # the part of the loss that A has a hand in
        return float(np.sum(grad_y * (alpha / len(A) * (x @ A.T @ B.T))))

    grad = np.zeros_like(A)
    for k in range(A.shape[0]):
        for j in range(A.shape[1]):
            moved = A.copy()
            moved[k, j] += 1.0
            grad[k, j] = loss(moved) - loss(A)
    return grad


GRAD_A = Exercise(
    "grad-A",
    "03",
    "the gradient of A",
    LOSS + "Return the gradient\nwith respect to A, shaped like A (r, in_features).",
    _grad_A,
    lambda rng, n: chosen(layer(rng, n), "grad_y", "x", "A", "B", "alpha"),
    (
        Slip(
            "zeros",
            "these are zeros. The gradient is zero at the start, where B = 0; here B is not zero.",
            lambda grad_y, x, A, B, alpha: np.zeros_like(A),
        ),
        Slip(
            "through-A",
            "this takes x to the space of A and back; the gradient of A does not contain A.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (x @ A.T).T @ x,
        ),
        Slip(
            "mean-over-rows",
            DIVIDED,
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ x / len(x),
        ),
        Slip(
            "B-transposed",
            "grad_y meets B from the wrong side: rows of grad_y have out_features numbers, as the "
            "columns of B.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B.T).T @ x,
        ),
        Slip(
            "rows-summed-first",
            SUMMED,
            lambda grad_y, x, A, B, alpha: (
                alpha / len(A) * np.outer(grad_y.sum(axis=0) @ B, x.sum(axis=0))
            ),
        ),
    ),
    scalings,
    batched=True,
    tolerance=1e-8,
)


def _grad_B(grad_y: Array, x: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(B: Array) -> float:  # the part of the loss that B has a hand in
        return float(np.sum(grad_y * (alpha / len(A) * (x @ A.T @ B.T))))

    grad = np.zeros_like(B)
    for i in range(B.shape[0]):
        for k in range(B.shape[1]):
            moved = B.copy()
            moved[i, k] += 1.0
            grad[i, k] = loss(moved) - loss(B)
    return grad


GRAD_B = Exercise(
    "grad-B",
    "03",
    "the gradient of B",
    LOSS + "Return the gradient\nwith respect to B, shaped like B (out_features, r).",
    _grad_B,
    lambda rng, n: chosen(layer(rng, n), "grad_y", "x", "A", "B", "alpha"),
    (
        Slip(
            "zeros",
            "these are zeros. It is the gradient of A that is zero at the start.",
            lambda grad_y, x, A, B, alpha: np.zeros_like(B),
        ),
        Slip(
            "through-B",
            "this contains B. The gradient of B does not; at the start it would be zero for ever.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ x,
        ),
        Slip(
            "mean-over-rows",
            DIVIDED,
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y.T @ (x @ A.T) / len(x),
        ),
        Slip(
            "rows-summed-first",
            SUMMED,
            lambda grad_y, x, A, B, alpha: (
                alpha / len(A) * np.outer(grad_y.sum(axis=0), x.sum(axis=0) @ A.T)
            ),
        ),
        Slip(
            "A-forgotten",
            "this is the gradient of a whole weight, grad_y and x alone; what B sees is A x.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y.T @ x,
        ),
    ),
    scalings,
    batched=True,
    tolerance=1e-8,
)


def _grad_x(grad_y: Array, W0: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(x: Array) -> float:
        return float(np.sum(grad_y * (x @ W0.T + alpha / len(A) * (x @ A.T @ B.T))))

    zero = np.zeros((len(grad_y), W0.shape[1]))  # the loss is linear in x: any place will do
    grad = np.zeros_like(zero)
    for n in range(zero.shape[0]):
        for j in range(zero.shape[1]):
            moved = zero.copy()
            moved[n, j] += 1.0
            grad[n, j] = loss(moved) - loss(zero)
    return grad


GRAD_X = Exercise(
    "grad-x",
    "03",
    "the gradient that goes on to the layer below",
    LOSS + "Return the gradient\nwith respect to x, of shape (n, in_features).",
    _grad_x,
    lambda rng, n: chosen(layer(rng, n), "grad_y", "W0", "A", "B", "alpha"),
    (
        Slip(
            "adapter-path-missing",
            "the gradient goes back through W0 alone. x went through B A too, so must its "
            "gradient; with B = 0 nobody would notice.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0,
        ),
        Slip(
            "base-path-missing",
            "the gradient goes back through B A alone. W0 is frozen: it gets no gradient, and "
            "lets one pass.",
            lambda grad_y, W0, A, B, alpha: alpha / len(A) * (grad_y @ B @ A),
        ),
        Slip(
            "scaling-forgotten",
            "alpha/r is missing on the way through B A.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 + grad_y @ B @ A,
        ),
        Slip(
            "scaling-twice",
            "alpha/r is there twice on the way through B A.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 + (alpha / len(A)) ** 2 * (grad_y @ B @ A),
        ),
        Slip(
            "alpha-alone",
            "alpha stands where alpha/r belongs, on the way through B A.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 + alpha * (grad_y @ B @ A),
        ),
        Slip(
            "scaling-on-all",
            "alpha/r multiplies the way through W0 too; it belongs to B A alone.",
            lambda grad_y, W0, A, B, alpha: alpha / len(A) * (grad_y @ (W0 + B @ A)),
        ),
        Slip(
            "subtracted",
            "the way through B A is taken away; it is added.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 - alpha / len(A) * (grad_y @ B @ A),
        ),
        Slip(
            "W0-transposed",
            "W0 is transposed here. Going back, rows of grad_y meet W0 as it is. A square W0 would "
            "have let it run, with wrong numbers.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0.T + alpha / len(A) * (grad_y @ B @ A),
        ),
    ),
    scalings,
    batched=True,
    tolerance=1e-8,
)

ALL = (GRAD_A, GRAD_B, GRAD_X)
