"""The exercises: right answers, wrong ones, and that the checker tells them apart by name.

Here are the right answers, out of a student's sight. The wrong ones are written as students write
them, not taken from the exercises' own lists.
"""

import inspect
import re
import warnings
from asyncio import CancelledError
from fractions import Fraction
from functools import cache, partial
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import pytest
from cases import each
from exercises_page import RESULTS, as_markdown

from lora_ref.errors import LoraRefError
from lora_ref.exercises import (
    EXERCISES,
    attempt,
    check,
    diagnostics,
    exercise,
    hint,
    one_change,
    show,
)
from lora_ref.exercises.attempt import attempts
from lora_ref.exercises.exercise import LOOPS
from lora_ref.exercises.feedback import NOT_ATTEMPTED, RIGHT
from lora_ref.exercises.restrictions import used
from lora_ref.layers import LoRALinear
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.quantize import nf4_levels
from lora_ref.training import SGD, AdamW, Loss, Network, train
from tests.fixtures.how_many_seeds import seeds

NOTEBOOKS = [f"{number:02d}" for number in range(1, 14)]


@pytest.fixture(autouse=True, scope="module")
def all_is_kept():
    """Many tests ask for the same of every exercise: together more than the package keeps."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (attempt, "_cases"),
            (diagnostics, "_of_a_wrong_answer"),
            (one_change, "_varied"),
        ):
            patch.setattr(module, name, cache(getattr(module, name).__wrapped__))
        yield


def svd_cut(M, r):
    U, s, Vh = np.linalg.svd(M, full_matrices=False)
    return U[:, :r] * s[:r] @ Vh[:r]


cut = partial(svd_cut)  # what a partial calls is not looked into for what a task rules out


def of_columns(answer):
    return lambda M, u, r: answer(M, np.column_stack(u), r)


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


def after_steps(A, G, s, lr, steps=2, A_moves=True):
    """Return B A, B and A after steps from B = 0 with one G."""
    B = -lr * s * G @ A.T  # A stays in the first step
    if steps == 2:
        A, B = A - A_moves * lr * s * B.T @ G, B - lr * s * G @ A.T
    return B @ A, B, A


def steps_in_place(A, G, s, lr):
    B = -lr * s * G @ A.T
    A -= lr * s * B.T @ G
    return 2 * s * B @ A


def steps_with_A_first(A, G, s, lr):
    B1 = -lr * s * G @ A.T
    A2 = A - lr * s * B1.T @ G
    return s * (B1 - lr * s * G @ A2.T) @ A2


def steps_in_turn(A, G, s, lr):
    B1 = -lr * s * G @ A.T
    A1 = A - lr * s * B1.T @ G
    B2 = B1 - lr * s * G @ A1.T
    return s * B2 @ (A1 - lr * s * B2.T @ G)


def back_of(g, A, B, alpha):
    return s_of(A, alpha) * g @ B @ A


def along_directions(
    names="xAB", rows=4, step=1.0, tolerance=1e-11, size=lambda slope: slope, **fixed
):
    """Return a gradient check along one random direction each, with some arguments made special."""

    def answer(forward, backward, m, n, r):
        rng = np.random.default_rng(5)
        shapes = {"x": (rows, n), "W0": (m, n), "A": (r, n), "B": (m, r), "g": (rows, m)}
        at = {name: rng.normal(size=shape) for name, shape in shapes.items()} | {"s": 0.3}
        at |= {name: value + 0 * at[name] for name, value in fixed.items()}
        g = at.pop("g")
        grads = backward(g, forward(**at)[1], **at)
        for name in names:
            D = rng.normal(size=shapes[name])
            ahead, behind = (
                np.sum(g * forward(**(at | {name: at[name] + way * D}))[0]) for way in (step, -step)
            )
            slope, expected = (ahead - behind) / (2 * step), np.sum(grads[name] * D)
            if abs(size(slope) - size(expected)) > tolerance * np.linalg.norm(grads[name]):
                return False
        return True

    return answer


def entry_alone(forward, backward, m, n, r):
    rng = np.random.default_rng(2)
    x, W0, A, B, g = (rng.normal(size=shape) for shape in ((2, n), (m, n), (r, n), (m, r), (2, m)))
    grads = backward(g, x @ A.T, x, W0, A, B, 3.0)
    for name, M in {"x": x, "A": A, "B": B}.items():
        M[0, 0] += 1
        ahead = np.sum(g * forward(x, W0, A, B, 3.0)[0])
        M[0, 0] -= 1
        slope = ahead - np.sum(g * forward(x, W0, A, B, 3.0)[0])
        if not np.isclose(slope, grads[name][0, 0], rtol=1e-9):
            return False
    return True


def root_of(x):
    values, V = np.linalg.eigh(x.T @ x / len(x))
    return V * np.sqrt(values) @ V.T


def full_update(x, y, W0):
    return np.linalg.lstsq(x, y - x @ W0.T, rcond=None)[0].T


def cut_as_seen_by(C, F, r):
    return cut(F @ C, r) @ np.linalg.inv(C)


def unit_rows(M):
    return M / np.sqrt(np.sum(M * M, axis=1))[:, None]


def extra(x, F, M):
    return np.mean((x @ (M - F).T) ** 2)


def adapter_right(x, W_down, b_down, W_up, b_up):
    return x + np.maximum(x @ W_down.T + b_down, 0) @ W_up.T + b_up


def dora_by(axis):
    def answer(W0, A, B, alpha, magnitude):
        V = W0 + s_of(A, alpha) * B @ A
        return magnitude[:, None] * V / np.linalg.norm(V, axis=axis, keepdims=True)

    return answer


def decided(better, worse, limit=2, ddof=1):
    d = better - worse
    error = d.std(axis=1, ddof=ddof) / sqrt(d.shape[1])
    return (d.mean(1) > limit * error).astype(int) - (d.mean(1) < -limit * error)


def entry_at(table, by):
    """Return the entry of each row of a table at the largest entry of that row of another."""
    return np.take_along_axis(table, np.argmax(by, axis=1, keepdims=True), axis=1)[:, 0]


def at_best_rate_right(validation, test):
    return entry_at(test.mean(-1), validation.sum(-1))


def mixed_batch_right(x, task, W0, A, B, scaling):
    y = x @ W0.T
    for t in {*task} - {-1}:
        rows = task == t
        y[rows] += scaling[t] * x[rows] @ A[t].T @ B[t].T
    return y


def combine_right(A, B, weights):
    return np.vstack(A), np.hstack([w * b for w, b in zip(weights, B, strict=True)])


def combine_otherwise(A, B, weights):  # another pair with the same product
    A, B = combine_right(A, B, weights)
    return 2 * A[::-1], B[:, ::-1] / 2


def best_of_two_right(A, B):
    U, sigma, Vh = np.linalg.svd(sum(map(np.matmul, B, A)), full_matrices=False)
    r = len(A[0])
    return sigma[:r, None] * Vh[:r], U[:, :r]


def added(weights, arrays):
    return sum(w * array for w, array in zip(weights, arrays, strict=True))


def codes_right(block, levels):
    edges = (levels[1:] + levels[:-1]) / 2
    return np.searchsorted(edges, block / np.abs(block).max())


def read_back(packed, absmax, shape):
    codes = np.array([packed // 16, packed % 16]).T.ravel()
    return (nf4_levels()[codes] * np.repeat(absmax, codes.size // absmax.size)).reshape(shape)


def qlora_grad_x_right(g, W0, packed, absmax, A, B, alpha):
    return g @ read_back(packed, absmax, W0.shape) + back_of(g, A, B, alpha)


def start_right(out_features, in_features, r, rng):
    bound = in_features**-0.5
    return rng.uniform(-bound, bound, (r, in_features)), np.zeros((out_features, r))


def start_by_columns(out_features, in_features, r, rng):
    draws = 2 * rng.random((in_features, r)).T - 1
    return draws / sqrt(in_features), np.zeros((out_features, r))


def start_within(bound):
    return lambda m, n, r, rng: (bound(m, n, r) * (2 * rng.random((r, n)) - 1), np.zeros((m, r)))


def compensated(alpha, lr_A, lr_B, p, q, optimizer):
    power = 2 if optimizer == "SGD" else 1
    return alpha / (p * q), lr_A * p**power, lr_B * q**power


def in_plain_lora(alpha, r, stabilized, size, lr_A, lr_B, new_size):
    p = new_size / size
    q = p * lr_A / lr_B  # so that the new rate of B is that of A
    s = alpha / (r**0.5 if stabilized else r)
    return s / (p * q) * r, p * lr_A


def squared_in_place(norm, s):
    s *= s
    return np.sqrt(norm**2 - s.sum())


def merged_right(W, A, B, alpha, C, D, c, off=1, on=1):
    return W - off * s_of(A, alpha) * B @ A + on * s_of(C, c) * D @ C


def merged_in_place(W, A, B, alpha, C, D, c):
    W -= s_of(A, alpha) * B @ A
    return W + s_of(C, c) * D @ C


def forward_right(x, W0, A, B, alpha, on):
    return x @ W0.T + s_of(A, alpha) * (on[:, None] * (x @ A.T)) @ B.T


def forward_without_rows(x, W0, A, B, alpha, on):
    return forward_right(x[on], W0, A, B, alpha, on[on])


def forward_by_a_where(x, W0, A, B, alpha, on):
    base = x @ W0.T
    return np.where(on[:, None], base, base + s_of(A, alpha) * (x @ A.T) @ B.T)


def attention_weights_of(scores, masked=-np.inf, k=0):
    n, m = scores.shape[1:]
    allowed = np.arange(m) <= np.arange(m - n, m)[:, None] + k
    return softmax(np.where(allowed, scores, masked))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_gradient_right(scores, temperature, allowed, g, axis=2, row_sum=1, back=None):
    P = softmax(np.where(allowed, scores / temperature, -np.inf))
    return P * (g - row_sum * np.sum(P * g, axis=axis, keepdims=True)) / (back or temperature)


def scale_right(q, k, g, divisor=None, back=None):
    heads, d = len(g), q.shape[1] // len(g)
    scores, grad_q = np.zeros(g.shape), np.zeros(q.shape)
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        scores[head] = q[:, part] @ k[:, part].T / (divisor or sqrt(d))
        grad_q[:, part] = g[head] @ k[:, part] / (back or divisor or sqrt(d))
    return scores, grad_q


def layer_norm_backward_right(g, x, gain, epsilon, ddof=0, terms=(1, 1)):
    sigma = np.sqrt(x.var(axis=1, ddof=ddof, keepdims=True) + epsilon)
    z, g = (x - x.mean(axis=1, keepdims=True)) / sigma, g * gain
    means = (one.mean(axis=1, keepdims=True) for one in (g, g * z))
    a, b = (term * mean for term, mean in zip(terms, means, strict=True))
    return (g - a - z * b) / sigma


def lora_on_q_right(g, x, W0, A, B, alpha, k, v, row_sum=1, base=1, s=None, width=0):
    s, root = s or s_of(A, alpha), sqrt(width or k.shape[1])
    q = base * x @ W0.T + s * x @ A.T @ B.T
    P, grad_P = softmax(q @ k.T / root), g @ v.T
    grad_S = P * (grad_P - row_sum * np.sum(P * grad_P, axis=1, keepdims=True))
    return (s * grad_S @ k / root @ B).T @ x


def agrees_right(printed, value):
    return 2 * abs(Fraction(printed) - value) <= Fraction(1, 10 ** decimals_of(printed))


def decimals_of(printed):
    return len(printed.partition(".")[2])


def each_rank(shapes):
    return sum(map(sum, shapes))


def which_rank_right(printed, shapes):
    each = each_rank(shapes)
    half = Fraction(1, 2 * 10 ** decimals_of(printed))
    r = max(1, ceil((Fraction(printed) - half) * 10**6 / each))
    return r if agrees_right(printed, Fraction(r * each, 10**6)) else 0


def right_ranks(printed, shapes, first=1):
    each, half = each_rank(shapes), Fraction(1, 2 * 10 ** decimals_of(printed))
    low, high = ((Fraction(printed) + k * half) * 10**6 / each for k in (-1, 1))
    return range(max(ceil(low), first), int(high // 1) + 1)


def nearest_rank(printed, shapes):
    r = round(Fraction(printed) * 10**6 / each_rank(shapes))
    return r * agrees_right(printed, Fraction(r * each_rank(shapes), 10**6))


def which_rank_by_float(tolerance):
    def answer(printed, shapes):
        for r in range(1, 100):
            if abs(r * each_rank(shapes) / 1e6 - float(printed)) <= tolerance(printed):
                return r
        return 0

    return answer


RIGHT_ANSWERS = {
    "dial": lambda off, on, t: (1 - t) * off + t * on,
    "rank-bound": lambda m, n, ranks: min(m, n, sum(ranks)),
    "truncate": lambda M, u, r: np.transpose(u[:r]) @ (u[:r] @ M),
    "tail": lambda norm, s: np.sqrt(norm**2 - np.sum(s**2)),
    "forward": forward_right,
    "delta-w": lambda A, B, alpha: s_of(A, alpha) * B @ A,
    "merge": merged_right,
    "grad-A": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[0],
    "grad-B": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[1],
    "grad-x": lambda g, m, W0, A, B, alpha: g @ W0 + m * (s_of(A, alpha) * g @ B @ A),
    "gradient-check": along_directions(),
    "start": start_right,
    "two-steps": lambda A, G, s, lr: s * after_steps(A, G, s, lr)[0],
    "scaling": lambda alpha, r, stabilized: alpha / (sqrt(r) if stabilized else r),
    "compensating-rates": compensated,
    "another-start": in_plain_lora,
    "step": step_right,
    "causal-mask": attention_weights_of,
    "softmax-gradient": softmax_gradient_right,
    "attention-scale": scale_right,
    "layer-norm-backward": layer_norm_backward_right,
    "lora-on-q": lora_on_q_right,
    "whitening": root_of,
    "best-update": lambda x, y, W0, r: cut_as_seen_by(root_of(x), full_update(x, y, W0), r),
    "other-rows": lambda x, others, F, r: (
        extra(x, F, cut_as_seen_by(root_of(x), F, r)),
        extra(x, F, cut_as_seen_by(root_of(others), F, r)),
    ),
    "adapter": adapter_right,
    "dora": dora_by(1),
    "verdict": decided,
    "at-best-rate": at_best_rate_right,
    "mixed-batch": mixed_batch_right,
    "combine": combine_right,
    "best-of-two": best_of_two_right,
    "nf4-codes": codes_right,
    "qlora-grad-x": qlora_grad_x_right,
    "count": lambda shapes, r: r * sum(map(sum, shapes)),
    "break-even": lambda m, n: (m * n - 1) // (m + n),
    "cheaper-step": lambda m, n: (m * n - 1) // (3 * (m + n)),
    "training-bytes": lambda frozen, trained: 4 * frozen + 16 * trained,
    "agrees": agrees_right,
    "which-rank": which_rank_right,
}

WRONG_ANSWERS = {
    "dial": {
        "no-base": lambda off, on, t: t * on,
        "path-alone": lambda off, on, t: t * (on - off),
        "base-twice": lambda off, on, t: off + t * on,
        "exchanged": lambda off, on, t: t * off + (1 - t) * on,
        "beyond-on": lambda off, on, t: (1 + t) * on - t * off,
        "base-scaled": lambda off, on, t: t * off + t * on,
        "clipped-on-both-sides": lambda off, on, t: off + np.clip(t, 0, 1) * (on - off),
    },
    "rank-bound": {
        "sides-forgotten": lambda m, n, ranks: np.sum(ranks),
        "largest-rank": lambda m, n, ranks: min(m, n, max(ranks)),
        "full-rank": lambda m, n, ranks: min(m, n),
        "kind": lambda m, n, ranks: min(m, n, sum(ranks)) + 0.5,
        "rows-alone": lambda m, n, ranks: min(sum(ranks), m),
        "columns-alone": lambda m, n, ranks: min(n, sum(ranks)),
        "smallest-rank": lambda m, n, ranks: min(ranks),
        "larger-side": lambda m, n, ranks: min(max(m, n), sum(ranks)),
    },
    "truncate": {
        "sigma-twice": of_columns(
            lambda M, U, r: U[:, :r] * np.linalg.norm(U[:, :r].T @ M, axis=1) @ U[:, :r].T @ M
        ),
        "reshaped": lambda M, u, r: (
            np.reshape(u[:r], (len(M), r)) @ np.reshape(u[:r], (len(M), r)).T @ M
        ),
        "sigma-lost": of_columns(lambda M, U, r: U[:, :r] @ unit_rows(U[:, :r].T @ M)),
        "transpose": of_columns(lambda M, U, r: M.T @ U[:, :r] @ U[:, :r].T),
        "one-too-few": of_columns(lambda M, U, r: U[:, : r - 1] @ U[:, : r - 1].T @ M),
        "the-rest": of_columns(lambda M, U, r: M - U[:, :r] @ U[:, :r].T @ M),
        "sometimes-right": of_columns(lambda M, U, r: U[:, :3] @ U[:, :3].T @ M),
        "shape": lambda M, U, r: cut(M, r)[:r],
        "one-too-many": of_columns(lambda M, U, r: U[:, : r + 1] @ U[:, : r + 1].T @ M),
        "all-of-u": of_columns(lambda M, U, r: U @ U.T @ M),
        "one-term": of_columns(lambda M, U, r: U[:, r - 1 : r] @ U[:, r - 1 : r].T @ M),
        "one-vector": of_columns(lambda M, U, r: np.outer(U[:, r], U[:, r]) @ M),
        "rows-of-M": of_columns(lambda M, U, r: U[:, :r] @ M[:r]),
        "coordinates": of_columns(lambda M, U, r: U.T[:r] @ M),
        "projection": of_columns(lambda M, U, r: U[:, :r] @ U[:, :r].T),
        "raises": of_columns(lambda M, U, r: U[:r].T @ U[:r] @ M),
        "ruled-out": lambda M, u, r: np.linalg.svd(M)[0][:, :r] @ (u[:r] @ M),
        "columns-kept": lambda M, U, r: np.where(np.arange(M.shape[1]) < r, M, 0),
        "nothing-cut": lambda M, U, r: cut(M, min(M.shape)),
    },
    "tail": {
        "squared": lambda norm, s: norm**2 - sum(s**2),
        "norms-subtracted": lambda norm, s: norm - np.sqrt(s @ s),
        "values-subtracted": lambda norm, s: norm - sum(s),
        "values-not-squared": lambda norm, s: np.sqrt(norm**2 - s.sum()),
        "smallest-kept": lambda norm, s: s[len(s) - 1],
        "one-less-kept": lambda norm, s: np.sqrt(norm**2 - sum(v**2 for v in s[:-1])),
        "largest-lost": lambda norm, s: np.sqrt(norm**2 - sum(v**2 for v in s[1:])),
        "largest-alone": lambda norm, s: np.sqrt(norm**2 - max(s) ** 2),
        "changed-input": squared_in_place,
        "kind": lambda norm, s: np.sqrt(norm**2 - s**2),
        "kept-part": lambda norm, s: np.hypot.reduce(s),
        "added": lambda norm, s: np.sqrt(norm**2 + s @ s),
        "relative": lambda norm, s: np.sqrt(norm**2 - s @ s) / norm,
        "half-of-the-square": lambda norm, s: (norm**2 - s @ s) ** 1 / 2,
        "all": lambda norm, s: norm,
    },
    "forward": {
        "scaling-forgotten": lambda x, W0, A, B, alpha, on: forward_right(x, W0, A, B, len(A), on),
        "on-for-all": lambda x, W0, A, B, alpha, on: x @ W0.T + s_of(A, alpha) * x @ A.T @ B.T,
        "on-and-off-exchanged": forward_by_a_where,
        "off-is-zero": lambda x, W0, A, B, alpha, on: (
            on[:, None] * (x @ W0.T + s_of(A, alpha) * x @ A.T @ B.T)
        ),
        "instead-of-added": lambda x, W0, A, B, alpha, on: (
            ~on[:, None] * (x @ W0.T) + on[:, None] * s_of(A, alpha) * (x @ A.T @ B.T)
        ),
        "on-along-the-outputs": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + s_of(A, alpha) * (x @ A.T @ B.T) * on
        ),
        "shape": forward_without_rows,
        "A-after-B": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + s_of(A, alpha) * x @ B @ A * on[:, None]
        ),
        "columns": lambda x, W0, A, B, alpha, on: W0 @ x + s_of(A, alpha) * B @ A @ x * on,
        "base-forgotten": lambda x, W0, A, B, alpha, on: (
            s_of(A, alpha) * (on[:, None] * x) @ A.T @ B.T
        ),
        "transpose": lambda *given: forward_right(*given).T,
        "batch-of-one": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + s_of(A, alpha) * x.mean(axis=0) @ A.T @ B.T * on[0]
        ),
        "precision": lambda *given: forward_right(*given).round(6),
        "in-for-r": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + alpha / A.shape[1] * x @ A.T @ B.T * on[:, None]
        ),
        "r-over-alpha": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + len(A) / alpha * x @ A.T @ B.T * on[:, None]
        ),
        "whole-division": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + alpha // len(A) * x @ A.T @ B.T * on[:, None]
        ),
        "scaling-on-the-base": lambda x, W0, A, B, alpha, on: (
            s_of(A, alpha) * x @ W0.T + x @ A.T @ B.T * on[:, None]
        ),
        "scaling-twice": lambda x, W0, A, B, alpha, on: (
            x @ W0.T + s_of(A, alpha) * (on[:, None] * s_of(A, alpha) * x @ A.T) @ B.T
        ),
        "not-transposed": lambda x, W0, A, B, alpha, on: (
            x @ W0 + s_of(A, alpha) * on[:, None] * (x @ A @ B)
        ),
        "W0-not-transposed": lambda x, W0, A, B, alpha, on: (
            x @ W0 + s_of(A, alpha) * on[:, None] * (x @ A.T) @ B.T
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
        "root-of-r": lambda A, B, alpha: alpha / len(A) ** 0.5 * B @ A,
        "in-for-r": lambda A, B, alpha: alpha / len(A[0]) * B @ A,
        "out-for-r": lambda A, B, alpha: alpha / len(B) * B @ A,
        "r-over-alpha": lambda A, B, alpha: len(A) / alpha * B @ A,
        "whole-division": lambda A, B, alpha: alpha // len(A) * B @ A,
        "trace": lambda A, B, alpha: s_of(A, alpha) * np.diag(A @ B).sum(),
        "first-term": lambda A, B, alpha: s_of(A, alpha) * B[:, :1] @ A[:1],
        "entrywise-rows": lambda A, B, alpha: s_of(A, alpha) * B * A.T,
    },
    "merge": {
        "old-task-left-in": partial(merged_right, off=0),
        "new-task-missing": partial(merged_right, on=0),
        "W-itself": partial(merged_right, off=0, on=0),
        "exchanged": partial(merged_right, off=-1, on=-1),
        "both-added": partial(merged_right, off=-1),
        "both-subtracted": partial(merged_right, on=-1),
        "scalings-forgotten": lambda W, A, B, a, C, D, c: W - B @ A + D @ C,
        "old-scaling-forgotten": lambda W, A, B, a, C, D, c: W - B @ A + c / len(C) * D @ C,
        "new-scaling-forgotten": lambda W, A, B, a, C, D, c: W - a / len(A) * B @ A + D @ C,
        "old-scaling-for-both": lambda W, A, B, a, C, D, c: W + a / len(A) * (D @ C - B @ A),
        "new-scaling-for-both": lambda W, A, B, a, C, D, c: W + c / len(C) * (D @ C - B @ A),
        "old-rank-for-both": lambda W, A, B, a, C, D, c: W + (c * D @ C - a * B @ A) / len(A),
        "new-rank-for-both": lambda W, A, B, a, C, D, c: W + (c * D @ C - a * B @ A) / len(C),
        "alphas-alone": lambda W, A, B, a, C, D, c: W - a * B @ A + c * D @ C,
        "W-forgotten": lambda W, A, B, a, C, D, c: c / len(C) * D @ C - a / len(A) * B @ A,
        "new-task-alone": lambda W, A, B, a, C, D, c: c / len(C) * D @ C,
        "A-B": lambda W, A, B, a, C, D, c: W - a / len(A) * A @ B + c / len(C) * C @ D,
        "raises": lambda W, A, B, a, C, D, c: W + c / len(C) * (D - B) @ (C - A),
        "changed-input": merged_in_place,
    },
    "grad-A": {
        "over-alpha/r": lambda g, x, m, A, B, alpha: B.T @ g.T @ (m * x),
        "transpose": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[0].T,
        "mean-over-rows": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[0] / len(g),
        "B-transposed": lambda g, x, m, A, B, alpha: s_of(A, alpha) * (g @ B.T).T @ (m * x),
        "rows-summed-first": lambda g, x, m, A, B, alpha: (
            s_of(A, alpha) * np.outer(B.T @ g.sum(0), (m * x).sum(0))
        ),
        "sign": lambda g, x, m, A, B, alpha: -grads_of(g, m * x, A, B, alpha)[0],
        "A-and-back": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[0] @ A.T @ A,
        "gradient-of-h": lambda g, x, m, A, B, alpha: g @ B * alpha / len(A),
        "h-for-x": lambda g, x, m, A, B, alpha: (s_of(A, alpha) * g @ B).T @ (m * x @ A.T),
        "gradient-of-B": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[1],
        "whole-weight": lambda g, x, m, A, B, alpha: g.T @ (m * x) * s_of(A, alpha),
        "moved": lambda g, x, m, A, B, alpha: step_right(g, m * x, A, B, alpha, 1)[0],
        "root-of-r": lambda g, x, m, A, B, alpha: alpha / sqrt(len(A)) * B.T @ g.T @ (m * x),
        "mask-forgotten": lambda g, x, m, A, B, alpha: grads_of(g, x, A, B, alpha)[0],
        "mask-twice": lambda g, x, m, A, B, alpha: grads_of(g, m * m * x, A, B, alpha)[0],
        "mask-without-scale": lambda g, x, m, A, B, alpha: grads_of(
            g, np.where(m, x, 0), A, B, alpha
        )[0],
        "mask-on-the-gradient": lambda g, x, m, A, B, alpha: m * grads_of(g, x, A, B, alpha)[0],
    },
    "grad-B": {
        "times-r": lambda g, x, m, A, B, alpha: alpha * g.T @ (m * x) @ A.T,
        "transpose": lambda g, x, m, A, B, alpha: s_of(A, alpha) * A @ (m * x).T @ g,
        "A-forgotten": lambda g, x, m, A, B, alpha: s_of(A, alpha) * g.T @ (m * x),
        "through-B": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[0],
        "mean-over-rows": lambda g, x, m, A, B, alpha: grads_of(g, m * x, A, B, alpha)[1] / len(x),
        "moved": lambda g, x, m, A, B, alpha: step_right(g, m * x, A, B, alpha, 1)[1],
        "out-for-r": lambda g, x, m, A, B, alpha: alpha / len(B) * g.T @ (m * x @ A.T),
        "mask-forgotten": lambda g, x, m, A, B, alpha: grads_of(g, x, A, B, alpha)[1],
        "mask-twice": lambda g, x, m, A, B, alpha: grads_of(g, m * (m * x), A, B, alpha)[1],
        "mask-without-scale": lambda g, x, m, A, B, alpha: grads_of(g, (m != 0) * x, A, B, alpha)[
            1
        ],
        "mask-behind-A": lambda g, x, m, A, B, alpha: s_of(A, alpha) * g.T @ (m * (x @ A.T)),
    },
    "grad-x": {
        "adapter-path-missing": lambda g, m, W0, A, B, alpha: g @ W0,
        "base-path-missing": lambda g, m, W0, A, B, alpha: m * back_of(g, A, B, alpha),
        "mask-forgotten": lambda g, m, W0, A, B, alpha: g @ W0 + back_of(g, A, B, alpha),
        "mask-on-all": lambda g, m, W0, A, B, alpha: m * (g @ W0 + back_of(g, A, B, alpha)),
        "mask-on-W0-alone": lambda g, m, W0, A, B, alpha: m * (g @ W0) + back_of(g, A, B, alpha),
        "mask-twice": lambda g, m, W0, A, B, alpha: g @ W0 + m**2 * back_of(g, A, B, alpha),
        "mask-without-scale": lambda g, m, W0, A, B, alpha: (
            g @ W0 + np.where(m, back_of(g, A, B, alpha), 0)
        ),
        "mask-first": lambda g, m, W0, A, B, alpha: g @ W0 + back_of(m * g, A, B, alpha),
        "W0-transposed": lambda g, m, W0, A, B, alpha: g @ W0.T + m * back_of(g, A, B, alpha),
        "scaling-forgotten": lambda g, m, W0, A, B, alpha: g @ W0 + m * (g @ B @ A),
        "transpose": lambda g, m, W0, A, B, alpha: W0.T @ g.T + m.T * back_of(g, A, B, alpha).T,
        "all-transposed": lambda g, m, W0, A, B, alpha: (
            g @ W0.T + m * (s_of(A, alpha) * (g @ A.T) @ B.T)
        ),
        "A-first": lambda g, m, W0, A, B, alpha: m * ((g @ A) @ B * s_of(A, alpha)) + g @ W0,
        "columns": lambda g, m, W0, A, B, alpha: W0.T @ g + m * (s_of(A, alpha) * A.T @ (B.T @ g)),
        "mean-over-rows": lambda g, m, W0, A, B, alpha: (
            (g @ W0 + m * back_of(g, A, B, alpha)) / len(g)
        ),
        "root-of-r": lambda g, m, W0, A, B, alpha: g @ W0 + m * (alpha / sqrt(len(A)) * g @ B @ A),
    },
    "gradient-check": {
        "always-true": lambda forward, backward, m, n, r: True,
        "exchanged": lambda *given: not along_directions()(*given),
        "B-zero": along_directions(B=0.0),
        "A-zero": along_directions(A=0.0),
        "s-one": along_directions(s=1.0),
        "one-row": along_directions(rows=1),
        "rows-of-g-alike": along_directions(g=1.0),
        "W0-zero": along_directions(W0=0.0),
        "x-left-out": along_directions("AB"),
        "A-left-out": along_directions("xB"),
        "B-left-out": along_directions("Ax"),
        "one-entry": entry_alone,
        "too-loose": along_directions(step=1e-6, tolerance=1e-5),
        "always-false": along_directions(step=1e-9),
        "size-alone": along_directions(size=abs),
        # two things special at once: the mistakes that pass are shown, one at a time
        "sometimes-right": along_directions(rows=1, s=1.0),
        "kind": lambda forward, backward, m, n, r: 1e-16,
    },
    "start": {
        "both-zero": lambda m, n, r, rng: (np.zeros((r, n)), np.zeros((m, r))),
        "both-random": lambda m, n, r, rng: tuple(
            rng.uniform(-1, 1, shape) / sqrt(n) for shape in ((r, n), (m, r))
        ),
        "order": lambda m, n, r, rng: start_right(m, n, r, rng)[::-1],
        "kind": lambda m, n, r, rng: rng.uniform(-1, 1, (r, n)) / sqrt(n),
        "not-repeatable": lambda m, n, r, rng: start_right(m, n, r, np.random.default_rng()),
        "value": lambda m, n, r, rng: start_right(m, n, r, np.random.default_rng(7)),
        "seed-0": lambda m, n, r, rng: start_right(m, n, r, np.random.default_rng(0)),
        "equal-rows": lambda m, n, r, rng: (
            np.vstack([rng.uniform(-1, 1, (1, n)) / sqrt(n)] * r),
            np.zeros((m, r)),
        ),
        "one-number": lambda m, n, r, rng: (
            np.ones((r, n)) * rng.uniform(-1, 1) / sqrt(n),
            np.zeros((m, r)),
        ),
        "root-forgotten": start_within(lambda m, n, r: 1 / n),
        "by-out-features": start_within(lambda m, n, r: 1 / sqrt(m)),
        "by-rank": start_within(lambda m, n, r: 1 / sqrt(r)),
        "deviation-for-bound": start_within(lambda m, n, r: 1 / sqrt(3 * n)),
        "width-forgotten": start_within(lambda m, n, r: 1),
        "fixed-normal": lambda m, n, r, rng: (
            0.02 * rng.standard_normal((r, n)),
            np.zeros((m, r)),
        ),
        "normal": lambda m, n, r, rng: (rng.standard_normal((r, n)) / sqrt(n), np.zeros((m, r))),
        "uniform-above-0": lambda m, n, r, rng: (rng.random((r, n)) / sqrt(n), np.zeros((m, r))),
        "A-transposed": lambda m, n, r, rng: (
            rng.uniform(-1, 1, (n, r)) / sqrt(n),
            np.zeros((m, r)),
        ),
        "both-transposed": lambda m, n, r, rng: (
            rng.uniform(-1, 1, (n, r)) / sqrt(n),
            np.zeros((r, m)),
        ),
    },
    "two-steps": {
        "A-held": lambda A, G, s, lr: s * after_steps(A, G, s, lr, A_moves=False)[0],
        "one-step": lambda A, G, s, lr: -lr * s**2 * G @ A.T @ A,
        "second-change": lambda A, G, s, lr: (
            s * (after_steps(A, G, s, lr)[0] - after_steps(A, G, s, lr, steps=1)[0])
        ),
        "B-moved-once": lambda A, G, s, lr: (
            s * after_steps(A, G, s, lr, steps=1)[1] @ after_steps(A, G, s, lr)[2]
        ),
        "each-move-at-once": steps_in_turn,
        "A-uphill": lambda A, G, s, lr: -2 * lr * s**2 * G @ A.T @ (A - lr**2 * s**2 * A @ G.T @ G),
        "A-first": steps_with_A_first,
        "B-too-late": lambda A, G, s, lr: (
            -2 * lr * s**2 * G @ A.T @ (A + 2 * lr**2 * s**2 * A @ G.T @ G)
        ),
        "scaling-not-in-gradient-of-A": lambda A, G, s, lr: (
            -2 * lr * s**2 * G @ A.T @ (A + lr**2 * s * A @ G.T @ G)
        ),
        "scaling-not-in-gradient-of-B": lambda A, G, s, lr: (
            -2 * lr * s * G @ A.T @ (A + lr**2 * s * A @ G.T @ G)
        ),
        "both-uphill": lambda A, G, s, lr: -s * after_steps(A, G, s, lr)[0],
        "scaling-forgotten": lambda A, G, s, lr: after_steps(A, G, 1, lr)[0],
        "scaling-not-in-gradients": lambda A, G, s, lr: s * after_steps(A, G, 1, lr)[0],
        "scaling-not-in-front": lambda A, G, s, lr: after_steps(A, G, s, lr)[0],
        "rate-forgotten": lambda A, G, s, lr: s * after_steps(A, G, s, 1)[0],
        "whole-weight": lambda A, G, s, lr: -lr * G - lr * G,
        "changed-input": steps_in_place,
        "transpose": lambda A, G, s, lr: s * after_steps(A, G, s, lr)[0].T,
        "shape": lambda A, G, s, lr: s * after_steps(A, G, s, lr)[1],
        "kind": lambda A, G, s, lr: after_steps(A, G, s, lr)[1:],
        "times-2": lambda A, G, s, lr: 2 * s * after_steps(A, G, s, lr)[0],
    },
    "scaling": {
        "whole-root": lambda alpha, r, stabilized: alpha / (int(sqrt(r)) if stabilized else r),
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
        "alpha-forgotten-in-the-gradient": lambda a, u, v, p, q, o: (
            (a / (p * q), u * p / q, v * q / p) if o == "SGD" else compensated(a, u, v, p, q, o)
        ),
        "rates-kept-for-SGD": lambda a, u, v, p, q, o: (
            (a / (p * q), u, v) if o == "SGD" else compensated(a, u, v, p, q, o)
        ),
        "exchanged": lambda a, u, v, p, q, o: compensated(a, u, v, q, p, o),
        "alpha-multiplied": lambda a, u, v, p, q, o: (
            a * p * q,
            *compensated(a, u, v, p, q, o)[1:],
        ),
        "rates-not-squared": lambda a, u, v, p, q, o: compensated(a, u, v, p, q, "Adam"),
        "rates-squared": lambda a, u, v, p, q, o: compensated(a, u, v, p, q, "SGD"),
        "undone": lambda a, u, v, p, q, o: compensated(a, u, v, 1 / p, 1 / q, o),
        "rates-kept": lambda a, u, v, p, q, o: (a / p / q, u, v),
        "kind": lambda a, u, v, p, q, o: compensated(a, u, v, p, q, o)[:2],
        "value": lambda a, u, v, p, q, o: (a / p / q, u * p**2, v * q),
        "sometimes-right": lambda a, u, v, p, q, o: (*compensated(a, u, v, p, q, o)[:2], v * q),
    },
    "another-start": {
        "sizes-as-variances": lambda a, r, root, old, u, v, new: in_plain_lora(
            a, r, root, sqrt(old), u, v, sqrt(new)
        ),
        "B-forgotten": lambda a, r, root, old, u, v, new: (
            (a * r**0.5 if root else a) * old / new,
            u * new / old,
        ),
        "ratio-forgotten": lambda a, r, root, old, u, v, new: in_plain_lora(
            a, r, root, old, u, u, new
        ),
        "B-and-divisor-forgotten": lambda a, r, root, old, u, v, new: (
            a * old / new,
            u * new / old,
        ),
        "rate-of-B": lambda a, r, root, old, u, v, new: (
            (a * r**0.5 if root else a) * old / new,
            v * new / old,
        ),
        "divisor-ignored": lambda a, r, root, old, u, v, new: in_plain_lora(
            a, r, False, old, u, v, new
        ),
        "sizes-exchanged": lambda a, r, root, old, u, v, new: in_plain_lora(
            a, r, root, new, u, v, old
        ),
        "start-ignored": lambda a, r, root, old, u, v, new: in_plain_lora(a, r, root, 1, u, v, 1),
        "scaling-for-alpha": lambda a, r, root, old, u, v, new: (
            in_plain_lora(a, r, root, old, u, v, new)[0] / r,
            u * new / old,
        ),
        "rate-kept": lambda a, r, root, old, u, v, new: (
            in_plain_lora(a, r, root, old, u, v, new)[0] * new / old,
            u,
        ),
        "kind": lambda *given: in_plain_lora(*given)[0],
        "named-factor": lambda a, r, root, old, u, v, new: (
            in_plain_lora(a, r, root, old, u, v, new)[0],
            v * new / old,
        ),
    },
    "step": {
        "lr-forgotten": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, alpha, 1),
        "not-moved": lambda g, x, A, B, alpha, lr: (A, B),
        "changed-input": step_in_place,
        "A-moved-first": step_A_first,
        "uphill": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, alpha, -lr),
        "gradients-returned": lambda g, x, A, B, alpha, lr: grads_of(g, x, A, B, alpha),
        "scaling-forgotten": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, len(A), lr),
        "kind": lambda g, x, A, B, alpha, lr: [*step_right(g, x, A, B, alpha, lr), lr],
        "scaling-on-A-alone": lambda g, x, A, B, alpha, lr: (
            step_right(g, x, A, B, alpha, lr)[0],
            B - lr * g.T @ x @ A.T,
        ),
        "order": lambda g, x, A, B, alpha, lr: step_right(g, x, A, B, alpha, lr)[::-1],
    },
    "whitening": {
        "root-forgotten": lambda x: x.T @ x / len(x),
        "sum-for-mean": lambda x: np.linalg.cholesky(x.T @ x),
        "wrong-side": lambda x: np.linalg.cholesky(x.T @ x / len(x)).T,
        "wrong-side-of-the-SVD": lambda x: (
            np.diag(np.linalg.svd(x)[1]) @ np.linalg.svd(x)[2] / np.sqrt(len(x))
        ),
        "inverse": lambda x: np.linalg.inv(root_of(x)),
        "centred": lambda x: np.linalg.cholesky(np.cov(x, rowvar=False, bias=True)),
        "one-by-one": lambda x: np.diag((x**2).mean(0) ** 0.5),
        "spreads": lambda x: np.diag(np.std(x, 0)),
        "wrong-side-of-the-QR": lambda x: np.linalg.qr(x / np.sqrt(len(x))).R,
        "kind": lambda x: np.sqrt(x.T @ x / len(x)),
        "shape": lambda x: x @ x.T / len(x),
        "raises": lambda x: np.linalg.cholesky(x),
    },
    "best-update": {
        "cut": lambda x, y, W0, r: cut(full_update(x, y, W0), r),
        "full": lambda x, y, W0, r: full_update(x, y, W0),
        "W0-left-out": lambda x, y, W0, r: cut_as_seen_by(root_of(x), full_update(x, y, 0 * W0), r),
        "still-whitened": lambda x, y, W0, r: cut(full_update(x, y, W0) @ root_of(x), r),
        "whitened-twice": lambda x, y, W0, r: (
            cut(full_update(x, y, W0) @ root_of(x), r) @ root_of(x)
        ),
        "inverse-first": lambda x, y, W0, r: cut_as_seen_by(
            np.linalg.inv(root_of(x)), full_update(x, y, W0), r
        ),
        "squared-weights": lambda x, y, W0, r: cut_as_seen_by(x.T @ x, full_update(x, y, W0), r),
        "one-by-one": lambda x, y, W0, r: cut_as_seen_by(
            np.diag(np.linalg.norm(x, axis=0)), full_update(x, y, W0), r
        ),
        "noise-included": lambda x, y, W0, r: (
            np.linalg.lstsq(x, cut(y - x @ W0.T, r), rcond=None)[0].T
        ),
        "shape-transposed": lambda x, y, W0, r: full_update(x, y, W0).T,
        "transpose": lambda x, y, W0, r: RIGHT_ANSWERS["best-update"](x, y, W0, r).T,
        "sign": lambda x, y, W0, r: -RIGHT_ANSWERS["best-update"](x, y, W0, r),
    },
    "other-rows": {
        "centred": lambda x, others, F, r: tuple(
            extra(x, F, cut_as_seen_by(root_of(rows - rows.mean(0)), F, r)) for rows in (x, others)
        ),
        "each-input-alone": lambda x, others, F, r: tuple(
            extra(x, F, cut_as_seen_by(np.diag((rows * rows).mean(0) ** 0.5), F, r))
            for rows in (x, others)
        ),
        "order": lambda x, others, F, r: RIGHT_ANSWERS["other-rows"](x, others, F, r)[::-1],
        "judged-by-the-others": lambda x, others, F, r: tuple(
            extra(rows, F, cut_as_seen_by(np.linalg.cholesky(rows.T @ rows), F, r))
            for rows in (x, others)
        ),
        "all-rows-together": lambda x, others, F, r: tuple(
            extra(x, F, cut_as_seen_by(root_of(rows), F, r))
            for rows in (x, np.concatenate([others, x]))
        ),
        "undone-with-x": lambda x, others, F, r: (
            extra(x, F, cut_as_seen_by(root_of(x), F, r)),
            extra(
                x,
                F,
                cut(F @ np.linalg.cholesky(others.T @ others / len(others)), r)
                @ np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x))),
            ),
        ),
        "not-whitened": lambda x, others, F, r: (
            extra(x, F, cut_as_seen_by(root_of(x), F, r)),
            extra(x, F, cut(F, r)),
        ),
        "own-twice": lambda x, others, F, r: RIGHT_ANSWERS["other-rows"](x, x, F, r),
        "norms": lambda x, others, F, r: tuple(
            np.linalg.norm(x @ (F - cut_as_seen_by(root_of(rows), F, r)).T) for rows in (x, others)
        ),
        "distances": lambda x, others, F, r: tuple(
            np.linalg.norm(F - cut_as_seen_by(root_of(rows), F, r)) ** 2 for rows in (x, others)
        ),
        "mean-over-rows-alone": lambda x, others, F, r: tuple(
            ((x @ (F - cut_as_seen_by(root_of(rows), F, r)).T) ** 2).sum(1).mean()
            for rows in (x, others)
        ),
        "still-whitened": lambda x, others, F, r: tuple(
            extra(x, F, cut(F @ root_of(rows), r)) for rows in (x, others)
        ),
        "kind": lambda x, others, F, r: extra(x, F, cut(F, r)),
        "roots": lambda x, others, F, r: tuple(
            np.sqrt(RIGHT_ANSWERS["other-rows"](x, others, F, r))
        ),
    },
    "causal-mask": {
        "mask-after-softmax": lambda scores: np.tril(
            softmax(scores), k=scores.shape[2] - scores.shape[1]
        ),
        "zeros-for-infinity": lambda scores: attention_weights_of(scores, 0),
        "diagonal-masked": lambda scores: attention_weights_of(scores, k=-1),
        "next-visible": lambda scores: attention_weights_of(scores, k=1),
        "mask-from-the-first": lambda scores: softmax(
            np.where(np.tril(np.ones(scores.shape)) > 0, scores, -np.inf)
        ),
        "mask-transposed": lambda scores: softmax(
            np.where(
                np.triu(np.ones(scores.shape), scores.shape[2] - scores.shape[1]) > 0,
                scores,
                -np.inf,
            )
        ),
        "mask-too-early": lambda scores: softmax(
            np.where(np.tri(*scores.shape[1:], scores.shape[1] - scores.shape[2]), scores, -1e30)
        ),
        "mask-forgotten": softmax,
        "value": lambda scores: attention_weights_of(scores, -5),
        "raises": lambda scores: softmax(
            np.where(np.tri(scores.shape[1], dtype=bool), scores, -np.inf)
        ),
    },
    "softmax-gradient": {
        "row-sum-forgotten": lambda *given: softmax_gradient_right(*given, row_sum=0),
        "entry-by-entry": lambda scores, t, allowed, g: (
            (P := softmax(np.where(allowed, scores / t, -1e9))) * (1 - P) * g / t
        ),
        "plain-row-sum": lambda scores, t, allowed, g: (
            softmax(np.where(allowed, scores / t, -np.inf)) * (g - g.sum(-1)[..., None]) / t
        ),
        "columns": lambda *given: softmax_gradient_right(*given, axis=1),
        "over-the-heads": lambda *given: softmax_gradient_right(*given, axis=0),
        "one-sum-for-each-head": lambda *given: softmax_gradient_right(*given, axis=(1, 2)),
        "temperature-forgotten": lambda scores, t, *rest: softmax_gradient_right(scores, 1, *rest),
        "temperature-forgotten-backward": lambda *given: softmax_gradient_right(*given, back=1),
        "temperature-multiplied": lambda scores, t, *rest: softmax_gradient_right(
            scores, t, *rest, back=1 / t
        ),
        "mask-forgotten": lambda scores, t, allowed, g: softmax_gradient_right(
            scores, t, np.ones_like(allowed), g
        ),
        "mask-after-softmax": lambda scores, t, allowed, g: (
            (P := softmax(scores / t) * allowed) * (g - (P * g).sum(-1, keepdims=True)) / t
        ),
        "mask-on-the-gradient-alone": lambda scores, t, allowed, g: np.where(
            allowed, softmax_gradient_right(scores, t, np.ones_like(allowed), g), 0
        ),
        "zeros-for-infinity": lambda scores, t, allowed, g: softmax_gradient_right(
            np.where(allowed, scores, 0), t, np.ones_like(allowed), g
        ),
        "mask-turned-round": lambda scores, t, allowed, g: softmax_gradient_right(
            scores, t, ~allowed, g
        ),
        "kind": lambda scores, t, allowed, g: (
            (P := np.exp(scores / t) / np.exp(scores / t).sum(-1, keepdims=True))
            * (g - (P * g).sum(-1, keepdims=True))
        ),
        "weights-forgotten": lambda scores, t, allowed, g: (
            (g - np.sum(softmax(np.where(allowed, scores / t, -np.inf)) * g, -1, keepdims=True)) / t
        ),
    },
    "attention-scale": {
        "scale-forgotten": lambda q, k, g: scale_right(q, k, g, 1),
        "backward-not-scaled": lambda q, k, g: scale_right(q, k, g, back=1),
        "d-for-its-root": lambda q, k, g: scale_right(q, k, g, q.shape[1] / len(g)),
        "width-of-the-model": lambda q, k, g: scale_right(q, k, g, sqrt(q.shape[1])),
        "kind": lambda q, k, g: scale_right(q, k, g)[0],
    },
    "layer-norm-backward": {
        "constants": lambda *given: layer_norm_backward_right(*given, terms=(0, 0)),
        "mean-term-missing": lambda *given: layer_norm_backward_right(*given, terms=(0, 1)),
        "variance-term-missing": lambda *given: layer_norm_backward_right(*given, terms=(1, 0)),
        "ddof-1": lambda *given: layer_norm_backward_right(*given, ddof=1),
        "gain-forgotten": lambda g, x, gain, e: layer_norm_backward_right(g, x, 1, e),
        "epsilon-forgotten": lambda g, x, gain, e: layer_norm_backward_right(g, x, gain, 0),
        "sign": lambda *given: -layer_norm_backward_right(*given),
    },
    "lora-on-q": {
        "number-of-keys": lambda *given: lora_on_q_right(*given, width=len(given[6])),
        "row-sum-forgotten": lambda *given: lora_on_q_right(*given, row_sum=0),
        "scaling-forgotten": lambda *given: lora_on_q_right(*given, s=1),
        "scaling-on-W0": lambda *given: lora_on_q_right(*given, base=s_of(given[3], given[5])),
        "update-forgotten": lambda g, x, W0, A, B, alpha, k, v: lora_on_q_right(
            g, x, W0 - s_of(A, alpha) * B @ A, A, B, alpha, k, v
        ),
        "transpose": lambda *given: lora_on_q_right(*given).T,
        "raises": lambda g, x, W0, A, B, alpha, k, v: x @ A @ B,
    },
    "adapter": {
        "two-activations-on-the-way": lambda x, *rest: (
            x + np.maximum(adapter_right(x, *rest) - x, 0)
        ),
        "residual-forgotten": lambda x, *rest: adapter_right(x, *rest) - x,
        "no-activation": lambda x, W_down, b_down, W_up, b_up: (
            x + (x @ W_down.T + b_down) @ W_up.T + b_up
        ),
        "biases-forgotten": lambda x, W_down, b_down, W_up, b_up: adapter_right(
            x, W_down, 0, W_up, 0
        ),
        "activation-behind-the-way-up": lambda x, W_down, b_down, W_up, b_up: (
            x + b_up + ((x @ W_down.T + b_down) @ W_up.T).clip(0)
        ),
        "activation-over-the-sum": lambda x, W_down, b_down, W_up, b_up: np.maximum(
            x + W_up.dot(W_down @ x.T + b_down[:, None]).T + b_up, 0
        ),
        "two-activations": lambda *given: adapter_right(*given).clip(0),
        "b_down-after-the-activation": lambda x, W_down, b_down, W_up, b_up: adapter_right(
            x, W_down, 0, W_up, b_up + W_up @ b_down
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
        "update-forgotten": lambda W0, A, B, alpha, m: (m / np.sqrt((W0**2).sum(1)))[:, None] * W0,
        "update-added-last": lambda W0, A, B, alpha, m: (
            m[:, None] * W0 / np.linalg.norm(W0, axis=1)[:, None] + s_of(A, alpha) * B @ A
        ),
        "not-normalized-again": lambda W0, A, B, alpha, m: (
            np.diag(m) @ (W0 / np.linalg.norm(W0, axis=1)[:, None] + s_of(A, alpha) * B @ A)
        ),
        "by-columns": lambda W0, A, B, alpha, m: (
            m * (W0 + s_of(A, alpha) * B @ A) / np.linalg.norm(W0 + s_of(A, alpha) * B @ A, axis=1)
        ),
        "magnitude-by-columns": lambda W0, A, B, alpha, m: dora_by(1)(W0, A, B, alpha, m**0) * m,
        "both-normalized": lambda W0, A, B, alpha, m: dora_by(1)(
            W0 / np.linalg.norm(W0, axis=1)[:, None], A, B, alpha, m
        ),
        "sum-of-absolutes": lambda W0, A, B, alpha, m: (
            np.diag(m / np.linalg.norm(W0 + s_of(A, alpha) * B @ A, 1, axis=1))
            @ (W0 + s_of(A, alpha) * B @ A)
        ),
        "mean-of-squares": lambda W0, A, B, alpha, m: dora_by(1)(
            W0, A, B, alpha, m * sqrt(A.shape[1])
        ),
        "not-normalized": lambda W0, A, B, alpha, m: m[:, None] * (W0 + s_of(A, alpha) * B @ A),
    },
    "verdict": {
        "unpaired": lambda better, worse: (
            np.sign(better.mean(1) - worse.mean(1)).astype(int)
            * (
                abs(better.mean(1) - worse.mean(1))
                > 2 * np.sqrt((better.var(1, ddof=1) + worse.var(1, ddof=1)) / better.shape[1])
            )
        ),
        "one-error": partial(decided, limit=1),
        "divided-by-all": partial(decided, ddof=0),
        "deviation-for-error": lambda better, worse: decided(
            better, worse, 2 * sqrt(better.shape[1])
        ),
        "root-forgotten": lambda better, worse: decided(better, worse, 2 / sqrt(better.shape[1])),
        "shifts-for-seeds": lambda better, worse: decided(
            better, worse, 2 * sqrt(better.shape[1] / len(better))
        ),
        "one-error-for-all": lambda better, worse: (
            np.sign((better - worse).mean(1))
            * (
                abs((better - worse).mean(1))
                > 2 * (better - worse).std(ddof=1) / sqrt(better.shape[1])
            )
        ),
        "undecided-as-opposite": lambda better, worse: 2 * (decided(better, worse) == 1) - 1,
        "sign-alone": lambda better, worse: np.sign((better - worse).mean(1)).astype(int),
        "opposite-forgotten": lambda better, worse: (decided(better, worse) > 0).astype(int),
        "decided-alone": lambda better, worse: abs(decided(better, worse)),
        "exchanged": lambda better, worse: decided(worse, better),
        "kind": lambda better, worse: decided(better, worse) > 0,
        "shape": lambda better, worse: decided(better.T, worse.T),
    },
    "at-best-rate": {
        "chosen-on-the-test": lambda validation, test: test.mean(2).max(1),
        "validation-told": lambda validation, test: validation.mean(2).max(1),
        "sets-exchanged": lambda validation, test: at_best_rate_right(test, validation),
        "one-rate-for-all": lambda validation, test: test.mean(2)[
            :, validation.mean(2).mean(0).argmax()
        ],
        "best-single-run": lambda validation, test: entry_at(test.mean(2), validation.max(2)),
        "each-seed-its-own": lambda validation, test: np.mean(
            np.take_along_axis(test, np.argmax(validation, axis=1, keepdims=True), axis=1)[:, 0], 1
        ),
        "first-seed-chooses": lambda validation, test: entry_at(test.mean(2), validation[:, :, 0]),
        "best-seed-told": lambda validation, test: entry_at(test.max(2), validation.mean(2)),
        "median-told": lambda validation, test: entry_at(np.median(test, 2), validation.mean(2)),
        "sum-told": lambda validation, test: entry_at(test.sum(2), validation.mean(2)),
        "worst-rate": lambda validation, test: entry_at(test.mean(2), -validation.mean(2)),
        "both-sets-choose": lambda validation, test: entry_at(
            test.mean(2), validation.mean(2) + test.mean(2)
        ),
        "mean-over-rates": lambda validation, test: test.mean((2, 1)),
        "place-of-the-rate": lambda validation, test: np.argmax(validation.sum(2), axis=1),
        "highest-of-all": lambda validation, test: test.reshape(len(test), -1).max(1),
        "seeds-for-rates": lambda validation, test: entry_at(test.mean(1), validation.mean(1)),
        "shape": lambda validation, test: test.mean(2)[:, validation.mean(2).argmax(1)],
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
        "sorted-and-left-so": lambda x, task, W0, A, B, scaling: np.concatenate(
            [
                mixed_batch_right(x[task == t], task[task == t], W0, A, B, scaling)
                for t in (-1, *range(3))
            ]
        ),
        "sorted-twice": lambda x, task, W0, A, B, scaling: mixed_batch_right(
            x[task.argsort()], np.sort(task), W0, A, B, scaling
        )[task.argsort()],
        "no-task-is-the-last": lambda x, task, W0, A, B, scaling: (
            x @ W0.T
            + np.stack([scaling[t] * B[t] @ (A[t] @ row) for row, t in zip(x, task, strict=True)])
        ),
        "instead-of-added": lambda x, task, W0, A, B, scaling: np.where(
            (task == -1)[:, None], x @ W0.T, mixed_batch_right(x, task, 0 * W0, A, B, scaling)
        ),
        "task-0-left-out": lambda x, task, W0, A, B, scaling: mixed_batch_right(
            x, np.where(task > 0, task, -1), W0, A, B, scaling
        ),
        "no-task-is-zero": lambda x, task, W0, A, B, scaling: np.where(
            task[:, None] >= 0, mixed_batch_right(x, task, W0, A, B, scaling), 0.0
        ),
    },
    "combine": {
        "factors-added": lambda A, B, w: (added(w, A), added(w, B)),
        "B-alone-weighted": lambda A, B, w: (sum(A), added(w, B)),
        "factors-averaged": lambda A, B, w: (sum(A) / len(A), added(w, B)),
        "weights-forgotten": lambda A, B, w: (np.vstack(A), np.hstack(B)),
        "kind": lambda A, B, w: added(w, [b @ a for a, b in zip(A, B, strict=True)]),
        "other-argument": lambda A, B, w: (
            np.vstack(A[:2]),
            np.hstack([w[0] * B[0], w[1] * B[1]]),
        ),
        "weights-twice": lambda A, B, w: (
            np.vstack([v * a for v, a in zip(w, A, strict=True)]),
            combine_right(A, B, w)[1],
        ),
        "both-averaged": lambda A, B, w: (sum(A) / len(A), sum(B) / len(B)),
        "both-averaged-with-weights": lambda A, B, w: (
            added(w, A) / sum(w),
            added(w, B) / sum(w),
        ),
        "roots-added": lambda A, B, w: (
            added([abs(v) ** 0.5 * (1 if v > 0 else -1) for v in w], A),
            added([abs(v) ** 0.5 for v in w], B),
        ),
        "sign-lost": lambda A, B, w: (
            np.vstack([abs(v) ** 0.5 * a for v, a in zip(w, A, strict=True)]),
            np.hstack([abs(v) ** 0.5 * b for v, b in zip(w, B, strict=True)]),
        ),
        "root-of-a-negative": lambda A, B, w: (
            np.vstack([sqrt(v) * a for v, a in zip(w, A, strict=True)]),
            np.hstack([sqrt(v) * b for v, b in zip(w, B, strict=True)]),
        ),
        "weights-over-their-sum": lambda A, B, w: combine_right(A, B, [v / sum(w) for v in w]),
        "pairs-exchanged": lambda A, B, w: (
            np.vstack(A),
            np.hstack([v * b for v, b in zip(w[::-1], B[::-1], strict=True)]),
        ),
        "side-by-side": lambda A, B, w: (
            np.concatenate(A, axis=1),
            np.concatenate([v * b for v, b in zip(w, B, strict=True)]),
        ),
    },
    "best-of-two": {
        "stronger-alone": lambda A, B: (
            (A[0], B[0])
            if np.linalg.norm(B[0] @ A[0]) > np.linalg.norm(B[1] @ A[1])
            else (A[1], B[1])
        ),
        "stacked": lambda A, B: (np.concatenate(A), np.concatenate(B, axis=1)),
        "factors-added": lambda A, B: (sum(A), sum(B)),
        "factors-averaged": lambda A, B: (sum(A), sum(B) / 2),
        "both-averaged": lambda A, B: (sum(A) / 2, sum(B) / 2),
        "first-alone": lambda A, B: (A[0], B[0]),
        "second-alone": lambda A, B: (A[-1], B[-1]),
        "one-too-few": lambda A, B: (
            best_of_two_right(A, B)[0][:-1],
            best_of_two_right(A, B)[1][:, :-1],
        ),
        "number-for-rank": lambda A, B: (
            best_of_two_right(A, B)[0][: len(B)],
            best_of_two_right(A, B)[1][:, : len(B)],
        ),
        "sigma-forgotten": lambda A, B: (
            np.linalg.svd(B[0] @ A[0] + B[1] @ A[1])[2][: len(A[0])],
            best_of_two_right(A, B)[1],
        ),
        "A-alone-cut": lambda A, B: (
            np.linalg.svd(np.vstack(A))[2][: len(A[0])],
            (B[0] @ A[0] + B[1] @ A[1]) @ np.linalg.svd(np.vstack(A))[2][: len(A[0])].T,
        ),
        "kind": lambda A, B: B[0] @ A[0] + B[1] @ A[1],
        "over-2": lambda A, B: (best_of_two_right(A, B)[0] / 2, best_of_two_right(A, B)[1]),
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
        "kind": lambda block, levels: codes_right(block, levels) + 0.5,
        "min-max": lambda block, levels: np.searchsorted(
            (levels[1:] + levels[:-1]) / 2, 2 * (block - block.min()) / np.ptp(block) - 1
        ),
        "min-max-to-integers": lambda block, levels: np.rint(
            15 * (block - block.min()) / np.ptp(block)
        ).astype(np.uint8),
        "from-minus-eight": lambda block, levels: codes_right(block, levels) - 8,
        "place-among-the-levels": lambda block, levels: np.searchsorted(
            levels, block / abs(block).max(), side="right"
        ),
        "mean-taken-off": lambda block, levels: codes_right(block - np.mean(block), levels),
        "norm": lambda block, levels: np.searchsorted(
            (levels[1:] + levels[:-1]) / 2, block / np.sqrt(sum(block**2))
        ),
        "for-each-level": lambda block, levels: np.array(
            [np.abs(block / abs(block).max() - level).argmin() for level in levels]
        ),
        "steps-from-zero": lambda block, levels: np.round(block / abs(block).max() * 7).astype(int),
        "sign-of-the-largest": lambda block, levels: np.searchsorted(
            (levels[1:] + levels[:-1]) / 2, block / max(block, key=abs)
        ),
    },
    "qlora-grad-x": {
        "pretrained-weight": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ (W0 + s_of(A, alpha) * B @ A)
        ),
        "adapter-path-missing": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ read_back(packed, absmax, W0.shape)
        ),
        "frozen-path-missing": lambda g, W0, packed, absmax, A, B, alpha: back_of(g, A, B, alpha),
        "low-half-first": lambda g, W0, packed, absmax, *others: qlora_grad_x_right(
            g, W0, packed % 16 * 16 + packed // 16, absmax, *others
        ),
        "halves-apart": lambda g, W0, packed, absmax, A, B, alpha: (
            g
            @ (
                nf4_levels()[np.hstack([packed >> 4, packed & 0xF])]
                * np.repeat(absmax, W0.size // len(absmax))
            ).reshape(W0.shape)
            + back_of(g, A, B, alpha)
        ),
        "absmax-forgotten": lambda g, W0, packed, absmax, *others: qlora_grad_x_right(
            g, W0, packed, np.ones(len(absmax)), *others
        ),
        "one-absmax": lambda g, W0, packed, absmax, *others: qlora_grad_x_right(
            g, W0, packed, np.full(len(absmax), np.abs(W0).max()), *others
        ),
        "down-the-columns": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ read_back(packed, absmax, -1).reshape(W0.shape, order="F") + back_of(g, A, B, alpha)
        ),
        "scaling-forgotten": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ (read_back(packed, absmax, W0.shape) + B @ A)
        ),
        "transposed": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ read_back(packed, absmax, W0.shape).T + back_of(g, A, B, alpha)
        ),
        "all-transposed": lambda g, W0, packed, absmax, A, B, alpha: (
            g @ read_back(packed, absmax, W0.shape).T + s_of(A, alpha) * g @ A.T @ B.T
        ),
        "absmax-by-rows": lambda g, W0, packed, absmax, A, B, alpha: (
            g * abs(W0).max(axis=1) @ read_back(packed, np.ones(len(absmax)), W0.shape)
            + back_of(g, A, B, alpha)
        ),
        "raises": lambda g, W0, packed, absmax, A, B, alpha: g @ (nf4_levels()[packed] * absmax),
        "over-n": lambda *given: qlora_grad_x_right(*given) / len(given[0]),
    },
    "count": {
        "2-d-r-of-the-input": lambda shapes, r: sum(2 * r * n for m, n in shapes),
        "full": lambda shapes, r: sum(m * n for m, n in shapes),
        "A-alone": lambda shapes, r: sum(r * n for m, n in shapes),
        "dimension": lambda shapes, r: sum(r * (m + n - r) for m, n in shapes),
        "rank-forgotten": lambda shapes, r: sum(m + n for m, n in shapes),
        "rank-once": lambda shapes, r: sum(r * m + n for m, n in shapes),
        "frozen-too": lambda shapes, r: sum(m * n + r * m + r * n for m, n in shapes),
        "times-2": lambda shapes, r: sum(2 * r * (m + n) for m, n in shapes),
        "kind": lambda shapes, r: [r * (m + n) for m, n in shapes],
    },
    "break-even": {
        "as-many-is-fewer": lambda m, n: int(m * n / (m + n)),
        "full-rank": lambda m, n: min(m, n),
        "half-the-input": lambda m, n: n // 2,
        "not-whole": lambda m, n: m * n / (m + n),
        "rounded": lambda m, n: round(m * n / (m + n)),
        "always-one-less": lambda m, n: m * n // (m + n) - 1,
        "quarter-of-the-sum": lambda m, n: int((m + n) / 4),
        "quarter-not-whole": lambda m, n: 0.25 * (m + n),
    },
    "cheaper-step": {
        "fewer-numbers": lambda m, n: (m * n - 1) // (m + n),
        "as-many-is-fewer": lambda m, n: m * n // (m + n) // 3,
        "not-whole": lambda m, n: m * n / (m + n) / 3,
        "sixth-of-the-smaller": lambda m, n: min(m, n) // 6,
        "twelfth-of-the-sum": lambda m, n: (m + n) // 12,
        "backward-alone": lambda m, n: (m * n - 1) // (2 * (m + n)),
        "both-in-each": lambda m, n: (m * n - 1) // (6 * (m + n)),
    },
    "training-bytes": {
        "all-trained": lambda frozen, trained: (frozen + trained) * 4 * 4,
        "frozen-forgotten": lambda frozen, trained: 4 * 4 * trained,
        "one-of-four": lambda frozen, trained: 4 * (frozen + 3 * trained),
        "numbers-for-bytes": lambda frozen, trained: frozen + 4 * trained,
        "mixed-precision": lambda frozen, trained: (
            2 * (frozen + trained) + 2 * trained + 8 * trained
        ),
        "mixed-precision-with-a-copy": lambda frozen, trained: 2 * frozen + 16 * trained,
        "trained-twice": lambda frozen, trained: 4 * (frozen + trained) + 4 * 4 * trained,
        "frozen-gradients": lambda frozen, trained: 8 * (frozen + trained) + 8 * trained,
        "times-2": lambda frozen, trained: 8 * frozen + 32 * trained,
    },
    "agrees": {
        "decimals-of-the-float": lambda printed, value: (
            abs(Fraction(printed) - value)
            <= Fraction(1, 2 * 10 ** len(str(float(printed)).split(".")[1]))
        ),
        "0.005-always": lambda printed, value: abs(Fraction(printed) - value) <= Fraction(5, 1000),
        "exactly-equal": lambda printed, value: Fraction(printed) == value,
        "ends-excluded": lambda printed, value: (
            2 * abs(Fraction(printed) - value) < Fraction(1, 10 ** len(printed.partition(".")[2]))
        ),
        "in-floats": lambda printed, value: (
            abs(float(printed) - float(value)) <= 0.5 * 10 ** -len(printed.partition(".")[2])
        ),
        "ends-excluded-in-floats": lambda printed, value: (
            abs(float(printed) - value) < 0.5 / 10 ** decimals_of(printed)
        ),
        "half-to-even": lambda printed, value: (
            round(value, decimals_of(printed)) == Fraction(printed)
        ),
        "half-to-even-in-floats": lambda printed, value: (
            f"{float(value):.{decimals_of(printed)}f}" == printed
        ),
        "formatted-to-two-in-floats": lambda printed, value: f"{float(value):.2f}" == printed,
        "rounded-to-two": lambda printed, value: round(value, 2) == Fraction(printed),
        "rounded-to-two-in-floats": lambda printed, value: round(float(value), 2) == float(printed),
        "rounded-to-two-against-a-float": lambda printed, value: round(value, 2) == float(printed),
        "never": lambda printed, value: round(value, 2) == printed,
        "cut": lambda printed, value: str(float(value))[: len(printed)] == printed,
        "raises": lambda printed, value: (
            2 * abs(Fraction(printed) - value) <= Fraction(1, 10 ** len(printed.split(".")[1]))
        ),
        "kind": lambda printed, value: "yes",
    },
    "which-rank": {
        "largest": lambda printed, shapes: max(right_ranks(printed, shapes), default=0),
        "below-1": lambda printed, shapes: min(right_ranks(printed, shapes, -9999), default=0),
        "nearest-and-right": nearest_rank,
        "nearest": lambda printed, shapes: round(float(printed) * 1e6 / each_rank(shapes)),
        "rank-below": lambda printed, shapes: int(float(printed) * 1e6 / each_rank(shapes)),
        "half-to-even": lambda printed, shapes: next(
            (
                r
                for r in range(1, 100)
                if f"{r * each_rank(shapes) / 1e6:.{decimals_of(printed)}f}" == printed
            ),
            0,
        ),
        "two-decimals-always": which_rank_by_float(lambda printed: 0.0050000001),
        "whole-unit": which_rank_by_float(lambda printed: 10.0 ** -decimals_of(printed)),
        "always-0": which_rank_by_float(lambda printed: 0),
        "kind": lambda printed, shapes: float(printed) * 1e6 / each_rank(shapes),
    },
}


def test_there_are_at_least_fifteen_and_each_notebook_has_one():
    assert len(EXERCISES) >= 15
    assert sorted({one.notebook for one in EXERCISES.values()}) == NOTEBOOKS
    assert list(EXERCISES) == sorted(EXERCISES, key=lambda id: EXERCISES[id].notebook)


def test_each_has_a_right_answer_and_at_least_three_wrong_ones_here():
    assert set(RIGHT_ANSWERS) == set(WRONG_ANSWERS) == set(EXERCISES)
    assert all(len(wrong) >= 3 for wrong in WRONG_ANSWERS.values())


@pytest.mark.parametrize("seed", seeds(5))
@each("id", EXERCISES)
def test_a_right_answer_is_right_whatever_is_drawn(id, seed):
    said = check(id, RIGHT_ANSWERS[id], seed=seed)
    assert said, said
    assert said.result == RIGHT


@each("id", EXERCISES)
def test_wrong_answers_are_told_apart_by_name(id):
    for name, answer in WRONG_ANSWERS[id].items():
        said = check(id, answer)
        assert said.result == name, said
        assert not said
        assert str(said).startswith(f"{id}: ")


@pytest.mark.parametrize(
    ("seed", "every"),
    [(0, 4), *(pytest.param(seed, 1, marks=pytest.mark.exhaustive) for seed in (0, 1))],
    ids=["every fourth", "all", "all of another draw"],
)
@each("id", EXERCISES)
def test_each_known_wrong_answer_is_recognised_and_no_two_are_taken_for_each_other(id, seed, every):
    one = exercise(id)
    assert len(one.wrong_answers) >= 2
    for name, wrong in [*one.wrong_answers.items()][::every]:
        said = check(id, partial(wrong.answer), seed=seed)  # it may use what is ruled out
        assert said.result == name, (name, said)
        assert said.message == wrong.message


@each("id", EXERCISES)
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


@each("id", EXERCISES)
def test_the_task_the_stub_and_the_loops_are_shown_and_the_stub_is_not_attempted(id):
    text, one = show(id, loops=True), exercise(id)
    assert text.startswith(f"{id}: {one.title}\n\n{one.function}(")
    assert f"\n{one.task}\n" in text
    assert one.question.replace("\n", " ") in text.replace("\n", " ")
    assert all(len(line) <= 100 for line in text.splitlines())
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


def test_another_start_makes_the_same_training():
    """The exercise's right answer, on a training with Adam; one rate for both in the second."""
    rng = np.random.default_rng(0)
    W0, x, y = (rng.standard_normal(shape) for shape in ((5, 7), (6, 7), (6, 5)))
    A, B, size, new_size = rng.standard_normal((2, 7)), np.zeros((5, 2)), 0.3, 0.05
    alpha, lr = in_plain_lora(4, 2, True, size, 0.001, 0.004, new_size)
    ends = []
    for a, other, stabilized, rates in (
        (size * A, 4, True, {"A": 0.001, "B": 0.004}),
        (new_size * A, alpha, False, {"A": lr, "B": lr}),
    ):
        layer = LoRALinear(W0, a, B, other, rank_stabilized=stabilized)
        network, _ = train(
            Network({"layer": layer}), x, y, steps=20, batch=6, rng=np.random.default_rng(1),
            optimizer=AdamW(1.0, weight_decay=0, epsilon=1e-30, lr_ratio=rates),
            loss=Loss(mean_squared_error, mean_squared_error_backward),
        )  # fmt: skip
        ends.append(network["layer"].delta_w)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)


