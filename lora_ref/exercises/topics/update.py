"""Exercises of notebook 02: the forward pass, the update and the merge."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Exercise, Slip
from lora_ref.exercises.random_inputs import chosen, layer, scalings


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
    "forward",
    "02",
    "the forward pass, in two steps",
    "Rows x (n, in_features) go through W0 (out_features, in_features), and in parallel through\n"
    "A (r, in_features) and then B (out_features, r). Return y (n, out_features), the sum of the\n"
    "two with alpha/r before the second. There is no need to form B A.",
    _forward,
    lambda rng, n: chosen(layer(rng, n), "x", "W0", "A", "B", "alpha"),
    (
        Slip(
            "scaling-forgotten",
            "alpha/r is missing before the low-rank branch.",
            lambda x, W0, A, B, alpha: x @ W0.T + x @ A.T @ B.T,
        ),
        Slip(
            "alpha-alone",
            "the branch is multiplied by alpha; the factor is alpha/r, and r is len(A).",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha * (x @ A.T @ B.T),
        ),
        Slip(
            "root-of-r",
            "the branch is divided by the square root of r, as in rsLoRA; the factor is alpha/r.",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(A) ** 0.5 * (x @ A.T @ B.T),
        ),
        Slip(
            "out-for-r",
            "the branch is divided by out_features, which is len(B); r is len(A).",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(B) * (x @ A.T @ B.T),
        ),
        Slip(
            "subtracted",
            "the low-rank branch is taken away; it is added.",
            lambda x, W0, A, B, alpha: x @ W0.T - alpha / len(A) * (x @ A.T @ B.T),
        ),
        Slip(
            "scaling-on-all",
            "alpha/r multiplies the frozen branch too; it belongs to the low-rank one alone.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ W0.T + x @ A.T @ B.T),
        ),
        Slip(
            "base-forgotten",
            "this is the low-rank branch alone; the frozen one, x through W0, is missing.",
            lambda x, W0, A, B, alpha: alpha / len(A) * (x @ A.T @ B.T),
        ),
        Slip(
            "update-forgotten",
            "this is the frozen branch alone; A and B have no part in it.",
            lambda x, W0, A, B, alpha: x @ W0.T,
        ),
        Slip(
            "columns",
            "this treats x as columns, W0 x. Here each row of x is an input.",
            lambda x, W0, A, B, alpha: W0 @ x + alpha / len(A) * (B @ (A @ x)),
        ),
        Slip(
            "A-after-B",
            "B is applied before A: in the text's order, A B x. The input meets A first.",
            lambda x, W0, A, B, alpha: x @ W0.T + alpha / len(A) * (x @ B @ A),
        ),
    ),
    scalings,
    batched=True,
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
    "delta-w",
    "02",
    "the update of the weight",
    "A has shape (r, in_features), B (out_features, r). Return the update of W0 as one matrix of\n"
    "shape (out_features, in_features), alpha/r included.",
    _delta_w,
    lambda rng, n: chosen(layer(rng, n), "A", "B", "alpha"),
    (
        Slip(
            "A-B",
            "this is A B, the text's slip. It has a meaning only where in_features is "
            "out_features, and then it is r x r. The update is B A.",
            lambda A, B, alpha: A @ B,
        ),
        Slip(
            "scaled-A-B",
            "this is A B, the text's slip, with alpha/r before it. The update is B A.",
            lambda A, B, alpha: alpha / len(A) * (A @ B),
        ),
        Slip(
            "entrywise",
            "this multiplies entry by entry, with *. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A),
        ),
    ),
    scalings,
)


def _merge(W0: Array, A: Array, B: Array, alpha: float) -> Array:
    r, (out_features, in_features) = len(A), W0.shape
    W = np.zeros((out_features, in_features))
    for j in range(in_features):  # what the layer answers to the j-th unit vector is column j
        for i in range(out_features):
            W[i, j] = W0[i, j]
            for k in range(r):
                W[i, j] += alpha / r * B[i, k] * A[k, j]
    return W


MERGE = Exercise(
    "merge",
    "02",
    "one weight for serving",
    "Return the weight W (out_features, in_features) of a plain layer that answers to every input\n"
    "as W0 with A, B and alpha does. W0 is still needed afterwards, for the next task.",
    _merge,
    lambda rng, n: chosen(layer(rng, n), "W0", "A", "B", "alpha"),
    (
        Slip(
            "scaling-forgotten",
            "alpha/r is missing: the merged layer answers otherwise than the one it came from.",
            lambda W0, A, B, alpha: W0 + B @ A,
        ),
        Slip(
            "alpha-alone",
            "the update is multiplied by alpha; the factor is alpha/r.",
            lambda W0, A, B, alpha: W0 + alpha * (B @ A),
        ),
        Slip(
            "root-of-r",
            "the update is divided by the square root of r, as in rsLoRA; the factor is alpha/r.",
            lambda W0, A, B, alpha: W0 + alpha / len(A) ** 0.5 * (B @ A),
        ),
        Slip(
            "out-for-r",
            "the update is divided by out_features, which is len(B); r is len(A).",
            lambda W0, A, B, alpha: W0 + alpha / len(B) * (B @ A),
        ),
        Slip(
            "W0-alone",
            "this is W0; the update is missing.",
            lambda W0, A, B, alpha: W0.copy(),
        ),
        Slip(
            "subtracted",
            "the update is taken away. That is the way back, from a merged weight.",
            lambda W0, A, B, alpha: W0 - alpha / len(A) * (B @ A),
        ),
        Slip(
            "merged-twice",
            "the update is in it twice.",
            lambda W0, A, B, alpha: W0 + 2 * alpha / len(A) * (B @ A),
        ),
        Slip(
            "update-alone",
            "this is the update alone; W0 is missing.",
            lambda W0, A, B, alpha: alpha / len(A) * (B @ A),
        ),
        Slip(
            "A-B",
            "this adds A B, the text's slip. Its shape is not that of W0; the update is B A.",
            lambda W0, A, B, alpha: W0 + A @ B,
        ),
        Slip(
            "scaled-A-B",
            "this adds A B, the text's slip, with alpha/r before it. The update is B A.",
            lambda W0, A, B, alpha: W0 + alpha / len(A) * (A @ B),
        ),
    ),
    scalings,
)


ALL = (FORWARD, DELTA_W, MERGE)
