"""The exercises: right answers, wrong ones, and that the checker tells them apart by name.

Here are the right answers, out of a student's sight. The wrong ones are written as students write
them, not taken from the exercises' own lists.
"""

import re
import warnings
from asyncio import CancelledError
from fractions import Fraction
from functools import partial
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from exercises_page import RESULTS, as_markdown

from lora_ref.errors import LoraRefError
from lora_ref.exercises import EXERCISES, check, exercise, show
from lora_ref.exercises.attempt import attempts
from lora_ref.exercises.feedback import NOT_ATTEMPTED, RIGHT
from lora_ref.layers import LoRALinear
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.training import SGD, AdamW, Loss, Network, train

NOTEBOOKS = [f"{number:02d}" for number in range(1, 11)]


def cut(M, r):
    U, s, Vh = np.linalg.svd(M, full_matrices=False)
    return U[:, :r] * s[:r] @ Vh[:r]


def s_of(A, alpha):
    return alpha / A.shape[0]


def grads_of(grad_y, x, A, B, alpha):
    s = s_of(A, alpha)
    return s * B.T @ grad_y.T @ x, s * grad_y.T @ x @ A.T


def step_right(grad_y, x, A, B, alpha, lr):
    grad_A, grad_B = grads_of(grad_y, x, A, B, alpha)
    return A - lr * grad_A, B - lr * grad_B


def step_in_place(grad_y, x, A, B, alpha, lr):
    grad_A, grad_B = grads_of(grad_y, x, A, B, alpha)
    A -= lr * grad_A
    B -= lr * grad_B
    return A, B


def step_A_first(grad_y, x, A, B, alpha, lr):
    A = A - lr * grads_of(grad_y, x, A, B, alpha)[0]
    return A, B - lr * grads_of(grad_y, x, A, B, alpha)[1]


def adapter_right(x, W_down, b_down, W_up, b_up):
    return x + np.maximum(x @ W_down.T + b_down, 0) @ W_up.T + b_up


def dora_by(axis):
    def answer(W0, A, B, alpha, magnitude):
        V = W0 + s_of(A, alpha) * B @ A
        return magnitude[:, None] * V / np.linalg.norm(V, axis=axis, keepdims=True)

    return answer


def mixed_batch_right(x, task, W0, A, B, scaling):
    y = x @ W0.T
    for t in np.unique(task):
        rows = task == t
        y[rows] += scaling[t] * x[rows] @ A[t].T @ B[t].T
    return y


def combine_right(A, B, weights):
    return np.vstack(A), np.hstack([w * b for w, b in zip(weights, B, strict=True)])


def combine_otherwise(A, B, weights):  # another pair with the same product
    A, B = combine_right(A, B, weights)
    return 2 * A[::-1], B[:, ::-1] / 2


def added(weights, arrays):
    return sum(w * array for w, array in zip(weights, arrays, strict=True))


def codes_right(block, levels):
    edges = (levels[1:] + levels[:-1]) / 2
    return np.searchsorted(edges, block / np.abs(block).max())


def start_right(out_features, in_features, r, rng):
    return rng.normal(0, 0.02, (r, in_features)), np.zeros((out_features, r))


def start_by_columns(out_features, in_features, r, rng):
    return rng.normal(0, 0.02, (in_features, r)).T, np.zeros((out_features, r))


def compensated(alpha, lr_A, lr_B, p, q, optimizer):
    power = 2 if optimizer == "SGD" else 1
    return alpha / (p * q), lr_A * p**power, lr_B * q**power


def sorted_in_place(s, r):
    s.sort()
    return np.sqrt(np.sum(s[: len(s) - r] ** 2))


RIGHT_ANSWERS = {
    "rank-bound": lambda m, n, ranks: min(m, n, sum(ranks)),
    "truncate": cut,
    "tail": lambda s, r: np.linalg.norm(s[r:]),
    "forward": lambda x, W0, A, B, alpha: x @ W0.T + s_of(A, alpha) * (x @ A.T) @ B.T,
    "delta-w": lambda A, B, alpha: s_of(A, alpha) * B @ A,
    "merge": lambda W0, A, B, alpha: W0 + s_of(A, alpha) * B @ A,
    "grad-A": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[0],
    "grad-B": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[1],
    "grad-x": lambda g, W0, A, B, alpha: g @ (W0 + s_of(A, alpha) * B @ A),
    "start": start_right,
    "scaling": lambda alpha, r, stabilized: alpha / (sqrt(r) if stabilized else r),
    "compensating-rates": compensated,
    "step": step_right,
    "adapter": adapter_right,
    "dora": dora_by(1),
    "mixed-batch": mixed_batch_right,
    "combine": combine_right,
    "nf4-codes": codes_right,
    "bits-per-weight": lambda bits, block_size: bits + 32 / block_size,
    "count": lambda shapes, r: r * sum(map(sum, shapes)),
    "break-even": lambda m, n: (m * n - 1) // (m + n),
    "training-bytes": lambda frozen, trained: 4 * frozen + 16 * trained,
    "agrees": lambda printed, value: (
        2 * abs(Fraction(printed) - value) <= Fraction(1, 10 ** len(printed.partition(".")[2]))
    ),
}

