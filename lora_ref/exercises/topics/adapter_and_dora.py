"""Exercises of notebook 06: an adapter, and the weight of DoRA."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Answer, Arguments, Exercise, Slip
from lora_ref.exercises.random_inputs import chosen, layer, scalings, sizes


def _adapter(x: Array, W_down: Array, b_down: Array, W_up: Array, b_up: Array) -> Array:
    y = np.zeros_like(x)
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            y[n, i] = x[n, i] + b_up[i]
            for k in range(len(W_down)):
                inner = b_down[k]
                for j in range(x.shape[1]):
                    inner += W_down[k, j] * x[n, j]
                if inner > 0:  # ReLU
                    y[n, i] += W_up[i, k] * inner
    return y


def _draw_adapter(rng: np.random.Generator, n: int) -> Arguments:
    features, _, m = sizes(rng)
    return {
        "x": rng.standard_normal((n, features)),
        "W_down": rng.standard_normal((m, features)),
        "b_down": rng.standard_normal(m),
        "W_up": rng.standard_normal((features, m)),
        "b_up": rng.standard_normal(features),
    }


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


ADAPTER = Exercise(
    "adapter",
    "06",
    "the bottleneck adapter",
    "Return what an Adapter makes of rows x (n, features): down to m features with W_down\n"
    "(m, features) and b_down, ReLU, up again with W_up (features, m) and b_up, and all of that\n"
    "beside x itself.",
    _adapter,
    _draw_adapter,
    (
        Slip(
            "residual-forgotten",
            "x itself is missing: an Adapter adds to what passes, it does not replace it.",
            lambda x, W_down, b_down, W_up, b_up: _relu(x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        Slip(
            "no-activation",
            "there is no ReLU. Without it the two projections are one matrix, and could be merged.",
            lambda x, W_down, b_down, W_up, b_up: x + (x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        Slip(
            "activation-at-the-end",
            "the ReLU stands after the way up; it belongs in the bottleneck.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + _relu((x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
        Slip(
            "biases-forgotten",
            "both biases are missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T,
        ),
        Slip(
            "inner-bias-forgotten",
            "b_down is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T + b_up,
        ),
        Slip(
            "outer-bias-forgotten",
            "b_up is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T + b_down) @ W_up.T,
        ),
    ),
    batched=True,
)


def _dora(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
    r, (out_features, in_features) = len(A), W0.shape
    W = np.zeros_like(W0)
    for i in range(out_features):
        squares = 0.0
        for j in range(in_features):
            W[i, j] = W0[i, j]
            for k in range(r):
                W[i, j] += alpha / r * B[i, k] * A[k, j]
            squares += W[i, j] * W[i, j]
        for j in range(in_features):
            W[i, j] *= magnitude[i] / squares**0.5
    return W


def _draw_dora(rng: np.random.Generator, n: int) -> Arguments:
    drawn = chosen(layer(rng, n), "W0", "A", "B", "alpha")
    return {**drawn, "magnitude": rng.uniform(0.5, 3.0, len(drawn["W0"]))}


def _normed(
    axis: int | None, *, of_W0: bool = False, scaled: float = 1.0, power: int = 1
) -> Answer:
    def answer(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
        V = W0 + alpha / len(A) ** scaled * B @ A
        norms = np.linalg.norm(W0 if of_W0 else V, axis=axis, keepdims=axis is not None)
        W: Array = magnitude[:, None] * V / norms**power
        return W

    return answer


DORA = Exercise(
    "dora",
    "06",
    "the weight of DoRA",
    "With V = W0 + (alpha/r) B A, return the weight whose row i points as row i of V does and is\n"
    "magnitude[i] long. It has the shape of W0, (out_features, in_features).",
    _dora,
    _draw_dora,
    (
        Slip(
            "columns",
            "the norms are taken over columns. Each output has a magnitude, so over rows.",
            _normed(0),
        ),
        Slip(
            "one-norm",
            "this divides by one norm, of all of V; each row has its own.",
            _normed(None),
        ),
        Slip(
            "norm-of-W0",
            "this divides by the norms of W0's rows. They are those of V only at the start.",
            _normed(1, of_W0=True),
        ),
        Slip(
            "scaling-forgotten",
            "alpha/r is missing in V.",
            lambda W0, A, B, alpha, magnitude: _normed(1)(W0, A, B, float(len(A)), magnitude),
        ),
        Slip("alpha-alone", "V has alpha where alpha/r belongs.", _normed(1, scaled=0.0)),
        Slip(
            "squared-norm",
            "this divides by the square of each row's length.",
            _normed(1, power=2),
        ),
        Slip(
            "not-normalized",
            "V is multiplied by the magnitude, and not divided by its norms.",
            lambda W0, A, B, alpha, magnitude: magnitude[:, None] * (W0 + alpha / len(A) * B @ A),
        ),
        Slip(
            "direction-alone",
            "the rows have length 1; the magnitude is missing.",
            lambda W0, A, B, alpha, magnitude: _normed(1)(W0, A, B, alpha, np.ones_like(magnitude)),
        ),
    ),
    scalings,
)

ALL = (ADAPTER, DORA)
