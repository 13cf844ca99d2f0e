"""Exercises of notebook 02: rank, the truncated SVD and its error."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes
from lora_ref.lowrank import truncate


def _rank_bound(out_features: int, in_features: int, ranks: list[int]) -> int:
    rng = np.random.default_rng(0)
    total = np.zeros((out_features, in_features))
    for r in ranks:  # random updates reach the largest rank that updates can have
        for _ in range(r):
            b, a = rng.standard_normal(out_features), rng.standard_normal(in_features)
            for i in range(out_features):
                for j in range(in_features):
                    total[i, j] += b[i] * a[j]
    return int(np.linalg.matrix_rank(total))


def _draw_ranks(rng: np.random.Generator, n: int) -> Arguments:
    small, large = int(rng.integers(7, 9)), int(rng.integers(10, 13))
    first, second, r = (small, large, 5) if n in (3, 2) else (large, small, 6)
    # the sum lies above both sides, between them, or below both
    ranks = {3: [r, 1, 4], 4: [r, 4, 7]}.get(n, [1, r - 3, 2])
    return {"out_features": first, "in_features": second, "ranks": ranks}


RANK_BOUND = Exercise(
    "02",
    "the largest rank that a sum of updates can have",
    "Several updates, each of shape (out_features, in_features), are added: the first has rank\n"
    "ranks[0], the second ranks[1], and so on. Return the largest rank that their sum can have,\n"
    "a whole number.",
    _rank_bound,
    _draw_ranks,
    {
        "sides-forgotten": WrongAnswer(
            "the ranks add up, but no matrix has more rank than rows, or than columns.",
            lambda out, in_, ranks: sum(ranks),
        ),
        "largest-rank": WrongAnswer(
            "this is the largest of the ranks; a sum can have more rank than each of its terms.",
            lambda out, in_, ranks: max(ranks),
        ),
        "full-rank": WrongAnswer(
            "a matrix of this shape can have this rank; a few updates of low rank do not reach it.",
            lambda out, in_, ranks: min(out, in_),
        ),
        "larger-side": WrongAnswer(
            "rank is limited by the smaller side, not by the larger.",
            lambda out, in_, ranks: min(sum(ranks), max(out, in_)),
        ),
    },
)


def _truncate(M: Array, r: int) -> Array:
    rest, cut = M.copy(), np.zeros_like(M)
    for _ in range(r):  # subtract the direction with the largest singular value, r times
        a = rest[np.argmax(np.linalg.norm(rest, axis=1))]
        for _ in range(200):
            b = rest @ a
            a = rest.T @ b
            a = a / np.linalg.norm(a)
        b = rest @ a
        for i in range(len(b)):
            for j in range(len(a)):
                cut[i, j] += b[i] * a[j]
        rest = M - cut
    return cut


def _draw_matrix(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a matrix whose singular values are far apart, each 0.55 of the one before."""
    out_features, in_features, r = sizes(rng)
    small = min(out_features, in_features)
    U = np.linalg.qr(rng.standard_normal((out_features, small)))[0]
    V = np.linalg.qr(rng.standard_normal((in_features, small)))[0]
    return {"M": U * (3 * 0.55 ** np.arange(small)) @ V.T, "r": r}


def _without_singular_values(M: Array, r: int) -> Array:
    U, _, Vh = np.linalg.svd(M, full_matrices=False)
    product: Array = U[:, :r] @ Vh[:r]
    return product


TRUNCATE = Exercise(
    "02",
    "the nearest matrix of rank r",
    "M has shape (out_features, in_features). Return the matrix of the same shape and of rank at\n"
    "most r whose distance to M is least. numpy.linalg.svd is welcome.",
    _truncate,
    _draw_matrix,
    {
        "strengths-forgotten": WrongAnswer(
            "the directions are right, the singular values are missing: all of them count as 1.",
            _without_singular_values,
        ),
        "weakest-kept": WrongAnswer(
            "this keeps the terms with the r smallest singular values, not the largest.",
            lambda M, r: M - truncate(M, min(M.shape) - r),
        ),
        "the-rest": WrongAnswer(
            "this is the residual, M minus the answer.", lambda M, r: M - truncate(M, r)
        ),
        "rows-kept": WrongAnswer(
            "this keeps the first r rows of M. It has rank r, but others of rank r are nearer.",
            lambda M, r: np.concatenate([M[:r], np.zeros_like(M[r:])]),
        ),
        "one-too-few": WrongAnswer(
            "this is the nearest matrix of rank r - 1.", lambda M, r: truncate(M, r - 1)
        ),
    },
    tolerance=1e-7,  # of the specification, which iterates until its directions nearly stand still
)


def _tail(s: Array, r: int) -> float:
    total = 0.0
    for k in range(len(s)):
        if k >= r:  # counted from 0: s[0] ... s[r - 1] are kept
            total += s[k] * s[k]
    return float(total**0.5)


def _draw_values(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    s = np.sort(rng.uniform(0.5, 4, min(out_features, in_features)))[::-1].copy()
    return {"s": s, "r": min(r, len(s) - 2)}


TAIL = Exercise(
    "02",
    "the error of a truncation, before it is computed",
    "s holds the singular values of M, falling. Return the Frobenius norm of the difference\n"
    "between M and the nearest matrix of rank r.",
    _tail,
    _draw_values,
    {
        "squared": WrongAnswer(
            "this is the square of the error.", lambda s, r: float(np.sum(s[r:] ** 2))
        ),
        "summed": WrongAnswer(
            "singular values are added here; in the Frobenius norm their squares are.",
            lambda s, r: float(np.sum(s[r:])),
        ),
        "spectral": WrongAnswer(
            "this is the error in the spectral norm, the first value that is left out.",
            lambda s, r: float(s[r]),
        ),
        "kept-part": WrongAnswer(
            "this is the norm of what is kept, not of what is lost.",
            lambda s, r: float(np.linalg.norm(s[:r])),
        ),
        "one-less-cut": WrongAnswer(
            "s[r] is missing: it is the first value that is left out, for Python counts from 0.",
            lambda s, r: float(np.linalg.norm(s[r + 1 :])),
        ),
    },
)

ALL = (RANK_BOUND, TRUNCATE, TAIL)