WRONG_ANSWERS = {
    "rank-bound": {
        "sides-forgotten": lambda m, n, ranks: np.sum(ranks),
        "largest-rank": lambda m, n, ranks: min(m, n, max(ranks)),
        "full-rank": lambda m, n, ranks: min(m, n),
        "kind": lambda m, n, ranks: float(min(m, n, sum(ranks))),
    },
    "truncate": {
        "transpose": lambda M, r: cut(M, r).T,
        "one-too-few": lambda M, r: cut(M, r - 1),
        "the-rest": lambda M, r: M - cut(M, r),
        "sometimes-right": lambda M, r: cut(M, 3),
        "shape": lambda M, r: cut(M, r)[:r],
    },
    "tail": {
        "squared": lambda s, r: s[r:] @ s[r:],
        "spectral": lambda s, r: s[r],
        "summed": lambda s, r: sum(s[r:]),
        "one-less-cut": lambda s, r: np.linalg.norm(s[r + 1 :]),
        "changed-input": sorted_in_place,
        "kind": lambda s, r: s[r:],
    },
    "forward": {
        "scaling-forgotten": lambda x, W0, A, B, alpha: x @ W0.T + x @ A.T @ B.T,
        "A-after-B": lambda x, W0, A, B, alpha: x @ W0.T + s_of(A, alpha) * x @ B @ A,
        "columns": lambda x, W0, A, B, alpha: W0 @ x + s_of(A, alpha) * B @ A @ x,
        "base-forgotten": lambda x, W0, A, B, alpha: s_of(A, alpha) * x @ A.T @ B.T,
        "transpose": lambda x, W0, A, B, alpha: (W0 + s_of(A, alpha) * B @ A) @ x.T,
        "batch-of-one": lambda x, W0, A, B, alpha: (
            x @ W0.T + s_of(A, alpha) * x.mean(axis=0) @ A.T @ B.T
        ),
        "precision": lambda x, W0, A, B, alpha: (
            x.astype(np.float32) @ (W0 + s_of(A, alpha) * B @ A).astype(np.float32).T
        ),
    },
    "delta-w": {
        "A-B": lambda A, B, alpha: A @ B,
        "over-alpha/r": lambda A, B, alpha: B @ A,
        "times-r": lambda A, B, alpha: alpha * B @ A,
        "transpose": lambda A, B, alpha: s_of(A, alpha) * A.T @ B.T,
        "times-alpha/r": lambda A, B, alpha: s_of(A, alpha) ** 2 * B @ A,
        "sign": lambda A, B, alpha: -s_of(A, alpha) * B @ A,
        "entrywise": lambda A, B, alpha: s_of(A, alpha) * B * A,
        "raises": lambda A, B, alpha: s_of(A, alpha) * np.dot(B, A.T),
    },
    "merge": {
        "scaling-forgotten": lambda W0, A, B, alpha: W0 + B @ A,
        "merged-twice": lambda W0, A, B, alpha: W0 + 2 * s_of(A, alpha) * B @ A,
        "subtracted": lambda W0, A, B, alpha: W0 - s_of(A, alpha) * B @ A,
        "A-B": lambda W0, A, B, alpha: W0 + A @ B,
        "changed-input": lambda W0, A, B, alpha: np.add(W0, s_of(A, alpha) * B @ A, out=W0),
    },
    "grad-A": {
        "over-alpha/r": lambda g, x, A, B, alpha: B.T @ g.T @ x,
        "transpose": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[0].T,
        "mean-over-rows": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[0] / len(g),
        "B-transposed": lambda g, x, A, B, alpha: s_of(A, alpha) * (g @ B.T).T @ x,
        "rows-summed-first": lambda g, x, A, B, alpha: (
            s_of(A, alpha) * np.outer(B.T @ g.sum(0), x.sum(0))
        ),
        "sign": lambda g, x, A, B, alpha: -grads_of(g, x, A, B, alpha)[0],
    },
    "grad-B": {
        "times-r": lambda g, x, A, B, alpha: alpha * g.T @ x @ A.T,
        "transpose": lambda g, x, A, B, alpha: s_of(A, alpha) * A @ x.T @ g,
        "A-forgotten": lambda g, x, A, B, alpha: s_of(A, alpha) * g.T @ x,
        "through-B": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[0],
        "mean-over-rows": lambda g, x, A, B, alpha: grads_of(g, x, A, B, alpha)[1] / len(x),
    },
    "grad-x": {
        "adapter-path-missing": lambda g, W0, A, B, alpha: g @ W0,
        "base-path-missing": lambda g, W0, A, B, alpha: s_of(A, alpha) * g @ B @ A,
        "W0-transposed": lambda g, W0, A, B, alpha: g @ W0.T + s_of(A, alpha) * g @ B @ A,
        "scaling-forgotten": lambda g, W0, A, B, alpha: g @ (W0 + B @ A),
        "transpose": lambda g, W0, A, B, alpha: (W0 + s_of(A, alpha) * B @ A).T @ g.T,
    },
    "start": {
        "both-zero": lambda m, n, r, rng: (np.zeros((r, n)), np.zeros((m, r))),
        "both-random": lambda m, n, r, rng: (
            rng.normal(0, 0.02, (r, n)),
            rng.normal(0, 0.02, (m, r)),
        ),
        "order": lambda m, n, r, rng: start_right(m, n, r, rng)[::-1],
        "variance": lambda m, n, r, rng: (rng.normal(0, sqrt(0.02), (r, n)), np.zeros((m, r))),
        "kind": lambda m, n, r, rng: rng.normal(0, 0.02, (r, n)),
        "not-repeatable": lambda m, n, r, rng: (
            np.random.default_rng().normal(0, 0.02, (r, n)),
            np.zeros((m, r)),
        ),
        "value": lambda m, n, r, rng: (
            np.random.default_rng(7).normal(0, 0.02, (r, n)),
            np.zeros((m, r)),
        ),
        "seed-0": lambda m, n, r, rng: start_right(m, n, r, np.random.default_rng(0)),
        "equal-rows": lambda m, n, r, rng: (
            np.vstack([rng.normal(0, 0.02, (1, n))] * r),
            np.zeros((m, r)),
        ),
        "one-number": lambda m, n, r, rng: (
            np.ones((r, n)) * rng.normal(0, 0.02),
            np.zeros((m, r)),
        ),
        "deviation-squared": lambda m, n, r, rng: (
            0.02**2 * rng.standard_normal((r, n)),
            np.zeros((m, r)),
        ),
        "uniform": lambda m, n, r, rng: (
            0.04 * rng.random((r, n)) - 0.02,
            np.zeros((m, r)),
        ),
        "A-transposed": lambda m, n, r, rng: (rng.normal(0, 0.02, (n, r)), np.zeros((m, r))),
        "both-transposed": lambda m, n, r, rng: (rng.normal(0, 0.02, (n, r)), np.zeros((r, m))),
    },
    "scaling": {
        "never-stabilized": lambda alpha, r, stabilized: alpha / r,
        "always-stabilized": lambda alpha, r, stabilized: alpha / sqrt(r),
        "alpha-alone": lambda alpha, r, stabilized: alpha,
        "whole-division": lambda alpha, r, stabilized: alpha // (r**0.5 if stabilized else r),
        "cases-exchanged": lambda alpha, r, stabilized: alpha / (r if stabilized else r**0.5),
        "power-before-division": lambda alpha, r, stabilized: (
            alpha / r**1 / 2 if stabilized else alpha / r
        ),
        "half-of-r": lambda alpha, r, stabilized: alpha / (r**1 / 2) if stabilized else alpha / r,
        "square-for-root": lambda alpha, r, stabilized: alpha / (r**2 if stabilized else r),
    },
    "compensating-rates": {
        "exchanged": lambda a, u, v, p, q, o: compensated(a, u, v, q, p, o),
        "alpha-multiplied": lambda a, u, v, p, q, o: (
            a * p * q,
            *compensated(a, u, v, p, q, o)[1:],
        ),
        "rates-not-squared": lambda a, u, v, p, q, o: compensated(a, u, v, p, q, "Adam"),
        "rates-squared": lambda a, u, v, p, q, o: compensated(a, u, v, p, q, "SGD"),
        "undone": lambda a, u, v, p, q, o: compensated(a, u, v, 1 / p, 1 / q, o),
        "rates-kept": lambda a, u, v, p, q, o: (a / p / q, u, v),
        "kind": lambda a, u, v, p, q, o: list(compensated(a, u, v, p, q, o)),
        "value": lambda a, u, v, p, q, o: (a / p / q, u * p**2, v * q),
        "sometimes-right": lambda a, u, v, p, q, o: (*compensated(a, u, v, p, q, o)[:2], v * q),
    },
    "step": {
        "lr-forgotten": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, alpha, 1),
        "not-moved": lambda g, x, A, B, alpha, lr: (A, B),
        "changed-input": step_in_place,
        "A-moved-first": step_A_first,
        "uphill": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, alpha, -lr),
        "gradients-returned": lambda g, x, A, B, alpha, lr: grads_of(g, x, A, B, alpha),
        "scaling-forgotten": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, len(A), lr),
        "kind": lambda g, x, A, B, alpha, lr: list(step_right(g, x, A, B, alpha, lr)),
    },
    "adapter": {
        "residual-forgotten": lambda x, *rest: adapter_right(x, *rest) - x,
        "no-activation": lambda x, W_down, b_down, W_up, b_up: (
            x + (x @ W_down.T + b_down) @ W_up.T + b_up
        ),
        "biases-forgotten": lambda x, W_down, b_down, W_up, b_up: adapter_right(
            x, W_down, 0, W_up, 0
        ),
        "shape-transposed": lambda x, W_down, b_down, W_up, b_up: (
            x.T + W_up @ np.maximum(W_down @ x.T, 0)
        ),
    },
    "dora": {
        "columns": dora_by(0),
        "one-norm": lambda W0, A, B, alpha, m: (
            m[:, None] * (W0 + s_of(A, alpha) * B @ A) / np.linalg.norm(W0 + s_of(A, alpha) * B @ A)
        ),
        "norm-of-W0": lambda W0, A, B, alpha, m: (
            (W0 + s_of(A, alpha) * B @ A) * (m / np.linalg.norm(W0, axis=1))[:, None]
        ),
        "scaling-forgotten": lambda W0, A, B, alpha, m: dora_by(1)(W0, A, B, len(A), m),
        "direction-alone": lambda W0, A, B, alpha, m: dora_by(1)(W0, A, B, alpha, m**0),
    },
    "mixed-batch": {
        "all-tasks": lambda x, task, W0, A, B, scaling: (
            x @ W0.T + sum(s * x @ a.T @ b.T for s, a, b in zip(scaling, A, B, strict=True))
        ),
        "first-row's-task": lambda x, task, W0, A, B, scaling: (
            x @ W0.T + scaling[task[0]] * x @ A[task[0]].T @ B[task[0]].T
        ),
        "scaling-forgotten": lambda x, task, W0, A, B, scaling: mixed_batch_right(
            x, task, W0, A, B, [1, 1, 1]
        ),
        "changed-input": lambda x, task, W0, A, B, scaling: (
            scaling.sort(),
            mixed_batch_right(x, task, W0, A, B, scaling),
        )[1],
    },
    "combine": {
        "factors-added": lambda A, B, w: (added(w, A), added(w, B)),
        "B-alone-weighted": lambda A, B, w: (sum(A), added(w, B)),
        "factors-averaged": lambda A, B, w: (sum(A) / len(A), added(w, B)),
        "weights-forgotten": lambda A, B, w: (np.vstack(A), np.hstack(B)),
        "kind": lambda A, B, w: added(w, [b @ a for a, b in zip(A, B, strict=True)]),
        "sometimes-right": lambda A, B, w: (
            np.vstack(A[:2]),
            np.hstack([w[0] * B[0], w[1] * B[1]]),
        ),
        "weights-twice": lambda A, B, w: (
            np.vstack([v * a for v, a in zip(w, A, strict=True)]),
            combine_right(A, B, w)[1],
        ),
    },
    "nf4-codes": {
        "absmax-forgotten": lambda block, levels: np.searchsorted(
            (levels[1:] + levels[:-1]) / 2, block
        ),
        "next-level-up": lambda block, levels: np.searchsorted(levels, block / max(abs(block))),
        "levels-returned": lambda block, levels: levels[codes_right(block, levels)],
        "largest-not-absolute": lambda block, levels: np.searchsorted(
            (levels[1:] + levels[:-1]) / 2, block / block.max()
        ),
        "kind": lambda block, levels: list(codes_right(block, levels)),
    },
    "bits-per-weight": {
        "constants-forgotten": lambda bits, block_size: bits,
        "bytes-for-bits": lambda bits, block_size: bits + 4 / block_size,
        "constant-each": lambda bits, block_size: bits + 32,
        "value": lambda bits, block_size: bits + 16 / block_size,
    },
    "count": {
        "2-d-r-of-the-input": lambda shapes, r: sum(2 * r * n for m, n in shapes),
        "full": lambda shapes, r: sum(m * n for m, n in shapes),
        "A-alone": lambda shapes, r: sum(r * n for m, n in shapes),
        "dimension": lambda shapes, r: sum(r * (m + n - r) for m, n in shapes),
        "over-r": lambda shapes, r: sum(m + n for m, n in shapes),
    },
    "break-even": {
        "as-many-is-fewer": lambda m, n: m * n // (m + n),
        "full-rank": lambda m, n: min(m, n),
        "half-the-input": lambda m, n: n // 2,
        "kind": lambda m, n: m * n / (m + n),
    },
    "training-bytes": {
        "all-trained": lambda frozen, trained: (frozen + trained) * 4 * 4,
        "frozen-forgotten": lambda frozen, trained: 4 * 4 * trained,
        "one-of-four": lambda frozen, trained: 4 * (frozen + 3 * trained),
        "numbers-for-bytes": lambda frozen, trained: frozen + 4 * trained,
        "times-2": lambda frozen, trained: 8 * frozen + 32 * trained,
    },
    "agrees": {
        "0.005-always": lambda printed, value: abs(Fraction(printed) - value) <= Fraction(5, 1000),
        "exactly-equal": lambda printed, value: Fraction(printed) == value,
        "ends-excluded": lambda printed, value: (
            2 * abs(Fraction(printed) - value) < Fraction(1, 10 ** len(printed.partition(".")[2]))
        ),
        "in-floats": lambda printed, value: (
            abs(float(printed) - float(value)) <= 0.5 * 10 ** -len(printed.partition(".")[2])
        ),
        "raises": lambda printed, value: (
            2 * abs(Fraction(printed) - value) <= Fraction(1, 10 ** len(printed.split(".")[1]))
        ),
        "kind": lambda printed, value: "yes",
    },
}