def test_a_B_that_is_nearly_zero_is_no_matter_of_digits():
    said = check(
        "start", lambda m, n, r, rng: (start_right(m, n, r, rng)[0], np.full((m, r), 1e-9))
    )
    assert said.result == "value"
    assert "you have 1e-09, the specification 0" in said.message


@each("id", EXERCISES)
def test_a_copy_of_the_loops_is_recognised_under_another_name(id):
    source = (
        show(id, loops=True).partition("In plain loops:\n\n")[2].replace("def spec(", "def mine(")
    )
    names = {"Array": object, "Any": object, "Fraction": Fraction, "np": np}
    names |= {"Shapes": list, "numerical_rank": np.linalg.matrix_rank}
    exec(source + "  # a remark\n", names)
    said = check(id, names["mine"])
    ruled_out = used(names["mine"], exercise(id).without)
    assert said.result == ("ruled-out" if ruled_out else "the-specification"), said


def test_a_verdict_may_be_made_of_floats_or_be_a_list():
    assert check("verdict", lambda *given: decided(*given).astype(float))
    assert check("verdict", lambda *given: decided(*given).tolist())
    said = check("verdict", lambda *given: decided(*given) / 2)
    assert said.result == "kind"
    assert "expected whole numbers" in said.message


def test_another_pair_with_the_same_product_is_right_too():
    assert check("combine", combine_otherwise)


