"""Exercises of notebook 03: the forward pass, the update and the merge."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments
from lora_ref.exercises.scalings import scaling_factors, wrong_scalings


def _forward(x: Array, W0: Array, A: Array, B: Array, alpha: float) -> Array:
    r = len(A)
    y = np.zeros((len(x), len(W0)))
    for n in range(len(x)):
        for i in range(len(W0)):
            for j in range(x.shape[1]):
                y[n, i] += W0[i, j] * x[n, j]
                for k in range(r):
                    y[n, i] += alpha / r * B[i, k] * A[k, j] * x[n, j]
    return y


FORWARD = Exercise(
    "03",
    "the forward pass, in two steps",
    "Rows x (n, in_features) go through W0 (out_features, in_features), and in parallel through\n"
    "A (r, in_features) and then B (out_features, r). Return y (n, out_features), the sum of the\n"
    "two with alpha/r before the second. There is no need to form B A.",
    _forward,
    layer_arguments("x", "W0", "A", "B", "alpha"),
    {
        **wrong_scalings(
            _forward,
            "before the low-rank branch",
            *("scaling-forgotten", "alpha-alone", "root-of-r", "out-for-r"),
        ),
        "subtracted": WrongAnswer(
            "the low-rank branch is subtracted; it should be added.",
            lambda x, W0, A, B, alpha: x @ W0.T - alpha / len(A) * (x @ A.T @ B.T),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the frozen branch too; it belongs to the low-rank one alone.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ W0.T + x @ A.T @ B.T),
        ),
        "base-forgotten": WrongAnswer(
            "this is the low-rank branch alone; the frozen one, x through W0, is missing.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ A.T @ B.T),
        ),
        "update-forgotten": WrongAnswer(
            "this is the frozen branch alone; A and B have no part in it.",
            lambda x, W0, A, B, alpha: x @ W0.T,
        ),
        "columns": WrongAnswer(
            "this treats x as columns, W0 x. Here each row of x is an input.",
            lambda x, W0, A, B, alpha: W0 @ x + alpha / len(A) * (B @ (A @ x)),
        ),
        "A-after-B": WrongAnswer(
            "B is applied before A: in the text's order, A B x. The input meets A first.",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(A) * (x @ B @ A),
        ),
    },
    scaling_factors,
    batched=True,
    without=LOOPS,
)


def _delta_w(A: Array, B: Array, alpha: float) -> Array:
    r = len(A)
    update = np.zeros((len(B), A.shape[1]))
    for i in range(len(B)):
        for j in range(A.shape[1]):
            for k in range(r):
                update[i, j] += alpha / r * B[i, k] * A[k, j]
    return update


DELTA_W = Exercise(
    "03",
    "the update of the weight",
    "A has shape (r, in_features), B (out_features, r). Return the update of W0 as one matrix of\n"
    "shape (out_features, in_features), alpha/r included.",
    _delta_w,
    layer_arguments("A", "B", "alpha"),
    {
        "A-B": WrongAnswer(
            "this is A B, the text's slip. It has a meaning only where in_features is "
            "out_features, and then it is r x r. The update is B A.",
            lambda A, B, alpha: A @ B,
        ),
        "scaled-A-B": WrongAnswer(
            "this is A B, the text's slip, with alpha/r before it. The update is B A.",
            lambda A, B, alpha: alpha / len(A) * (A @ B),
        ),
        "entrywise": WrongAnswer(
            "this multiplies entry by entry, with *. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A),
        ),
    },
    scaling_factors,
    without=LOOPS,
)


def _merge(W0: Array, A: Array, B: Array, alpha: float) -> Array:
    r, (out_features, in_features) = len(A), W0.shape
    W = np.zeros((out_features, in_features))
    for j in range(in_features):  # column j is what the layer returns for the j-th unit vector
        for i in range(out_features):
            W[i, j] = W0[i, j]
            for k in range(r):
                W[i, j] += alpha / r * B[i, k] * A[k, j]
    return W


MERGE = Exercise(
    "03",
    "one weight for serving",
    "Return the weight W (out_features, in_features) of a plain layer that gives every input the\n"
    "same output as W0 with A, B and alpha. W0 is still needed afterwards, for the next task.",
    _merge,
    layer_arguments("W0", "A", "B", "alpha"),
    {
        "scaling-forgotten": WrongAnswer(
            "alpha/r is missing: the merged layer and the one it came from have other outputs.",
            lambda W0, A, B, alpha: W0 + B @ A,
        ),
        **wrong_scalings(_merge, "before the update", "alpha-alone", "root-of-r", "out-for-r"),
        "W0-alone": WrongAnswer(
            "this is W0; the update is missing.", lambda W0, A, B, alpha: W0.copy()
        ),
        "subtracted": WrongAnswer(
            "the update is subtracted. That is how a merged weight is taken apart again.",
            lambda W0, A, B, alpha: W0 - alpha / len(A) * (B @ A),
        ),
        "merged-twice": WrongAnswer(
            "the update is in it twice.", lambda W0, A, B, alpha: W0 + 2 * alpha / len(A) * (B @ A)
        ),
        "update-alone": WrongAnswer(
            "this is the update alone; W0 is missing.",
            lambda W0, A, B, alpha: alpha / len(A) * (B @ A),
        ),
        "A-B": WrongAnswer(
            "this adds A B, the text's slip. Its shape is not that of W0; the update is B A.",
            lambda W0, A, B, alpha: W0 + A @ B,
        ),
        "scaled-A-B": WrongAnswer(
            "this adds A B, the text's slip, with alpha/r before it. The update is B A.",
            lambda W0, A, B, alpha: W0 + alpha / len(A) * (A @ B),
        ),
    },
    scaling_factors,
    without=LOOPS,
)

ALL = (FORWARD, DELTA_W, MERGE)