def test_there_are_at_least_fifteen_and_each_notebook_has_one():
    assert len(EXERCISES) >= 15
    assert sorted({one.notebook for one in EXERCISES.values()}) == NOTEBOOKS
    assert list(EXERCISES) == sorted(EXERCISES, key=lambda id: EXERCISES[id].notebook)


def test_each_has_a_right_answer_and_at_least_three_wrong_ones_here():
    assert set(RIGHT_ANSWERS) == set(WRONG_ANSWERS) == set(EXERCISES)
    assert all(len(wrong) >= 3 for wrong in WRONG_ANSWERS.values())


@pytest.mark.parametrize("id", EXERCISES)
def test_a_right_answer_is_right_whatever_is_drawn(id):
    for seed in range(5):
        said = check(id, RIGHT_ANSWERS[id], seed=seed)
        assert said, said
        assert said.result == RIGHT


@pytest.mark.parametrize("id", EXERCISES)
def test_wrong_answers_are_told_apart_by_name(id):
    for name, answer in WRONG_ANSWERS[id].items():
        said = check(id, answer)
        assert said.result == name, said
        assert not said
        assert str(said).startswith(f"{id}: ")


@pytest.mark.parametrize("id", EXERCISES)
def test_each_known_wrong_answer_is_recognised_and_no_two_are_taken_for_each_other(id):
    one = exercise(id)
    assert len(one.wrong_answers) >= 2
    for seed in range(2):
        for name, wrong in one.wrong_answers.items():
            said = check(id, wrong.answer, seed=seed)
            assert said.result == name, (name, said)
            assert said.message == wrong.message