def test_an_error_is_that_of_a_known_wrong_answer_only_if_it_would_do_the_same_on_square_matrices():
    def untransposed(x, W0, A, B, alpha, on):
        return x @ (W0 + alpha / len(A) * B @ A)

    def otherwise(grad_y, mask, W0, A, B, alpha):
        return grad_y @ W0 + mask * (alpha / len(A) * (grad_y @ A.T @ B.T))

    assert check("forward", untransposed).result == "raises"
    assert check("grad-x", otherwise).result == "raises"


def test_what_is_right_on_square_matrices_alone_is_told_so():
    def widths_swapped(A, B, alpha):
        update = np.zeros((A.shape[1], len(B)))
        update += alpha / len(A) * B @ A
        return update

    said = check("delta-w", widths_swapped)
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

    said = check("combine", rooted)
    assert said.result == "kind"
    assert "nan, which the root of a negative weight is" in said.message


def test_codes_may_be_a_list_a_number_a_fraction_and_a_pair_a_list():
    assert check("nf4-codes", lambda block, levels: codes_right(block, levels).tolist())
    assert check("scaling", lambda *given: Fraction(RIGHT_ANSWERS["scaling"](*given)))
    assert check("combine", lambda *arguments: [*combine_right(*arguments)])


def test_where_a_softmax_overflows_a_sentence_says_why():
    def masked(scores):
        return np.where(np.tri(*scores.shape[1:]) > 0, scores, -np.inf)

    def diagonal_masked(scores):
        return softmax(np.where(np.tri(*scores.shape[1:], k=-1) > 0, scores, -np.inf))

    def unshifted(scores, temperature, allowed, grad_weights):
        P = np.exp(scores / temperature) * allowed
        P /= P.sum(axis=2, keepdims=True)
        return P * (grad_weights - (P * grad_weights).sum(axis=2, keepdims=True)) / temperature

    def turned_into_infinity(scores, temperature, allowed, grad_weights):
        return softmax(scores / temperature + -np.inf * ~allowed) * grad_weights

    assert "the softmax is missing" in check("causal-mask", masked).message
    assert "does each token see at least itself?" in check("causal-mask", diagonal_masked).message
    assert "exp(1000) is inf" in check("softmax-gradient", unshifted).message
    assert "-inf times 0" in check("softmax-gradient", turned_into_infinity).message


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
    "a list": (lambda A, B, alpha: [3, [4]], "kind", "returns a list that is no array of numbers"),
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
    assert said.result == "changed-result"
    assert said.message == "this is the opposite of the right answer."


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


