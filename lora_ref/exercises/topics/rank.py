"""Exercises of notebook 01: rank, cut and tail."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, Slip
from lora_ref.exercises.random_inputs import singular, sizes
from lora_ref.lowrank import truncate


def _rank_bound(out_features: int, in_features: int, ranks: list[int]) -> int:
    rng = np.random.default_rng(0)
    total = np.zeros((out_features, in_features))
    for r in ranks:  # updates at random have as much rank as updates can have
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
    "rank-bound",
    "01",
    "the most rank that a sum of updates can have",
    "Several updates, each of shape (out_features, in_features), are added: the first has rank\n"
    "ranks[0], the second ranks[1], and so on. Return the largest rank that their sum can have,\n"
    "a whole number.",
    _rank_bound,
    _draw_ranks,
    (
        Slip(
            "sides-forgotten",
            "the ranks add up, but no matrix has more rank than rows, or than columns.",
            lambda out_features, in_features, ranks: sum(ranks),
        ),
        Slip(
            "largest-rank",
            "this is the largest of the ranks; a sum can have more rank than each of its terms.",
            lambda out_features, in_features, ranks: max(ranks),
        ),
        Slip(
            "full-rank",
            "this is the rank of a matrix without a limit; a few updates of low rank do not reach "
            "it.",
            lambda out_features, in_features, ranks: min(out_features, in_features),
        ),
        Slip(
            "larger-side",
            "rank is limited by the smaller side, not by the larger.",
            lambda out_features, in_features, ranks: min(
                sum(ranks), max(out_features, in_features)
            ),
        ),
    ),
)


def _truncate(M: Array, r: int) -> Array:
    rest, cut = M.copy(), np.zeros_like(M)
    for _ in range(r):  # take the strongest direction out, r times
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
    out_features, in_features, r = sizes(rng)
    return {"M": singular(rng, out_features, in_features), "r": r}


def _keep_weakest(M: Array, r: int) -> Array:
    U, s, Vh = np.linalg.svd(M, full_matrices=False)
    weakest: Array = U[:, -r:] * s[-r:] @ Vh[-r:]
    return weakest


def _without_strengths(M: Array, r: int) -> Array:
    U, _, Vh = np.linalg.svd(M, full_matrices=False)
    flat: Array = U[:, :r] @ Vh[:r]
    return flat


def _corner(M: Array, r: int) -> Array:
    kept = np.zeros_like(M)
    kept[:r] = M[:r]
    return kept


TRUNCATE = Exercise(
    "truncate",
    "01",
    "the nearest matrix of rank r",
    "M has shape (out_features, in_features). Return the matrix of the same shape and of rank at\n"
    "most r whose distance to M is least. numpy.linalg.svd is welcome.",
    _truncate,
    _draw_matrix,
    (
        Slip(
            "strengths-forgotten",
            "the directions are right, the strengths are missing: all singular values count as 1.",
            _without_strengths,
        ),
        Slip("weakest-kept", "this keeps the r weakest terms, not the strongest.", _keep_weakest),
        Slip(
            "the-rest",
            "this is what the cut leaves out, M minus the answer.",
            lambda M, r: M - truncate(M, r),
        ),
        Slip(
            "rows-kept",
            "this keeps the first r rows of M. It has rank r, but others of rank r are nearer.",
            _corner,
        ),
        Slip(
            "one-too-few",
            "this is the nearest matrix of rank r - 1.",
            lambda M, r: truncate(M, r - 1),
        ),
    ),
    tolerance=1e-7,  # of the specification, which goes on until its directions stand nearly still
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
    "tail",
    "01",
    "the error of a cut, before cutting",
    "s holds the singular values of M, falling. Return the Frobenius norm of the difference\n"
    "between M and the nearest matrix of rank r.",
    _tail,
    _draw_values,
    (
        Slip("squared", "this is the square of the error.", lambda s, r: float(np.sum(s[r:] ** 2))),
        Slip(
            "summed",
            "singular values are added here; in the Frobenius norm their squares are.",
            lambda s, r: float(np.sum(s[r:])),
        ),
        Slip(
            "spectral",
            "this is the error in the spectral norm, the first value that is cut.",
            lambda s, r: float(s[r]),
        ),
        Slip(
            "kept-part",
            "this is the norm of what is kept, not of what is lost.",
            lambda s, r: float(np.linalg.norm(s[:r])),
        ),
        Slip(
            "one-less-cut",
            "this leaves out s[r], the first value that is cut: Python counts from 0.",
            lambda s, r: float(np.linalg.norm(s[r + 1 :])),
        ),
    ),
)

ALL = (RANK_BOUND, TRUNCATE, TAIL)
