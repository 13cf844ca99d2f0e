"""Exercises of notebook 04: the three gradients of a LoRA layer.

The specifications change one entry at a time and look at the loss. The loss is affine in each entry
alone, so the difference quotient is the derivative, to rounding.
"""

from collections.abc import Callable

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments
from lora_ref.exercises.scalings import scaling_factors, wrong_scalings

LOSS = (
    "Rows x (n, in_features) have gone through y = x W0^T + (alpha/r) (x A^T) B^T, and grad_y, of\n"
    "shape (n, out_features), is the gradient of the loss with respect to y. "
)


def _mean_over_rows(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "this is divided by the number of rows. If the loss is a mean, grad_y has that factor.",
        lambda grad_y, *others: answer(grad_y, *others) / len(grad_y),
    )


def _rows_summed_first(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "the rows are added up before they are multiplied, so every row of grad_y meets every row "
        "of x. Right only for batch size 1.",
        lambda grad_y, x, *others: answer(
            grad_y.sum(axis=0, keepdims=True), x.sum(axis=0, keepdims=True), *others
        ),
    )


def _moved(answer: Callable[..., Array], name: str, place: int) -> WrongAnswer:
    return WrongAnswer(
        f"this is {name} after a step with a learning rate of 1; return the gradient alone.",
        lambda *arguments: arguments[place] - answer(*arguments),
    )


