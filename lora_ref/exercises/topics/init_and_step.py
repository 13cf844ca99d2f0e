"""Exercises of notebooks 05 and 07: initial values, the scaling, and one step of training."""

from math import sqrt

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import wrong_scalings


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
    "05",
    "where training begins",
    "Return A (r, in_features) and B (out_features, r) as `return A, B`. A is drawn from a normal\n"
    "distribution of mean 0 and standard deviation 0.02, row by row from the generator rng;\n"
    "training must begin exactly at W0.",
    _start,
    _draw_start,
    {
        "both-zero": WrongAnswer(
            "both are zero: each gradient contains the other factor, so neither ever moves.",
            lambda out, in_, r, rng: (np.zeros((r, in_)), np.zeros((out, r))),
        ),
        "both-random": WrongAnswer(
            "both are random: the model is disturbed before it has learnt anything.",
            lambda out, in_, r, rng: (
                0.02 * rng.standard_normal((r, in_)),
                0.02 * rng.standard_normal((out, r)),
            ),
        ),
        "exchanged": WrongAnswer(
            "here B is random and A is zero. It would train, but it is the other way round.",
            lambda out, in_, r, rng: (np.zeros((r, in_)), 0.02 * rng.standard_normal((out, r))),
        ),
        "order": WrongAnswer(
            "this returns B, A; expected A, B.",
            lambda out, in_, r, rng: _start(out, in_, r, rng)[::-1],
        ),
        "variance": WrongAnswer(
            "0.02 is the standard deviation; here it is the variance.",
            lambda out, in_, r, rng: (
                sqrt(0.02) * rng.standard_normal((r, in_)),
                np.zeros((out, r)),
            ),
        ),
        "ones": WrongAnswer(
            "the entries of A are equal, so all columns of B get one gradient: rank 1 for ever.",
            lambda out, in_, r, rng: (np.full((r, in_), 0.02), np.zeros((out, r))),
        ),
    },
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
    "05",
    "the factor before the update",
    "Return the factor before B A: alpha over r, or where rank_stabilized is true (rsLoRA) alpha\n"
    "over the square root of r.",
    _scaling,
    _draw_scaling,
    {
        "never-stabilized": WrongAnswer(
            "this is alpha/r in both cases; rank_stabilized is ignored. An rsLoRA adapter would "
            "be too weak by the square root of r.",
            lambda alpha, r, rank_stabilized: alpha / r,
        ),
        "always-stabilized": WrongAnswer(
            "this is alpha/sqrt(r) in both cases.",
            lambda alpha, r, rank_stabilized: alpha / sqrt(r),
        ),
        "cases-exchanged": WrongAnswer(
            "the two cases are exchanged.",
            lambda alpha, r, rank_stabilized: alpha / (r if rank_stabilized else sqrt(r)),
        ),
        "alpha-alone": WrongAnswer(
            "this is alpha; nothing is divided.", lambda alpha, r, rank_stabilized: alpha
        ),
        "upside-down": WrongAnswer(
            "the fraction is upside down.",
            lambda alpha, r, rank_stabilized: (sqrt(r) if rank_stabilized else r) / alpha,
        ),
        "whole-division": WrongAnswer(
            "the digits after the decimal point are cut off; // and int() do that.",
            lambda alpha, r, rank_stabilized: alpha // (sqrt(r) if rank_stabilized else r),
        ),
    },
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
                    scaled = lr * alpha / r * grad_y[n, i]
                    new_A[k, j] -= scaled * B[i, k] * x[n, j]
                    new_B[i, k] -= scaled * A[k, j] * x[n, j]
    return new_A, new_B


def _A_first(grad_y: Array, x: Array, A: Array, B: Array, *others: float) -> tuple[Array, Array]:
    new_A, _ = _step(grad_y, x, A, B, *others)
    return new_A, _step(grad_y, x, new_A, B, *others)[1]


def _B_first(grad_y: Array, x: Array, A: Array, B: Array, *others: float) -> tuple[Array, Array]:
    _, new_B = _step(grad_y, x, A, B, *others)
    return _step(grad_y, x, A, new_B, *others)[0], new_B


def _gradients(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    s = alpha / len(A)
    return s * (grad_y @ B).T @ x, s * grad_y.T @ (x @ A.T)


STEP = Exercise(
    "07",
    "one step of gradient descent",
    "Rows x (n, in_features) have gone through the layer, and grad_y (n, out_features) came back.\n"
    "Return A and B after one step of plain gradient descent with learning rate lr, as\n"
    "`return A, B`: new arrays, both moved by the gradients at the old A and B.",
    _step,
    layer_arguments("grad_y", "x", "A", "B", "alpha", "lr"),
    {
        "A-moved-first": WrongAnswer(
            "B is moved by a gradient at the new A. Compute both gradients before either moves.",
            _A_first,
        ),
        "B-moved-first": WrongAnswer(
            "A is moved by a gradient at the new B. Compute both gradients before either moves.",
            _B_first,
        ),
        "not-moved": WrongAnswer(
            "A and B are returned unchanged.", lambda grad_y, x, A, B, alpha, lr: (A, B)
        ),
        "lr-forgotten": WrongAnswer(
            "the gradients are subtracted whole; lr is missing.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha, 1.0),
        ),
        **wrong_scalings(
            _step, "in the gradients", "alpha-alone", "scaling-twice", "scaling-forgotten"
        ),
        "moves-returned": WrongAnswer(
            "these are the changes, -lr times the gradients; expected A and B after them.",
            lambda *arguments: tuple(-arguments[-1] * grad for grad in _gradients(*arguments)),
        ),
        "uphill": WrongAnswer(
            "both factors go uphill: a step is against the gradient.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha, -lr),
        ),
        "A-stands-still": WrongAnswer(
            "only B moves.",
            lambda grad_y, x, A, B, alpha, lr: (A, _step(grad_y, x, A, B, alpha, lr)[1]),
        ),
        "B-stands-still": WrongAnswer(
            "only A moves.",
            lambda grad_y, x, A, B, alpha, lr: (_step(grad_y, x, A, B, alpha, lr)[0], B),
        ),
        "gradients-returned": WrongAnswer(
            "these are the gradients; expected A and B after the step.", _gradients
        ),
        "mean-over-rows": WrongAnswer(
            "the gradients are divided by the number of rows. grad_y has that factor already, if "
            "the loss is a mean.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y / len(x), x, A, B, alpha, lr),
        ),
        "order": WrongAnswer(
            "this returns B, A; expected A, B.", lambda *arguments: _step(*arguments)[::-1]
        ),
    },
    batched=True,
)

ALL = (START, SCALING, STEP)
