"""Exercises of notebook 09: a bottleneck adapter, and the weight of DoRA."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import scaling_factors, wrong_scalings


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
    "09",
    "the bottleneck adapter",
    "Return what a bottleneck adapter returns for rows x (n, features): down to m features with\n"
    "W_down (m, features) and b_down, ReLU, up again with W_up (features, m) and b_up, and the\n"
    "result added to x itself.",
    _adapter,
    _draw_adapter,
    {
        "residual-forgotten": WrongAnswer(
            "x itself is missing: an adapter adds to its input, it does not replace it.",
            lambda x, W_down, b_down, W_up, b_up: _relu(x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        "no-activation": WrongAnswer(
            "there is no ReLU. Without it the two projections are one matrix, and could be merged.",
            lambda x, W_down, b_down, W_up, b_up: x + (x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        "activation-at-the-end": WrongAnswer(
            "the ReLU stands after the way up; it belongs in the bottleneck.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + _relu((x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
        "biases-forgotten": WrongAnswer(
            "both biases are missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T,
        ),
        "inner-bias-forgotten": WrongAnswer(
            "b_down is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T + b_up,
        ),
        "outer-bias-forgotten": WrongAnswer(
            "b_up is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T + b_down) @ W_up.T,
        ),
    },
    batched=True,
    without=LOOPS,
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
    arguments = layer_arguments("W0", "A", "B", "alpha")(rng, n)
    return {**arguments, "magnitude": rng.uniform(0.5, 3.0, len(arguments["W0"]))}


def _normalized(axis: int | None, *, of_W0: bool = False, power: int = 1) -> Answer:
    def answer(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
        V = W0 + alpha / len(A) * B @ A
        norms = np.linalg.norm(W0 if of_W0 else V, axis=axis, keepdims=axis is not None)
        W: Array = magnitude[:, None] * V / norms**power
        return W

    return answer


DORA = Exercise(
    "09",
    "the weight of DoRA",
    "With V = W0 + (alpha/r) B A, return the weight whose row i has the direction of row i of V\n"
    "and the norm magnitude[i]. It has the shape of W0, (out_features, in_features).",
    _dora,
    _draw_dora,
    {
        "columns": WrongAnswer(
            "the norms are taken over columns. Each output has a magnitude, so over rows.",
            _normalized(0),
        ),
        "one-norm": WrongAnswer(
            "this divides by one norm, of all of V; each row has its own.", _normalized(None)
        ),
        "norm-of-W0": WrongAnswer(
            "this divides by the norms of W0's rows. They are those of V only at the start.",
            _normalized(1, of_W0=True),
        ),
        **wrong_scalings(_dora, "in V", "scaling-forgotten", "alpha-alone"),
        "squared-norm": WrongAnswer(
            "this divides by the square of each row's norm.", _normalized(1, power=2)
        ),
        "not-normalized": WrongAnswer(
            "V is multiplied by the magnitude, and not divided by its norms.",
            lambda W0, A, B, alpha, magnitude: magnitude[:, None] * (W0 + alpha / len(A) * B @ A),
        ),
        "direction-alone": WrongAnswer(
            "the rows have norm 1; the magnitude is missing.",
            lambda W0, A, B, alpha, magnitude: _dora(W0, A, B, alpha, np.ones_like(magnitude)),
        ),
    },
    scaling_factors,
    without=LOOPS,
)

ALL = (ADAPTER, DORA)