def _grad_A(grad_y: Array, x: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(A: Array) -> float:  # the part of the loss that depends on A
        return float(np.sum(grad_y * (alpha / len(A) * (x @ A.T @ B.T))))

    grad = np.zeros_like(A)
    for k in range(A.shape[0]):
        for j in range(A.shape[1]):
            moved = A.copy()
            moved[k, j] += 1.0
            grad[k, j] = loss(moved) - loss(A)
    return grad


GRAD_A = Exercise(
    "04",
    "the gradient of A",
    LOSS + "Return the gradient\nwith respect to A, shaped like A (r, in_features).",
    _grad_A,
    layer_arguments("grad_y", "x", "A", "B", "alpha"),
    {
        "zeros": WrongAnswer(
            "these are zeros. The gradient is zero at the start, where B = 0; here B is not zero.",
            lambda grad_y, x, A, B, alpha: np.zeros_like(A),
        ),
        "through-A": WrongAnswer(
            "this takes x to the space of A and back; the gradient of A does not contain A.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (x @ A.T).T @ x,
        ),
        "A-and-back": WrongAnswer(
            "x goes through A and back, by A^T A; the gradient of A does not contain A.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * B.T @ grad_y.T @ x @ A.T @ A,
        ),
        "gradient-of-h": WrongAnswer(
            "this is the gradient of h = x A^T, a row for each row of x. One step is left: from h "
            "to the entries of A.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y @ B,
        ),
        "h-for-x": WrongAnswer(
            "what came back through B meets h = x A^T, which A has made; it should meet what A is "
            "given.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ (x @ A.T),
        ),
        "mean-over-rows": _mean_over_rows(_grad_A),
        "B-transposed": WrongAnswer(
            "grad_y meets B from the wrong side: rows of grad_y have out_features entries, as the "
            "columns of B.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B.T).T @ x,
        ),
        "rows-summed-first": _rows_summed_first(_grad_A),
        "gradient-of-B": WrongAnswer(
            "this is the gradient of B.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y.T @ (x @ A.T),
        ),
        "whole-weight": WrongAnswer(
            "this is the gradient of a whole weight, of the shape of W0. A is one factor of two.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y.T @ x,
        ),
        "moved": _moved(_grad_A, "A", 2),
        **wrong_scalings(_grad_A, "in the gradient of A", "root-of-r", "out-for-r"),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question=(
        "grad_y stays as it is. What becomes of the answer where B is replaced by "
        "3 B, and what where A is replaced by 3 A?"
    ),
    hints=(
        "between A and y stands h = x A^T, of shape (n, r). What is the slope of the loss in one "
        "entry of h?",
        "first carry grad_y back through B, to the shape of h. Then ask what one entry of A does "
        "to h, in every row.",
        "two products, one after the other. The first has shape (n, r); in the second the rows, n, "
        "are summed over, and the result has shape (r, in_features). The scaling stands there "
        "once.",
    ),
)


def _grad_B(grad_y: Array, x: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(B: Array) -> float:  # the part of the loss that depends on B
        return float(np.sum(grad_y * (alpha / len(A) * (x @ A.T @ B.T))))

    grad = np.zeros_like(B)
    for i in range(B.shape[0]):
        for k in range(B.shape[1]):
            moved = B.copy()
            moved[i, k] += 1.0
            grad[i, k] = loss(moved) - loss(B)
    return grad


GRAD_B = Exercise(
    "04",
    "the gradient of B",
    LOSS + "Return the gradient\nwith respect to B, shaped like B (out_features, r).",
    _grad_B,
    layer_arguments("grad_y", "x", "A", "B", "alpha"),
    {
        "zeros": WrongAnswer(
            "these are zeros. It is the gradient of A that is zero at the start.",
            lambda grad_y, x, A, B, alpha: np.zeros_like(B),
        ),
        "through-B": WrongAnswer(
            "this contains B. The gradient of B does not; at the start it would be zero for ever.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ x,
        ),
        "mean-over-rows": _mean_over_rows(_grad_B),
        "rows-summed-first": _rows_summed_first(_grad_B),
        "A-forgotten": WrongAnswer(
            "this is the gradient of a whole weight, from grad_y and x; the input of B is A x.",
            lambda grad_y, x, A, B, alpha: alpha / len(A) * grad_y.T @ x,
        ),
        "moved": _moved(_grad_B, "B", 3),
        **wrong_scalings(_grad_B, "in the gradient of B", "root-of-r", "out-for-r"),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question=(
        "one of the five arguments can be replaced by any other numbers of its shape, "
        "and the answer stays. Which one, and why?"
    ),
    hints=(
        "one entry of B moves one column of y. What stands beside this entry, in each row?",
        "what B is given is not x: A comes first. An entry of the answer is a sum over the rows of "
        "two numbers multiplied.",
        "one product for what B is given, of shape (n, r), and one more in which the rows, n, are "
        "summed over, with a result of shape (out_features, r). The scaling stands there once.",
    ),
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
    "04",
    "the gradient that goes on to the layer below",
    LOSS + "Return the gradient\nwith respect to x, of shape (n, in_features).",
    _grad_x,
    layer_arguments("grad_y", "W0", "A", "B", "alpha"),
    {
        "adapter-path-missing": WrongAnswer(
            "the gradient goes back through W0 alone. x went through B A too, so its gradient has "
            "to; with B = 0 the difference would not show.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0,
        ),
        "base-path-missing": WrongAnswer(
            "the gradient goes back through B A alone. W0 is frozen: it gets no gradient, and "
            "lets one pass.",
            lambda grad_y, W0, A, B, alpha: alpha / len(A) * (grad_y @ B @ A),
        ),
        **wrong_scalings(
            _grad_x,
            "on the way through B A",
            *("scaling-forgotten", "scaling-twice", "alpha-alone", "root-of-r", "out-for-r"),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the way through W0 too; it belongs to B A alone.",
            lambda grad_y, W0, A, B, alpha: alpha / len(A) * (grad_y @ (W0 + B @ A)),
        ),
        "subtracted": WrongAnswer(
            "the way through B A is subtracted; it should be added.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 - alpha / len(A) * (grad_y @ B @ A),
        ),
        "W0-transposed": WrongAnswer(
            "W0 is transposed here. Going back, rows of grad_y meet W0 as it is. With a square W0 "
            "this would have run, and given wrong numbers.",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0.T + alpha / len(A) * (grad_y @ B @ A),
        ),
        "all-transposed": WrongAnswer(
            "grad_y goes through the layer as x does, forward; the way back has another direction.",
            lambda grad_y, W0, A, B, alpha: grad_y @ (W0 + alpha / len(A) * (B @ A)).T,
        ),
        "A-first": WrongAnswer(
            "grad_y meets A before B. Forward, A comes first; which of them comes first on the way "
            "back?",
            lambda grad_y, W0, A, B, alpha: grad_y @ W0 + alpha / len(A) * (grad_y @ A @ B),
        ),
        "columns": WrongAnswer(
            "grad_y stands on the right, as if its examples were columns; they are rows.",
            lambda grad_y, W0, A, B, alpha: (W0 + alpha / len(A) * (B @ A)).T @ grad_y,
        ),
        "mean-over-rows": _mean_over_rows(_grad_x),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question="x is not among the arguments. Why can you do without it?",
    hints=(
        "x reaches y on two paths. If B were zero, what would be left?",
        "a row of grad_y has out_features entries, and a row of the answer in_features. Which "
        "matrices lead from one to the other, on each path, and in which order?",
        "a sum of two arrays of shape (n, in_features), one for each path; the scaling belongs to "
        "one of them.",
    ),
)

ALL = (GRAD_B, GRAD_A, GRAD_X)