@pytest.mark.parametrize("id", ["count", "break-even", "tail", "scaling"])
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
    def answer(norm, s):
        float(np.linalg.norm(s))

    said = check("tail", answer)
    assert said.result == "returns-nothing"
    assert said.message.startswith("it returns nothing, with ")
    said = check("scaling", lambda alpha, r, stabilized: None if stabilized else alpha / r)
    assert said.result == "returns-nothing"
    assert "for 4 of 7 inputs" in said.message


def begun(A, B, alpha):
    B @ A


def only_a_text(A, B, alpha):
    """Return the update."""


BEGUN = {
    "a product": (begun, True),
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
    def untransposed(M, u, r):
        return np.array(u[:r]) @ np.array(u[:r]) @ M

    with np.errstate(all="raise"):
        for seed in range(6):
            assert check("truncate", untransposed, seed=seed).result == "raises"


def test_what_is_wrong_elsewhere_is_not_laid_to_the_batch():
    def soft(x, W_down, b_down, W_up, b_up):
        return x + np.log1p(np.exp(x @ W_down.T + b_down)) @ W_up.T + b_up

    for seed in range(10):
        assert check("adapter", soft, seed=seed).result in ("value", "sometimes-right")


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
            assert said.result == ("above-alone" if sign == 1 else "below-alone")


EXACT_BUT_WRONG = {  # h is half a unit, u a whole one
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


KNOWN_BY_NOW = {
    "right end out": "upper-end-excluded",
    "left end out": "lower-end-excluded",
    "all characters": "all-digits",
    "a digit more": "all-digits",
    "no signs": "signs-lost",
    "no sign of the value": "other-argument",
    "no minus": "other-argument",
    "half a float": "half-a-unit-in-floats",
}


@pytest.mark.parametrize("case", EXACT_BUT_WRONG)
def test_another_rule_of_agreement_is_not_taken_for_one_that_is_known(case):
    def answer(printed, value):
        unit = Fraction(1, 10 ** len(printed.partition(".")[2]))
        return EXACT_BUT_WRONG[case](printed, value, unit)

    for seed in range(10):
        result = KNOWN_BY_NOW.get(case, "sometimes-right")
        assert check("agrees", answer, seed=seed).result == result


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
        ("tail", np.array(Fraction(5, 2))),
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
        "start", lambda m, n, r, rng: (start_right(m, n, r, rng)[0], np.full((m, r), 1e-12))
    )
    assert said.result == "value"


def test_a_transpose_is_one_in_every_draw():
    for seed in range(10):
        assert (
            check("truncate", lambda M, u, r: cut(M, 3).T, seed=seed).result == "shape-transposed"
        )


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
    with pytest.raises(LoraRefError, match="there are: dial, "):
        show("")
    with pytest.raises(LoraRefError, match="seed in check is 'x'"):
        check("grad-A", RIGHT_ANSWERS["grad-A"], seed="x")


# ---------------------------------------------------------------------- folded and ruled out


FOLDED = [id for id, one in EXERCISES.items() if one.folded]


@pytest.mark.parametrize("id", FOLDED)
def test_loops_that_give_the_formula_away_are_shown_on_demand_alone(id):
    one = exercise(id)
    for text in (show(id), one.stub()):
        assert "def spec" not in text
        assert one.loops.splitlines()[-1].strip() not in text
        assert f'show("{id}", loops=True)' in text
        assert f"lora-ref exercises {id} --loops" in text
    assert one.loops in show(id, loops=True)
    assert "folded" not in show(id, loops=True)


def test_counting_tasks_are_folded_and_others_are_not():
    assert {"count", "training-bytes", "cheaper-step"} <= set(FOLDED)
    assert "def spec" in show("grad-A")


def with_for(A, B, alpha):
    W = np.zeros((len(B), A.shape[1]))
    for i in range(len(B)):
        W[i] += alpha / len(A) * B[i] @ A
    return W


def with_while(A, B, alpha):
    W, i = np.zeros((len(B), len(A[0]))), 0
    while i < len(B):
        W[i] += alpha / len(A) * B[i] @ A
        i += 1
    return W


def with_einsum(A, B, alpha):
    return alpha / len(A) * np.einsum("ik,kj->ij", B, A)


def with_a_comprehension(A, B, alpha):
    return alpha / len(A) * np.array([row @ A for row in B])


def with_a_loop_inside(A, B, alpha):
    def product():
        return sum(np.outer(B[:, k], A[k]) for k in range(len(A)))

    return alpha / len(A) * product()


RULED_OUT = {
    "a loop": (with_for, "this uses a loop (for); the task rules out for, while and einsum."),
    "while": (with_while, "this uses a loop (while); "),
    "einsum": (with_einsum, "this uses einsum; "),
    "a comprehension": (with_a_comprehension, "this uses a loop (for); "),
    "a loop in a function inside": (with_a_loop_inside, "this uses a loop (for); "),
}


@pytest.mark.parametrize("case", RULED_OUT)
def test_what_a_task_rules_out_is_named_before_anything_is_compared(case):
    answer, says = RULED_OUT[case]
    said = check("delta-w", answer)
    assert said.result == "ruled-out"
    assert said.message.startswith(says)
    assert check("delta-w", lambda A, B, alpha: answer(A, B, alpha)).result == "ruled-out"
    elsewhere = partial(answer)
    assert check("delta-w", lambda A, B, alpha: elsewhere(A, B, alpha)), "it is not known"
    assert "Write it without for, while and einsum." in show("delta-w")


def test_of_what_has_no_bytecode_nothing_is_said():
    assert check("delta-w", partial(with_for))
    assert used(len, LOOPS) == used(NoSignature(), LOOPS) == ()


def test_the_code_of_an_answer_is_read_as_far_as_it_is_asked_for():
    def early(M):
        for i in M:
            if i:
                continue
            for j in M:
                if j:
                    break
        return [k for k in M if k] @ M

    def endless(M):
        while True:
            if M.pop():
                break

    def handled(M):
        try:
            with M:
                return M * M
        finally:
            M.close()

    many = "\n".join(f"    if M == {i}: M = {i + 1000}" for i in range(400))
    names = {}
    exec(f"def long(M):\n  for i in M:\n{many}\n", names)
    every = "for", "while", "@", "*", "pop"
    assert used(early, every) == ("for", "@")
    assert used(endless, every) == ("while", "pop")
    assert used(handled, every) == ("*",)
    assert used(names["long"], every) == ("for",), "a jump that takes two instructions"


# ---------------------------------------------------------------------- numbers of any kind


WHOLE = ["rank-bound", "count", "break-even", "training-bytes"]


@pytest.mark.parametrize("id", WHOLE)
@pytest.mark.parametrize("kind", [Fraction, np.int64, np.uint32, np.array])
def test_a_count_is_right_as_a_whole_number_of_any_kind(id, kind):
    for seed in range(3):
        assert check(id, lambda *given: kind(RIGHT_ANSWERS[id](*given)), seed=seed)


@pytest.mark.parametrize("id", WHOLE)
def test_a_whole_float_is_a_count_and_another_is_none(id):
    assert check(id, lambda *given: float(RIGHT_ANSWERS[id](*given)))
    said = check(id, lambda *given: RIGHT_ANSWERS[id](*given) + 0.5)
    assert said.result == "kind"
    assert re.search(r"it returns the float [\d.]+\.5, expected a whole number", said.message)


def test_a_fraction_that_is_not_whole_is_no_count():
    said = check("count", lambda shapes, r: Fraction(r * sum(map(sum, shapes)), 7))
    assert said.result == "kind"
    assert "expected a whole number" in said.message


def in_float32(answer):
    """Return the same answer in float32, as an array or a list."""
    if isinstance(answer, tuple):
        return [in_float32(one) for one in answer]
    return np.float32(answer).tolist()


@each("id", EXERCISES)
def test_float32_and_lists_are_right_wherever_the_mathematics_is(id):
    first = attempts(exercise(id), exercise(id).spec, 0)[0].parts[0].expected
    if np.asarray(first).dtype.kind != "f":
        return
    right = RIGHT_ANSWERS[id]
    for form in (in_float32, lambda answer: [*answer] if isinstance(answer, tuple) else answer):
        if id != "whitening" or form is not in_float32:  # C C^T squares what is lost
            assert check(id, partial(lambda right, form, *given: form(right(*given)), right, form))


def test_a_pair_may_be_an_array_of_two_and_truth_a_number():
    assert check("other-rows", lambda *given: np.array(RIGHT_ANSWERS["other-rows"](*given)))
    assert check("agrees", lambda *given: int(RIGHT_ANSWERS["agrees"](*given)))
    assert check("nf4-codes", lambda *given: RIGHT_ANSWERS["nf4-codes"](*given) * 1.0)


ONE_CHANGE = {
    "r + 1": ("truncate", lambda M, u, r: cut(M, r + 1), "one-too-many", "r + 1 terms"),
    "a square": (
        "dial", lambda off, on, t: off + t**2 * (on - off), "other-argument",
        "with strength**2 in the place of strength.",
    ),
    "another argument": (
        "merge",
        lambda W, A, B, a, C, D, c: merged_right(W, A, B, a, C, D, a), "other-argument",
        "with alpha in the place of new_alpha.",
    ),
    "a mask": (
        "grad-x",
        lambda g, m, W0, A, B, alpha: g @ W0 + (1 - m) * back_of(g, A, B, alpha), "other-argument",
        "with 1 - mask in the place of mask.",
    ),
    "a part of a list": (
        "count", lambda shapes, r: r * sum(map(sum, shapes[1:])), "other-argument", "shapes[1:]",
    ),
    "a logarithm": (
        "tail", lambda norm, s: 0.5 * np.log(norm**2 - s @ s), "changed-result", "the logarithm of",
    ),
    "weight decay": (
        "step",
        lambda g, x, A, B, alpha, lr: (step_right(g, x, A, B, alpha, lr)[0] - lr * A,
                                       step_right(g, x, A, B, alpha, lr)[1]),
        "added", "A: this is the right answer, minus lr times A.",
    ),
    "n less 1": (
        "whitening", lambda x: root_of(x) * sqrt(len(x) / (len(x) - 1)), "named-factor",
        "yours is len(x)/(len(x) - 1) times",
    ),
    "another size": (
        "truncate", lambda M, u, r: cut(M, r) / r, "named-factor", "yours is 1/r times",
    ),
    "another order": (
        "attention-scale", lambda q, k, g: scale_right(q, k, g)[::-1], "order",
        "this returns grad_q, scores; expected scores, grad_q.",
    ),
    "a constant": ("break-even", lambda m, n: 7, "constant", "it gives 7 throughout"),
    "parameters": (
        "delta-w", lambda B, A, alpha: alpha / len(A) * B @ A, "signature",
        "your parameters are (B, A, alpha); it is called with (A, B, alpha).",
    ),
    "a product formed": (
        "forward",
        lambda x, W0, A, B, alpha, on: x @ W0.T + on[:, None] * (x @ (s_of(A, alpha) * B @ A).T),
        "ruled-out", "right, but it forms B A",
    ),
}  # fmt: skip


def test_a_factor_is_told_with_what_is_wrong_too():
    def twice(wrong_lr):
        def answer(*given):
            alpha, lr = RIGHT_ANSWERS["another-start"](*given)
            return 2 * alpha, lr + wrong_lr

        return str(check("another-start", answer))

    assert "alpha: right up to the factor 2" in twice(0)
    assert "too" not in twice(0)
    assert twice(0.1) == twice(0) + " (lr is wrong too.)"


def test_every_wrong_value_of_a_pair_is_told():
    said = str(check("another-start", lambda *given: (1.25, 0.5)))
    assert said.endswith("(lr is wrong too.)")


def test_what_is_small_and_should_be_zero_is_told_so():
    def nearly(*given):
        A, B = RIGHT_ANSWERS["start"](*given)
        return A, B + 1e-3

    assert "you have 0.001, the specification 0 throughout" in str(check("start", nearly))


@pytest.mark.parametrize("case", ONE_CHANGE)
def test_what_is_right_but_for_one_change_is_told_with_the_change(case):
    id, answer, result, says = ONE_CHANGE[case]
    for seed in range(3):
        said = check(id, answer, seed=seed)
        assert said.result == result, said
        assert says in said.message


def test_a_helper_of_the_same_file_is_looked_into():
    def answer(A, B, alpha):
        return with_for(A, B, alpha)

    assert check("delta-w", answer).message.startswith("this uses a loop (for); ")


def test_what_may_be_chance_is_not_said_of_a_single_input():
    def for_one(x, W0, A, B, alpha, on):
        return forward_right(x, W0, A, B, alpha, on) + (len(x) != 6)

    said = check("forward", for_one)
    assert said.result == "sometimes-right"
    assert "alone it is true" not in said.message


def test_what_is_printed_for_the_first_input_that_fails_is_shown(capsys):
    def answer(off, on, t):
        print("strength", t)
        return off + (t or 1) * (on - off)

    said = check("dial", answer)
    assert "Of the others alone it is true that strength is zero." in said.message
    assert capsys.readouterr().out.splitlines()[1:] == ["strength 0.0"]


def test_a_difference_quotient_is_still_told():
    said = check("dial", lambda off, on, t: off + t * (on - off) + 1e-7 * on**2)
    assert said.result == "precision"


# ---------------------------------------------------------------------- what is said and printed


SOMETIMES = {
    "r": (
        "truncate",
        lambda M, u, r: cut(M, 3),
        r"such as M \(\d+,\d+\), u .*, r 3\. Of these alone it is true that ",
    ),
    "a flag": (
        "scaling",
        lambda alpha, r, stabilized: alpha / r + 0.1 * stabilized,
        "Of these alone it is true that rank_stabilized is False",
    ),
    "a text": (
        "agrees",
        lambda printed, value: printed[0] in "-2" and agrees_right(printed, value),
        r"right for \d+ of 28 inputs, such as printed ",
    ),
    "a sign": (
        "nf4-codes",
        lambda block, levels: codes_right(block, levels) + (abs(block.min()) > block.max()),
        "alone it is true that the largest entry of block, by size, is above zero",
    ),
    "sides": (
        "break-even",
        lambda m, n: (m * n - 1) // (m + n) + (m > n),
        "Of these alone it is true that out_features is at most in_features",
    ),
    "several tasks": (
        "count",
        lambda shapes, r: r * sum(map(sum, shapes)) + (len(shapes) > 2),
        "Of these alone it is true that shapes has 2 entries",
    ),
}


@pytest.mark.parametrize("case", SOMETIMES)
def test_an_input_that_was_right_is_shown_with_what_is_special_about_it(case):
    id, answer, says = SOMETIMES[case]
    said = check(id, answer)
    assert said.result == "sometimes-right", said
    assert re.search(says, said.message), said
    assert re.search(r"\. With .*you have .*, the specification ", said.message)


def test_what_is_said_of_the_right_inputs_is_true_of_no_wrong_one():
    said = check("truncate", lambda M, u, r: cut(M, 3))
    with_3 = [a.arguments["r"] == 3 for a in attempts(exercise("truncate"), cut, 0)]
    assert f"right for {sum(with_3)} of {len(with_3)} inputs" in said.message


def test_an_error_is_shown_with_shapes_and_no_matrices():
    said = check("combine", lambda A, B, weights: A[0] @ B[0].T)
    assert said.result == "raises"
    assert re.search(r"with A \[(\(2,\d+\)(, )?){3}\], B \[(\(\d+,2\)(, )?){3}\]", said.message)


def test_what_a_function_prints_is_shown_for_one_call(capsys):
    def answer(A, B, alpha):
        print("shape", A.shape)
        return alpha / len(A) * B @ A

    assert check("delta-w", answer)
    assert capsys.readouterr().out.count("shape") == 1


# ---------------------------------------------------------------------- imports, questions, hints


def test_a_stub_file_has_what_its_tasks_need(tmp_path, capsys):
    from lora_ref import cli

    assert cli.main(["exercises", "agrees", "tail", "--stubs"]) == 0
    names = {}
    exec(capsys.readouterr().out, names)
    assert names["Fraction"] is Fraction
    assert names["np"] is np
    answer = """def agrees(printed, value):
    unit = Fraction(1, 10 ** len(printed.partition(".")[2]))
    return abs(Fraction(printed) - value) <= unit / 2
"""
    exec(answer, names)
    assert check("agrees", names["agrees"])
    for id, one in EXERCISES.items():
        for name in re.findall(r"\b[A-Z]\w+(?=\()", one.task):
            assert any(line.endswith(f"import {name}") for line in one.imports), (id, name)
        for line in one.imports:
            assert line in show(id)


def expressions(text):
    """Return what a text has between backquotes, and behind an equals sign or a return."""
    found = re.findall(r"`([^`]*)`", text) + re.findall(r"(?:=|return) ([^=;,]+)", text)
    return [part.removeprefix("return ").strip(" .") for part in found]


def source_of(answer):
    try:
        return inspect.getsource(answer)
    except TypeError:  # a partial, or another object that is called
        return ""


def gives_the_answer(id, text):
    """Return an expression in a text that would be a right answer, if there is one."""
    one = exercise(id)
    head = one.signature.removeprefix(f"def {one.function}(").removesuffix("):")
    right, bare = (re.sub(r"\s", "", one) for one in (source_of(RIGHT_ANSWERS[id]), text))
    for part in expressions(text):
        try:
            answer = eval(f"lambda {head}: ({part})", {"np": np, "Fraction": Fraction})
        except SyntaxError:
            continue
        if check(id, answer):
            return part
    bodies = re.findall(r"(?:return|lambda[^:]*:)(.*)", right)
    return next((body for body in bodies if len(body) > 8 and body.rstrip(",") in bare), None)


def test_each_has_a_question_and_three_hints():
    lacking = {
        id: f"question {bool(one.question)}, hints {len(one.hints)}"
        for id, one in EXERCISES.items()
        if not one.question or len(one.hints) != 3
    }
    assert lacking == {}


@each("id", EXERCISES)
def test_no_question_and_no_hint_gives_the_answer(id):
    one = exercise(id)
    for text in (one.question, *one.hints):
        assert gives_the_answer(id, text) is None, text
    assert len(set(one.hints)) == len(one.hints)
    assert all(len(text.split()) >= 8 for text in one.hints)
    assert not one.question or "?" in one.question


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("delta-w", "It is `alpha / len(A) * B @ A`, and nothing else."),
        ("grad-x", "So it is `grad_y @ W0 + mask * (alpha / len(A) * (grad_y @ B @ A))`."),
        ("break-even", "Round down: return (out_features * in_features - 1) // (out_features + "
         "in_features)"),
        ("tail", "Take np.sqrt(norm**2 - np.sum(s**2)) of them."),
    ],
)  # fmt: skip
def test_a_hint_that_gives_the_answer_is_noticed(id, text):
    assert gives_the_answer(id, text) is not None


