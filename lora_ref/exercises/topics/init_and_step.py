"""Exercises of notebooks 04 and 05: the start, the scaling, and one step of training."""

from math import sqrt

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Answer, Arguments, Exercise, Slip
from lora_ref.exercises.random_inputs import chosen, layer, sizes


def _start(
    out_features: int, in_features: int, r: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    A, B = np.zeros((r, in_features)), np.zeros((out_features, r))
    for k in range(r):
        for j in range(in_features):
            A[k, j] = 0.02 * rng.standard_normal()
    return A, B


def _draw_start(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    fresh = np.random.default_rng(int(rng.integers(1000)))
    return {"out_features": out_features, "in_features": in_features, "r": r, "rng": fresh}


START = Exercise(
    "start",
    "04",
    "where training begins",
    "Return A (r, in_features) and B (out_features, r) as `return A, B`. A is drawn from a normal\n"
    "distribution of mean 0 and standard deviation 0.02, row by row from the generator rng;\n"
    "training must begin exactly at W0.",
    _start,
    _draw_start,
    (
        Slip(
            "both-zero",
            "both are zero: each gradient has the other factor in it, so nothing ever moves.",
            lambda out_features, in_features, r, rng: (
                np.zeros((r, in_features)),
                np.zeros((out_features, r)),
            ),
        ),
        Slip(
            "both-random",
            "both are random: the model is disturbed before it has learnt anything.",
            lambda out_features, in_features, r, rng: (
                0.02 * rng.standard_normal((r, in_features)),
                0.02 * rng.standard_normal((out_features, r)),
            ),
        ),
        Slip(
            "exchanged",
            "here B is random and A is zero. It would train, but it is the other way round.",
            lambda out_features, in_features, r, rng: (
                np.zeros((r, in_features)),
                0.02 * rng.standard_normal((out_features, r)),
            ),
        ),
        Slip(
            "order",
            "this returns B, A; expected A, B.",
            lambda out_features, in_features, r, rng: _start(out_features, in_features, r, rng)[
                ::-1
            ],
        ),
        Slip(
            "variance",
            "0.02 is the standard deviation; here it is the variance.",
            lambda out_features, in_features, r, rng: (
                sqrt(0.02) * rng.standard_normal((r, in_features)),
                np.zeros((out_features, r)),
            ),
        ),
        Slip(
            "ones",
            "all entries of A are equal, so all columns of B get the same gradient: rank 1 for "
            "ever.",
            lambda out_features, in_features, r, rng: (
                np.full((r, in_features), 0.02),
                np.zeros((out_features, r)),
            ),
        ),
    ),
)


def _scaling(alpha: float, r: int, rank_stabilized: bool) -> float:
    divisor = 0.0
    if rank_stabilized:
        while (divisor + 0.5**30) ** 2 <= r:  # the square root, digit by digit
            step = 1.0
            while (divisor + step) ** 2 > r:
                step /= 2
            divisor += step
    else:
        for _ in range(r):
            divisor += 1
    return alpha / divisor


def _draw_scaling(rng: np.random.Generator, n: int) -> Arguments:
    return {
        "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
        "r": int(rng.choice([3, 5, 6, 8])),
        "rank_stabilized": bool(n % 2),
    }


SCALING = Exercise(
    "scaling",
    "04",
    "the factor before the update",
    "Return the factor before B A: alpha over r, or where rank_stabilized is true (rsLoRA) alpha\n"
    "over the square root of r.",
    _scaling,
    _draw_scaling,
    (
        Slip(
            "never-stabilized",
            "this is alpha/r in both cases; rank_stabilized is not looked at. An rsLoRA adapter "
            "would be too weak by the square root of r.",
            lambda alpha, r, rank_stabilized: alpha / r,
        ),
        Slip(
            "always-stabilized",
            "this is alpha/sqrt(r) in both cases.",
            lambda alpha, r, rank_stabilized: alpha / sqrt(r),
        ),
        Slip(
            "cases-exchanged",
            "the two cases are exchanged.",
            lambda alpha, r, rank_stabilized: alpha / (r if rank_stabilized else sqrt(r)),
        ),
        Slip(
            "alpha-alone",
            "this is alpha; nothing is divided.",
            lambda alpha, r, rank_stabilized: alpha,
        ),
        Slip(
            "upside-down",
            "the fraction is upside down.",
            lambda alpha, r, rank_stabilized: (sqrt(r) if rank_stabilized else r) / alpha,
        ),
        Slip(
            "whole-division",
            "what comes after the decimal point is cut off; // and int() do that.",
            lambda alpha, r, rank_stabilized: alpha // (sqrt(r) if rank_stabilized else r),
        ),
    ),
    tolerance=1e-8,
)


def _step(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    r = len(A)
    new_A, new_B = A.copy(), B.copy()
    for n in range(len(x)):
        for i in range(len(B)):
            for k in range(r):
                for j in range(A.shape[1]):
                    pull = lr * alpha / r * grad_y[n, i]
                    new_A[k, j] -= pull * B[i, k] * x[n, j]
                    new_B[i, k] -= pull * A[k, j] * x[n, j]
    return new_A, new_B


def _grads(grad_y: Array, x: Array, A: Array, B: Array, alpha: float) -> tuple[Array, Array]:
    s = alpha / len(A)
    return s * (grad_y @ B).T @ x, s * grad_y.T @ (x @ A.T)


def _A_first(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    new_A = A - lr * _grads(grad_y, x, A, B, alpha)[0]
    return new_A, B - lr * _grads(grad_y, x, new_A, B, alpha)[1]


def _B_first(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    new_B = B - lr * _grads(grad_y, x, A, B, alpha)[1]
    return A - lr * _grads(grad_y, x, A, new_B, alpha)[0], new_B


def _exchanged(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    new_A, new_B = _step(grad_y, x, A, B, alpha, lr)
    return new_B, new_A


def _moved(by_A: float, by_B: float) -> Answer:
    def answer(
        grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
    ) -> tuple[Array, Array]:
        grad_A, grad_B = _grads(grad_y, x, A, B, alpha)
        return A + by_A * lr * grad_A, B + by_B * lr * grad_B

    return answer


STEP = Exercise(
    "step",
    "05",
    "one step of gradient descent",
    "Rows x (n, in_features) have gone through the layer, and grad_y (n, out_features) came back.\n"
    "Return A and B after one step of plain gradient descent with learning rate lr, as\n"
    "`return A, B`: new arrays, both moved by the gradients at the old A and B.",
    _step,
    lambda rng, n: chosen(layer(rng, n), "grad_y", "x", "A", "B", "alpha", "lr"),
    (
        Slip(
            "A-moved-first",
            "B is moved by a gradient at the new A. Compute both gradients before either moves.",
            _A_first,
        ),
        Slip(
            "B-moved-first",
            "A is moved by a gradient at the new B. Compute both gradients before either moves.",
            _B_first,
        ),
        Slip("not-moved", "A and B are returned as they were.", _moved(0, 0)),
        Slip(
            "lr-forgotten",
            "the gradients are subtracted whole; lr is missing.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha, 1.0),
        ),
        Slip(
            "alpha-alone",
            "the gradients have alpha where alpha/r belongs.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha * len(A), lr),
        ),
        Slip(
            "scaling-twice",
            "alpha/r is there twice in the gradients.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha**2 / len(A), lr),
        ),
        Slip(
            "moves-returned",
            "these are the moves, -lr times the gradients; expected A and B after them.",
            lambda grad_y, x, A, B, alpha, lr: (
                -lr * _grads(grad_y, x, A, B, alpha)[0],
                -lr * _grads(grad_y, x, A, B, alpha)[1],
            ),
        ),
        Slip("uphill", "both factors go uphill: a step is against the gradient.", _moved(1, 1)),
        Slip("A-stands-still", "only B moves.", _moved(0, -1)),
        Slip("B-stands-still", "only A moves.", _moved(-1, 0)),
        Slip(
            "scaling-forgotten",
            "alpha/r is missing in the gradients.",
            lambda grad_y, x, A, B, alpha, lr: (
                A - lr * (grad_y @ B).T @ x,
                B - lr * grad_y.T @ (x @ A.T),
            ),
        ),
        Slip(
            "gradients-returned",
            "these are the gradients; expected A and B after the step.",
            lambda grad_y, x, A, B, alpha, lr: _grads(grad_y, x, A, B, alpha),
        ),
        Slip(
            "mean-over-rows",
            "the gradients are divided by the number of rows. grad_y has that factor already, if "
            "the loss is a mean.",
            lambda grad_y, x, A, B, alpha, lr: _moved(-1 / len(x), -1 / len(x))(
                grad_y, x, A, B, alpha, lr
            ),
        ),
        Slip("order", "this returns B, A; expected A, B.", _exchanged),
    ),
    batched=True,
)

ALL = (START, SCALING, STEP)