@pytest.mark.parametrize("id", EXERCISES)
def test_sizes_are_drawn_and_no_matrix_is_square(id):
    one = exercise(id)
    made = attempts(one, one.spec, 0)
    assert len({str(attempt.arguments) for attempt in made}) > 2
    matrices = [
        part
        for attempt in made
        for value in attempt.arguments.values()
        for part in (value if isinstance(value, list) else [value])
        if isinstance(part, np.ndarray) and part.ndim == 2
    ]
    assert all(M.shape[0] != M.shape[1] for M in matrices)
    assert {attempt.n for attempt in made} >= {1, 3}


@pytest.mark.parametrize("id", EXERCISES)
def test_the_task_the_stub_and_the_loops_are_shown_and_the_stub_is_not_attempted(id):
    text, one = show(id), exercise(id)
    assert text.startswith(f"{id}: {one.title}\n\n{one.task}\n")
    assert one.question in text.replace("\n", " ")
    assert "\n\nIn plain loops:\n\ndef spec(" in text
    assert "WrongAnswer" not in text
    names: dict[str, object] = {}
    exec(one.stub(), names)
    said = check(id, names[one.function])
    assert said.result == NOT_ATTEMPTED
    assert repr(said) == f"{id}: not attempted yet."


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_order_and_the_dtype_of_a_draw_do_not_matter(dtype):
    def answer(*arguments):
        A, B = start_by_columns(*arguments)
        return A.astype(dtype), B.astype(dtype)

    assert check("start", answer)