def test_hints_come_one_at_a_time():
    assert hint("best-update", 2).startswith("best-update, hint 2 of 3: ")
    assert hint("best-update") != hint("best-update", 3)
    assert 'print(hint("best-update", 1)), and so on to 3.' in show("best-update")
    assert exercise("best-update").hints[0] not in show("best-update").replace("\n", " ")
    assert exercise("best-update").hints[1] in hint("best-update", 2).replace("\n", " ")
    with pytest.raises(LoraRefError, match="step in hint is 4, expected 1 to 3 for best-update"):
        hint("best-update", 4)


def test_several_forms_of_the_best_update_are_right():
    def factors(x, y, W0, r):
        U, sigma, Vh = np.linalg.svd(x, full_matrices=False)
        left, tau, right = np.linalg.svd((y - x @ W0.T).T @ U, full_matrices=False)
        return right[:r] / sigma @ Vh, left[:, :r] * tau[:r]

    def with_cholesky(x, y, W0, r):
        return cut_as_seen_by(np.linalg.cholesky(x.T @ x), full_update(x, y, W0), r)

    for seed in range(5):
        assert check("best-update", factors, seed=seed)
        assert check("best-update", with_cholesky, seed=seed)
        assert check("whitening", lambda x: np.linalg.cholesky(x.T @ x / len(x)), seed=seed)


