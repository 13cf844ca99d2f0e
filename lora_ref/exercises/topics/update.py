"""Exercises of notebook 03: the forward pass, the update and the merge."""

import inspect
from collections.abc import Callable

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments
from lora_ref.exercises.scalings import scaling_factors, wrong_scalings


def _with_alpha(spec: Answer, alpha_of: Callable[[float, int, int], float]) -> Answer:
    """Return a specification that is given another alpha, of alpha, r and in_features."""

    def answer(*values: object) -> object:
        arguments: Arguments = dict(zip(inspect.signature(spec).parameters, values, strict=True))
        arguments["alpha"] = alpha_of(arguments["alpha"], *arguments["A"].shape)
        return spec(**arguments)

    return answer


def _more_wrong_scalings(spec: Answer) -> dict[str, WrongAnswer]:
    return {
        "in-for-r": WrongAnswer(
            "the factor is alpha over in_features, which is A.shape[1] or len(A[0]). What is r?",
            _with_alpha(spec, lambda alpha, r, in_features: alpha * r / in_features),
        ),
        "r-over-alpha": WrongAnswer(
            "the factor is r/alpha: a larger alpha makes the update weaker here.",
            _with_alpha(spec, lambda alpha, r, in_features: r * r / alpha),
        ),
        "whole-division": WrongAnswer(
            "alpha is divided by r with //, which drops what stands behind the point.",
            _with_alpha(spec, lambda alpha, r, in_features: alpha // r * r),
        ),
    }


def _forward(x: Array, W0: Array, A: Array, B: Array, alpha: float) -> Array:
    y = np.zeros((len(x), len(W0)))
    for n in range(len(x)):  # each row is taken as a column, as the papers write it
        y[n] = W0 @ x[n] + alpha / len(A) * (B @ (A @ x[n]))
    return y


FORWARD = Exercise(
    "03",
    "the forward pass, in two steps",
    "Rows x (n, in_features) go through W0 (out_features, in_features), and in parallel through\n"
    "A (r, in_features) and then B (out_features, r). Return y (n, out_features), the sum of the\n"
    "two with alpha/r before the second: all rows at once, and without forming B A.",
    _forward,
    layer_arguments("x", "W0", "A", "B", "alpha"),
    {
        **wrong_scalings(
            _forward,
            "before the low-rank branch",
            *("scaling-forgotten", "scaling-twice", "alpha-alone", "root-of-r", "out-for-r"),
        ),
        **_more_wrong_scalings(_forward),
        "subtracted": WrongAnswer(
            "the low-rank branch is subtracted; it should be added.",
            lambda x, W0, A, B, alpha: x @ W0.T - alpha / len(A) * (x @ A.T @ B.T),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the frozen branch too; it belongs to the low-rank one alone.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ W0.T + x @ A.T @ B.T),
        ),
        "scaling-on-the-base": WrongAnswer(
            "alpha/r multiplies the frozen branch; it belongs to the low-rank one.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ W0.T) + x @ A.T @ B.T,
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
            "B is applied before A: in the article's order, A B x. The input meets A first.",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(A) * (x @ B @ A),
        ),
        "not-transposed": WrongAnswer(
            "W0, A and B are multiplied without a transpose. A row of x meets a row of A, not a "
            "column of it.",
            lambda x, W0, A, B, alpha: x @ W0 + alpha / len(A) * (x @ A @ B),
        ),
        "W0-not-transposed": WrongAnswer(
            "W0 is multiplied without a transpose: a row of x meets a row of W0, not a column.",
            lambda x, W0, A, B, alpha: x @ W0 + alpha / len(A) * (x @ A.T @ B.T),
        ),
        "B-on-x": WrongAnswer(
            "B is applied to x; it should be applied to what A makes of x.",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(A) * (x @ A.T + x @ B.T),
        ),
    },
    scaling_factors,
    batched=True,
    question="x has 5 rows, in_features is 7, r is 2. What comes out of A, in which shape?",
    hints=(
        "Write the shape of each array beside its name. In x @ M the number of rows of M has to be "
        "in_features.",
        "A formula for columns, such as A x, becomes one for rows when both sides are transposed: "
        "(A x)^T = x^T A^T.",
        "Three products with a transposed matrix each, one sum, and the factor alpha/r before one "
        "of its terms.",
    ),
    without=LOOPS,
)