def test_what_compensates_makes_the_same_training():
    """The exercise's right answer, on a training with Adam and one with gradient descent."""
    rng = np.random.default_rng(0)
    W0, x, y = (rng.standard_normal(shape) for shape in ((5, 7), (6, 7), (6, 5)))
    A, B, p, q = rng.standard_normal((2, 7)), np.zeros((5, 2)), 3.0, 0.7
    for name, kind in (("Adam", partial(AdamW, weight_decay=0, epsilon=1e-30)), ("SGD", SGD)):
        ends = []
        for a, b, (alpha, u, v) in (
            (A, B, (4, 0.01, 0.02)),
            (p * A, q * B, compensated(4, 0.01, 0.02, p, q, name)),
        ):
            network, _ = train(
                Network({"layer": LoRALinear(W0, a, b, alpha)}), x, y,
                optimizer=kind(1.0, lr_ratio={"A": u, "B": v}), steps=20, batch=6,
                rng=np.random.default_rng(1),
                loss=Loss(mean_squared_error, mean_squared_error_backward),
            )  # fmt: skip
            ends.append(network["layer"].delta_w)
        np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)


def test_a_B_that_is_nearly_zero_is_no_matter_of_digits():
    said = check("start", lambda m, n, r, rng: (rng.normal(0, 0.02, (r, n)), np.full((m, r), 1e-9)))
    assert said.result == "value"
    assert "you have 1e-09, the specification 0" in said.message


@pytest.mark.parametrize("id", EXERCISES)
def test_a_copy_of_the_loops_is_recognised_under_another_name(id):
    source = show(id).partition("In plain loops:\n\n")[2].replace("def spec(", "def mine(")
    names = {"Array": object, "Any": object, "Fraction": Fraction, "np": np}
    names |= {"Shapes": list, "numerical_rank": np.linalg.matrix_rank}
    exec(source + "  # a remark\n", names)
    said = check(id, names["mine"])
    assert said.result == "the-specification", said


def test_another_pair_with_the_same_product_is_right_too():
    assert check("combine", combine_otherwise)


def test_an_error_is_that_of_a_known_wrong_answer_only_if_it_would_do_the_same_on_square_matrices():
    def untransposed(x, W0, A, B, alpha):
        return x @ (W0 + alpha / len(A) * B @ A)

    def otherwise(grad_y, W0, A, B, alpha):
        return grad_y @ W0 + alpha / len(A) * (grad_y @ A.T @ B.T)

    assert check("forward", untransposed).result == "raises"
    assert check("grad-x", otherwise).result == "raises"


def test_what_is_right_on_square_matrices_alone_is_told_so():
    def widths_swapped(W0, A, B, alpha):
        W = np.zeros(W0.shape[::-1])
        W += W0 + alpha / len(A) * B @ A
        return W

    said = check("merge", widths_swapped)
    assert said.result == "square-only"
    assert "Where all sides are equal, it would be right" in said.message