def test_other_rows_never_whiten_better_and_the_same_only_where_they_are_as_loud():
    draw, spec = (getattr(exercise("other-rows"), name) for name in ("draw", "spec"))
    for seed in range(20):
        given = draw(np.random.default_rng(seed), 3)
        x, F, r = given["x"], given["F"], given["r"]
        own, other = spec(**given)
        assert own < other
        mixed = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(x), len(x))))[0]
        assert spec(x, 3 * mixed @ x, F, r) == pytest.approx((own, own), rel=1e-6)


def test_rows_that_are_white_leave_the_full_update_cut_as_it_is():
    draw, answer = exercise("other-rows").draw, RIGHT_ANSWERS["other-rows"]
    for seed in range(20):
        given = draw(np.random.default_rng(seed), 3)
        x, F, r = given["x"], given["F"], given["r"]
        other = answer(x, np.linalg.qr(given["others"])[0], F, r)[1]
        assert other == pytest.approx(extra(x, F, cut(F, r)), rel=1e-9)


# ---------------------------------------------------------------------- the page for teachers


def test_the_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "exercises.md"
    assert page.read_text(encoding="utf-8") == as_markdown(tuple(EXERCISES.values())), "make docs"


def test_the_page_shows_questions_and_no_hint():
    page = as_markdown(tuple(EXERCISES.values())).replace("\\", "")
    for one in EXERCISES.values():
        assert one.question in page
        assert not any(text in page for text in one.hints)
    assert "\nHints: 1, 2, 3.\n" in page


def test_the_page_names_every_result_that_occurs_here():
    known = {name for names in RESULTS for name in names.split(", ")}
    seen = {result for _, result, _ in GENERIC.values()}
    for id, wrong in WRONG_ANSWERS.items():
        seen |= set(wrong) - set(exercise(id).wrong_answers)
    assert {name for name in seen - known if not name.startswith(("times-", "over-"))} == set()