def _delta_w(A: Array, B: Array, alpha: float) -> Array:
    r, in_features = A.shape
    update = np.zeros((len(B), in_features))
    for j in range(in_features):  # column j is what the low-rank path makes of unit vector j
        x = np.zeros(in_features)
        x[j] = 1
        for k in range(r):
            update[:, j] += alpha / r * B[:, k] * (A[k] @ x)
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
            "this is A B, the article's slip. It has a meaning only where in_features is "
            "out_features, and then it is r x r. The update is B A.",
            lambda A, B, alpha: A @ B,
        ),
        "scaled-A-B": WrongAnswer(
            "this is A B, the article's slip, with alpha/r before it. The update is B A.",
            lambda A, B, alpha: alpha / len(A) * (A @ B),
        ),
        "entrywise": WrongAnswer(
            "this multiplies entry by entry, with *. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A),
        ),
        **wrong_scalings(_delta_w, "before B A", "root-of-r", "out-for-r"),
        **_more_wrong_scalings(_delta_w),
        "trace": WrongAnswer(
            "a row of A times a column of B is one number, and no matrix. The sum of such numbers "
            "is the trace of A B.",
            lambda A, B, alpha: alpha / len(A) * np.trace(A @ B),
        ),
        "first-term": WrongAnswer(
            "this is the first column of B times the first row of A; there are r such terms.",
            lambda A, B, alpha: alpha / len(A) * np.outer(B[:, 0], A[0]),
        ),
        "entrywise-rows": WrongAnswer(
            "this multiplies B and the transpose of A entry by entry. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A.T),
        ),
    },
    scaling_factors,
    question="which of A B, B A and A^T B^T have the shape of W0 if W0 is 5 x 7 and r is 2?",
    hints=(
        "What does the low-rank path of a layer do with x = (1, 0, 0, ...)? That is the first "
        "column of the update.",
        "x meets A first and B after it. Which matrix does both at once?",
        "One matrix product, and one factor that depends on alpha and on the number of rows of A.",
    ),
    without=LOOPS,
)


def _merge(W0: Array, A: Array, B: Array, alpha: float) -> Array:
    W = np.zeros_like(W0)
    for j in range(W0.shape[1]):  # column j is what the layer makes of unit vector j
        x = np.zeros(W0.shape[1])
        x[j] = 1
        W[:, j] = W0 @ x + alpha / len(A) * (B @ (A @ x))
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
            "this adds A B, the article's slip. Its shape is not that of W0; the update is B A.",
            lambda W0, A, B, alpha: W0 + A @ B,
        ),
        "scaled-A-B": WrongAnswer(
            "this adds A B, the article's slip, with alpha/r before it. The update is B A.",
            lambda W0, A, B, alpha: W0 + alpha / len(A) * (A @ B),
        ),
        **_more_wrong_scalings(_merge),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies W0 too; it belongs to the update alone.",
            lambda W0, A, B, alpha: alpha / len(A) * (W0 + B @ A),
        ),
        "scaling-on-W0": WrongAnswer(
            "alpha/r multiplies W0; it belongs to the update.",
            lambda W0, A, B, alpha: alpha / len(A) * W0 + B @ A,
        ),
        "update-transposed": WrongAnswer(
            "the update is added transposed: its shape is that of W0 turned over.",
            lambda W0, A, B, alpha: W0 + alpha / len(A) * (A.T @ B.T),
        ),
        "multiplied": WrongAnswer(
            "W0 is multiplied by the update; it should be added to it.",
            lambda W0, A, B, alpha: alpha / len(A) * W0 * (B @ A),
        ),
    },
    scaling_factors,
    question="the merged layer gets x = 0, and then x = (1, 0, 0, ...). What comes out each time?",
    hints=(
        "The layer adds two products with x. Take x out of both.",
        "What multiplies x in the second product is one matrix, of the shape of W0. You have "
        "written it in delta-w.",
        "A sum of two matrices in a new array. W0 itself must stay what it is, so no += on it.",
    ),
    without=LOOPS,
)

ALL = (FORWARD, DELTA_W, MERGE)