def test_a_pair_that_saves_nothing_is_refused():
    def whole(A, B, weights):
        return sum(w * b @ a for w, a, b in zip(weights, A, B, strict=True)), np.eye(len(B[0]))

    said = check("combine", whole)
    assert said.result == "kind"
    assert "nothing is saved" in said.message


def test_roots_of_weights_are_no_way_to_share_them():
    def rooted(A, B, weights):
        roots = np.sqrt(weights)
        return (
            np.vstack([w * a for w, a in zip(roots, A, strict=True)]),
            np.hstack([w * b for w, b in zip(roots, B, strict=True)]),
        )

    assert check("combine", rooted).result == "not-finite", "a weight may be negative"


# ---------------------------------------------------------------------- whatever a student hands in


def keyword_only(A: int, B: int = 3, *, alpha: int = 2) -> int:
    return A


def later(*arguments):
    raise NotImplementedError("later")


def counts_calls(*arguments, calls=[]):  # noqa: B006  state between calls is the point
    calls.append(1)
    right = RIGHT_ANSWERS["delta-w"](*arguments)
    return right if len(calls) <= 7 else right + 1


def leaves(*arguments):
    raise SystemExit("leaving")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def mute(*arguments):
    raise Mute


def deep(*arguments):
    return deep(*arguments)


def sometimes_nothing(A, B, alpha):
    return B @ A * alpha / len(A) if len(A) < 4 else None


GENERIC = {
    "not attempted": (later, "not-attempted", "not attempted yet"),
    "three dots": (lambda A, B, alpha: ..., "not-attempted", "not attempted yet"),
    "no function": (3, "no-function", "this is an int, expected the function itself"),
    "other arguments": (lambda A, B: A, "signature", r"takes \(A, B\), .* called with \(A, B, al"),
    "names that are asked for": (
        keyword_only, "signature",
        r"takes \(A, B, \*, alpha\), and is called with \(A, B, alpha\) in order",
    ),
    "an error": (lambda A, B, alpha: A[99], "raises", "IndexError: .* with A "),
    "a way out": (leaves, "raises", "SystemExit: leaving"),
    "an error without a text": (mute, "raises", "it raises Mute, with"),
    "no end": (deep, "raises", "RecursionError"),
    "a list": (lambda A, B, alpha: (B @ A).tolist(), "kind", "returns a list, expected an array"),
    "a matrix": (lambda A, B, alpha: np.asmatrix(B @ A), "kind", "returns a matrix, expected an"),
    "objects": (lambda A, B, alpha: (B @ A).astype(object), "kind", "dtype object"),
    "complex": (lambda A, B, alpha: (B @ A).astype(complex), "kind", "dtype complex128"),
    "an infinity": (lambda A, B, alpha: B @ A / 0, "not-finite", r"it gives -?inf at \(0, 0\)"),
    "one number": (lambda A, B, alpha: np.sum(B @ A), "kind", "a float64, expected an array"),
    "one column": (
        lambda A, B, alpha: (B @ A)[:, :1], "shape", r"shape \(\d+, 1\), .* Nothing is broadcast",
    ),
    "a constant factor": (
        lambda A, B, alpha: 0.37 * alpha / len(A) * B @ A, "factor", "yours is 0.37 times as large",
    ),
    "a factor that varies": (
        lambda A, B, alpha: A[0, 0] * B @ A, "factor-varies", "differs from one input to the next",
    ),
    "something else": (
        lambda A, B, alpha: B @ A + 1, "value", r"at \(\d+, \d+\) you have .*, the specification",
    ),
    "nothing at times": (sometimes_nothing, "returns-nothing", "a return is missing"),
    "another answer each time": (counts_calls, "not-repeatable", "when called again with the same"),
}  # fmt: skip


@pytest.mark.parametrize("case", GENERIC)
def test_whatever_a_function_does_a_sentence_says_it(case):
    function, result, says = GENERIC[case]
    said = check("delta-w", function)
    assert said.result == result, said
    assert re.search(says, said.message), said


def test_warnings_of_a_student_are_not_ours():
    def warns(A, B, alpha):
        return np.log(-np.abs(B @ A))

    assert check("delta-w", warns).result == "not-finite"


def test_a_function_gets_copies_that_it_cannot_spoil():
    kept = []

    def keeps(A, B, alpha):
        kept.append(A)
        right = alpha / len(A) * B @ A
        A[:] = 0
        return right

    assert check("delta-w", keeps).result == "changed-input"
    assert check("delta-w", RIGHT_ANSWERS["delta-w"]), "the next check draws its own"


def test_a_bool_of_numpy_is_a_bool():
    right = RIGHT_ANSWERS["agrees"]
    assert check("agrees", lambda printed, value: np.bool(right(printed, value)))
    said = check("agrees", lambda printed, value: np.bool(not right(printed, value)))
    assert said.result == "value"
    assert "you have False, the specification True" in said.message


@pytest.mark.parametrize(
    ("id", "as_handed_in"),
    [
        ("nf4-codes", lambda codes: codes.astype(np.uint8)),
        ("agrees", lambda yes: np.array(yes)),
        ("count", lambda number: np.array(number, np.uint64)),
        ("tail", lambda number: np.array(number)),
    ],
)
def test_a_right_answer_may_have_any_type_of_its_kind(id, as_handed_in):
    assert check(id, lambda *arguments: as_handed_in(RIGHT_ANSWERS[id](*arguments)))


def into_a_list(shapes, r):
    for k in range(len(shapes)):
        shapes[k] = r * sum(shapes[k])
    return sum(shapes)


def into_arrays(A, B, weights):
    for t in range(len(weights)):
        weights[t] = weights[t] * B[t]
    return np.vstack(A), np.hstack(weights)


@pytest.mark.parametrize(("id", "answer"), [("count", into_a_list), ("combine", into_arrays)])
def test_a_list_that_is_written_to_is_a_changed_input(id, answer):
    assert check(id, answer).result == "changed-input"


@pytest.mark.parametrize("id", ["count", "break-even", "tail", "bits-per-weight"])
def test_a_number_of_any_size_is_no_crash(id):
    said = check(id, lambda *arguments: 10**400)
    assert said.result == "kind"
    assert "a whole number of 1329 bits" in said.message


@pytest.mark.parametrize("error", [GeneratorExit, CancelledError, BaseException])
def test_whatever_is_raised_is_the_student_s(error):
    def answer(s, r):
        raise error

    assert check("tail", answer).result == "raises"


def test_an_interruption_passes():
    def answer(s, r):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("tail", answer)


class NoSignature:
    @property
    def __signature__(self):
        raise RuntimeError

    def __call__(self, A, B, alpha):
        return alpha / len(A) * B @ A


def test_a_callable_that_cannot_say_what_it_takes_is_called():
    assert check("delta-w", NoSignature())


def test_an_answer_without_a_return_is_attempted():
    def answer(s, r):
        float(np.linalg.norm(s[r:]))

    said = check("tail", answer)
    assert said.result == "returns-nothing"
    assert said.message.startswith("it returns nothing, with ")
    said = check("scaling", lambda alpha, r, stabilized: None if stabilized else alpha / r)
    assert said.result == "returns-nothing"
    assert "for 4 of 7 inputs" in said.message


def begun(A, B, alpha):
    B @ A


def loops(A, B, alpha):
    for _ in A:
        pass


def only_a_text(A, B, alpha):
    """Return the update."""


BEGUN = {
    "a product": (begun, True),
    "a loop": (loops, True),
    "a call": (lambda A, B, alpha: print(end=""), True),
    "a product through a partial": (partial(begun), True),
    "an error through a partial": (partial(later), False),
    "a text through a partial": (partial(only_a_text), False),
    "a text": (only_a_text, False),
}


@pytest.mark.parametrize("case", BEGUN)
def test_what_was_begun_is_told_from_what_was_not_whatever_python_makes_of_it(case):
    answer, was_begun = BEGUN[case]
    assert check("delta-w", answer).result == ("returns-nothing" if was_begun else NOT_ATTEMPTED)


def test_the_settings_of_a_student_do_not_reach_the_specification():
    def untransposed(M, r):
        U, s, V = np.linalg.svd(M)
        return U @ np.diag(s) @ V

    with np.errstate(all="raise"):
        for seed in range(6):
            assert check("truncate", untransposed, seed=seed).result == "raises"


def test_what_is_wrong_elsewhere_is_not_laid_to_the_batch():
    def bias_behind(x, W_down, b_down, W_up, b_up):
        return x + (np.maximum(x @ W_down.T, 0) + b_down) @ W_up.T + b_up

    def absolute(x, W_down, b_down, W_up, b_up):
        return x + np.abs(x @ W_down.T + b_down) @ W_up.T + b_up

    for seed in range(10):
        for answer in (bias_behind, absolute):
            assert check("adapter", answer, seed=seed).result in ("value", "sometimes-right")


def test_what_is_kept_by_shape_is_noticed():
    kept = {}

    def answer(A, B, alpha):
        if A.shape not in kept:
            kept[A.shape] = alpha / len(A) * B @ A
        return kept[A.shape]

    assert check("delta-w", answer).result in ("not-repeatable", "sometimes-right", "shape")


def test_a_difference_without_its_absolute_value_is_wrong_both_ways():
    def half(printed):
        return Fraction(1, 2 * 10 ** len(printed.partition(".")[2]))

    for seed in range(5):
        for sign in (1, -1):
            said = check(
                "agrees",
                lambda p, v, sign=sign: sign * (v - Fraction(p)) <= half(p),
                seed=seed,
            )
            assert said.result == "sometimes-right"


EXACT_BUT_WRONG = {  # h is half a unit, u a whole one
    "half-even": lambda p, v, u: round(v, len(p.partition(".")[2])) == Fraction(p),
    "right end out": lambda p, v, u: -u / 2 <= v - Fraction(p) < u / 2,
    "left end out": lambda p, v, u: -u / 2 < v - Fraction(p) <= u / 2,
    "all characters": lambda p, v, u: abs(Fraction(p) - v) <= Fraction(1, 2 * 10 ** len(p)),
    "a digit more": lambda p, v, u: abs(Fraction(p) - v) <= u / 20,
    "a thousandth": lambda p, v, u: abs(Fraction(p) - v) <= Fraction(1, 1000),
    "a hundredth": lambda p, v, u: abs(Fraction(p) - v) <= Fraction(1, 100),
    "of the number": lambda p, v, u: abs(Fraction(p) - v) < Fraction(p) / 1000,
    "0.6 units": lambda p, v, u: abs(Fraction(p) - v) <= 3 * u / 5,
    "no signs": lambda p, v, u: abs(abs(Fraction(p)) - abs(v)) <= u / 2,
    "no sign of the value": lambda p, v, u: abs(Fraction(p) - abs(v)) <= u / 2,
    "no minus": lambda p, v, u: abs(Fraction(p.lstrip("-")) - v) <= u / 2,
    "half a float": lambda p, v, u: abs(Fraction(p) - v) <= Fraction(float(u) / 2),
}


@pytest.mark.parametrize("case", EXACT_BUT_WRONG)
def test_another_rule_of_agreement_is_not_taken_for_one_that_is_known(case):
    def answer(printed, value):
        unit = Fraction(1, 10 ** len(printed.partition(".")[2]))
        return EXACT_BUT_WRONG[case](printed, value, unit)

    for seed in range(10):
        assert check("agrees", answer, seed=seed).result == "sometimes-right"


def test_a_rule_patched_for_one_square_is_wrong_for_others():
    def answer(m, n):
        return m * n // (m + n) - (m == n)

    for seed in range(10):
        assert check("break-even", answer, seed=seed).result == "sometimes-right"


@pytest.mark.parametrize(
    ("id", "value"),
    [
        ("count", np.timedelta64(3, "D")),
        ("tail", np.datetime64("2020-01-01")),
        ("tail", np.array(2.5, object)),
        ("tail", Fraction(5, 2)),
        ("combine", (np.array([["a"]]), np.array([["b"]]))),
        ("combine", (np.empty((1, 3), object), np.empty((3, 1), object))),
        ("delta-w", np.broadcast_to(1.0, (10**6, 10**6))),
        ("delta-w", type("", (), {})()),
        ("delta-w", np.zeros((2, 2), [("a", float)])),
    ],
)
def test_odd_values_are_answered_with_a_sentence(id, value):
    assert check(id, lambda *arguments: value).result in ("kind", "shape")


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_numbers_that_overflow_are_no_crash_under_any_settings(size):
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not check("delta-w", lambda A, B, alpha: alpha / len(A) * B @ A * size)


def test_what_should_be_zero_has_to_be_zero():
    said = check(
        "start", lambda m, n, r, rng: (rng.normal(0, 0.02, (r, n)), np.full((m, r), 1e-12))
    )
    assert said.result == "value"


def test_a_transpose_is_one_in_every_draw():
    for seed in range(10):
        assert check("truncate", lambda M, r: cut(M, 3).T, seed=seed).result == "shape-transposed"


def test_right_on_square_matrices_is_said_of_what_is_right_in_all_of_them():
    def untransposed(x, W_down, b_down, W_up, b_up):
        return x + np.maximum(x @ W_down + b_down, 0) @ W_up + b_up

    for seed in range(20):
        assert check("adapter", untransposed, seed=seed).result == "raises"


def test_a_product_that_is_compared_is_called_by_its_name():
    said = check("combine", lambda A, B, w: (np.vstack(A), -np.hstack(B)))
    assert "B A: " in said.message


def test_the_loops_have_no_names_that_a_student_has_not():
    for one in EXERCISES.values():
        assert not re.search(r"Array|Any|numerical_rank| -> ", one.loops), one.id


def test_two_shapes_that_do_not_meet_are_said_in_words():
    said = check("delta-w", lambda A, B, alpha: A @ A)
    assert re.search(r"in a product \(@\), \d+ columns meet \d+ rows", said.message)


def test_what_comes_out_the_second_time_may_be_anything():
    answers = iter([None, "two", [1.0], (1.0, 2.0)] * 9)

    def turns(s, r, calls=[]):  # noqa: B006
        calls.append(1)
        return 1.0 if len(calls) % 8 else next(answers)

    for _ in range(4):
        assert check("tail", turns).result == "not-repeatable"


def test_other_seeds_draw_other_sizes():
    one = exercise("delta-w")
    shapes = {
        tuple(attempt.parts[0].expected.shape for attempt in attempts(one, one.spec, seed))
        for seed in range(5)
    }
    assert len(shapes) == 5


def test_an_unknown_exercise_is_named_with_the_nearest():
    with pytest.raises(LoraRefError, match="there is no exercise 'grad-a'; the nearest: grad-A"):
        check("grad-a", later)
    with pytest.raises(LoraRefError, match="there are: rank-bound, "):
        show("")
    with pytest.raises(LoraRefError, match="seed in check is 'x'"):
        check("grad-A", RIGHT_ANSWERS["grad-A"], seed="x")


# ---------------------------------------------------------------------- the page for teachers


def test_the_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "exercises.md"
    assert page.read_text(encoding="utf-8") == as_markdown(tuple(EXERCISES.values())), "make docs"


def test_the_page_names_every_result_that_occurs_here():
    known = {name for names in RESULTS for name in names.split(", ")}
    seen = {result for _, result, _ in GENERIC.values()}
    for id, wrong in WRONG_ANSWERS.items():
        seen |= set(wrong) - set(exercise(id).wrong_answers)
    assert {name for name in seen - known if not name.startswith(("times-", "over-"))} == set()
