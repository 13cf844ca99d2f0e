"""Exercises of notebook 02: rank, the truncated SVD and its error."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes
from lora_ref.lowrank import truncate


def _rank_bound(out_features: int, in_features: int, ranks: list[int]) -> int:
    rng = np.random.default_rng(0)
    total = np.zeros((out_features, in_features))
    for r in ranks:  # random updates reach the largest rank that updates can have
        for _ in range(r):
            b, a = rng.standard_normal(out_features), rng.standard_normal(in_features)
            for o in range(out_features):
                for j in range(in_features):
                    total[o, j] += b[o] * a[j]
    return int(np.linalg.matrix_rank(total))


def _draw_ranks(rng: np.random.Generator, n: int) -> Arguments:
    small, large = int(rng.integers(7, 9)), int(rng.integers(10, 13))
    first, second, r = (small, large, 5) if n in (3, 2) else (large, small, 6)
    # the sum lies above both sides, between them, or below both; of 1 to 5 updates
    ranks = {
        3: [r, 1, 4],
        4: [r, 4, 7],
        2: [r],
        1: [1, r - 3],
        5: [1, 2, 1, 1],
        6: [1, 1, 2, 1, 1],
    }.get(n, [1, r - 3, 2])
    return {"out_features": first, "in_features": second, "ranks": ranks}


RANK_BOUND = Exercise(
    "02",
    "the largest rank that a sum of updates can have",
    "Several updates, each of shape (out_features, in_features), are added: the first has rank\n"
    "ranks[0], the second ranks[1], and so on. Return the largest rank that their sum can have.\n"
    "There may be one update, or many.",
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
        "rows-alone": WrongAnswer(
            "the rank is kept within out_features; in_features can be the smaller side.",
            lambda out, in_, ranks: min(sum(ranks), out),
        ),
        "columns-alone": WrongAnswer(
            "the rank is kept within in_features; out_features can be the smaller side.",
            lambda out, in_, ranks: min(sum(ranks), in_),
        ),
        "smallest-rank": WrongAnswer(
            "this is the smallest of the ranks, as for a product; a sum can have more.",
            lambda out, in_, ranks: min(ranks),
        ),
    },
    question="two updates of rank 2 are added. Can the sum have rank 0, 2, 4, 5?",
    hints=(
        "Each update is a sum of outer products, as many as its rank. How many outer products does "
        "the whole sum have?",
        "That number is a bound, and there is another, which has nothing to do with the updates: "
        "think of a matrix with three rows.",
        "The answer is the smallest of a few whole numbers. No matrix has to be made.",
    ),
)


def _truncate(M: Array, u: list[Array], r: int) -> Array:
    cut = np.zeros_like(M)
    for j in range(M.shape[1]):  # the mixture of r vectors u that is nearest to column j of M
        mixture = np.linalg.lstsq(np.array(u[:r]).T, M[:, j], rcond=None)[0]
        for k in range(r):
            cut[:, j] += mixture[k] * u[k]
    return cut


def _draw_matrix(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a matrix whose singular values are far apart, each 0.55 of the one before."""
    out_features, in_features, r = sizes(rng)
    small = min(out_features, in_features)
    U = np.linalg.qr(rng.standard_normal((out_features, small)))[0]
    V = np.linalg.qr(rng.standard_normal((in_features, small)))[0]
    M = U * (3 * 0.55 ** np.arange(small)) @ V.T
    return {"M": M, "u": list(U[:, :6].T.copy()), "r": r}


def _unit_rows(rows: Array) -> Array:
    scaled: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


TRUNCATE = Exercise(
    "02",
    "the nearest matrix of rank r, from half of the decomposition",
    "M has shape (out_features, in_features). The list u holds the first few u of its SVD,\n"
    "each of length out_features, and more than r of them; sigma and Vh were not kept. Return\n"
    "the nearest matrix to M of rank r, in the shape of M.",
    _truncate,
    _draw_matrix,
    {
        "weakest-kept": WrongAnswer(
            "this keeps the terms with the r smallest singular values, not the largest.",
            lambda M, u, r: M - truncate(M, min(M.shape) - r),
        ),
        "the-rest": WrongAnswer(
            "this is the residual, M minus the answer.", lambda M, u, r: M - truncate(M, r)
        ),
        "rows-kept": WrongAnswer(
            "this keeps the first r rows of M. It has rank r, but others of rank r are nearer.",
            lambda M, u, r: np.concatenate([M[:r], np.zeros_like(M[r:])]),
        ),
        "columns-kept": WrongAnswer(
            "this keeps the first r columns of M. It has rank r, but others of rank r are nearer.",
            lambda M, u, r: np.concatenate([M[:, :r], np.zeros_like(M[:, r:])], axis=1),
        ),
        "one-too-few": WrongAnswer(
            "this is the nearest matrix of rank r - 1.", lambda M, u, r: truncate(M, r - 1)
        ),
        "one-too-many": WrongAnswer(
            "this has r + 1 terms. A slice [:r] has r entries, for Python counts from 0.",
            lambda M, u, r: truncate(M, r + 1),
        ),
        "all-of-u": WrongAnswer(
            "all vectors of u are used. There are more than r of them.",
            lambda M, u, r: np.transpose(u) @ (np.array(u) @ M),
        ),
        "one-term": WrongAnswer(
            "this is term r alone; all terms before it belong to the answer too.",
            lambda M, u, r: truncate(M, r) - truncate(M, r - 1),
        ),
        "one-vector": WrongAnswer(
            "this uses u[r] alone, which is the first that is left out.",
            lambda M, u, r: np.outer(u[r], u[r] @ M),
        ),
        "rows-of-M": WrongAnswer(
            "the vectors are multiplied by the first rows of M. How much of each vector is in M?",
            lambda M, u, r: np.transpose(u[:r]) @ M[:r],
        ),
        "sigma-twice": WrongAnswer(
            "each term is multiplied by its singular value, which u[k] @ M has in it already: it "
            "is squared in the product.",
            lambda M, u, r: (
                np.transpose(u[:r])
                * np.linalg.norm(np.array(u[:r]) @ M, axis=1)
                @ (np.array(u[:r]) @ M)
            ),
        ),
        "reshaped": WrongAnswer(
            "reshape does not transpose: it reads the numbers in the same order, so that no column "
            "is one of the vectors u.",
            lambda M, u, r: (U := np.array(u[:r]).reshape(-1, r)) @ (U.T @ M),
        ),
        "sigma-lost": WrongAnswer(
            "the directions are right, and each of the r terms has the weight 1. How much of a "
            "vector there is in M is lost where the rows get the length 1.",
            lambda M, u, r: np.transpose(u[:r]) @ _unit_rows(np.array(u[:r]) @ M),
        ),
        "coordinates": WrongAnswer(
            "these are r rows, how much of each vector there is in M. They are still to be "
            "multiplied by something.",
            lambda M, u, r: np.array(u[:r]) @ M,
        ),
        "projection": WrongAnswer(
            "this is a projection of outputs, and M has no part in it.",
            lambda M, u, r: np.transpose(u[:r]) @ np.array(u[:r]),
        ),
        "nothing-cut": WrongAnswer(
            "this is M itself: all terms are there.", lambda M, u, r: M.copy()
        ),
        "vectors-added-first": WrongAnswer(
            "the vectors are added before the product, so u[0] meets what belongs to u[1].",
            lambda M, u, r: np.outer(np.sum(u[:r], axis=0), np.sum(u[:r], axis=0) @ M),
        ),
        "absolute": WrongAnswer(
            "how much of a vector there is in M can be negative: abs() loses the sign.",
            lambda M, u, r: np.transpose(u[:r]) @ np.abs(np.array(u[:r]) @ M),
        ),
    },
    question="what is the row u[0] @ M, in terms of sigma and Vh?",
    hints=(
        "Put the sum of all terms in the place of M, and multiply it from the left by u[0]. What "
        "is u[0] @ u[1]?",
        "So a product says how much of each u there is in M. Which part of M do the first r of "
        "them reach?",
        "Two products of three matrices: the first r vectors stand in it twice, as columns and as "
        "rows. It is a B with r columns times an A with r rows.",
    ),
    without=(*LOOPS, "svd"),
)


def _tail(norm: float, sigma: Array) -> float:
    low, high = 0.0, norm
    for _ in range(100):  # halve the interval in which the length of what is left out lies
        t = (low + high) / 2
        whole = np.linalg.norm(np.diag([*sigma, t]))  # of a matrix that has r terms, and t
        low, high = (t, high) if whole < norm else (low, t)
    return t


def _draw_values(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    sigma = np.sort(rng.uniform(0.5, 4, min(out_features, in_features)))[::-1]
    return {"norm": float(np.linalg.norm(sigma)), "sigma": sigma[:r].copy()}


TAIL = Exercise(
    "02",
    "the error of a cut, when most singular values are unknown",
    "M is too large for a whole SVD. Known are its Frobenius norm, called norm, and sigma, its r\n"
    "largest singular values, falling. Return the Frobenius norm of the difference between M and\n"
    "the nearest matrix of rank r.",
    _tail,
    _draw_values,
    {
        "squared": WrongAnswer(
            "this is the square of the error.", lambda norm, sigma: norm**2 - sigma @ sigma
        ),
        "norms-subtracted": WrongAnswer(
            "norms are subtracted here: that of the kept part from that of M. The two parts of M "
            "are orthogonal, so think of a triangle.",
            lambda norm, sigma: norm - float(np.linalg.norm(sigma)),
        ),
        "values-subtracted": WrongAnswer(
            "singular values are subtracted from the norm, which is not their sum.",
            lambda norm, sigma: norm - float(np.sum(sigma)),
        ),
        "values-not-squared": WrongAnswer(
            "the norm is squared, the singular values are not.",
            lambda norm, sigma: float(abs(norm**2 - np.sum(sigma)) ** 0.5),
        ),
        "added": WrongAnswer(
            "the kept part is added to M; it should be taken out of it.",
            lambda norm, sigma: float((norm**2 + np.sum(sigma**2)) ** 0.5),
        ),
        "kept-part": WrongAnswer(
            "this is the norm of what is kept, not of what is lost.",
            lambda norm, sigma: float(np.linalg.norm(sigma)),
        ),
        "smallest-kept": WrongAnswer(
            "this is the smallest singular value that is kept; the error is made of those that are "
            "not.",
            lambda norm, sigma: float(sigma[-1]),
        ),
        "one-less-kept": WrongAnswer(
            "the last entry of sigma is counted as lost: this is the error at r - 1.",
            lambda norm, sigma: float((norm**2 - np.sum(sigma[:-1] ** 2)) ** 0.5),
        ),
        "largest-lost": WrongAnswer(
            "the first entry of sigma is counted as lost. It is kept: Python counts from 0.",
            lambda norm, sigma: float((norm**2 - np.sum(sigma[1:] ** 2)) ** 0.5),
        ),
        "largest-alone": WrongAnswer(
            "only the largest singular value is taken out: this is the error at r = 1.",
            lambda norm, sigma: float((norm**2 - sigma[0] ** 2) ** 0.5),
        ),
        "relative": WrongAnswer(
            "this is the error as a share of the norm of M; the error itself is asked for.",
            lambda norm, sigma: float((1 - np.sum(sigma**2) / norm**2) ** 0.5),
        ),
        "half-of-the-square": WrongAnswer(
            "no root is taken: ** 1/2 is read as (** 1) / 2, a half.",
            lambda norm, sigma: float(norm**2 - np.sum(sigma**2)) / 2,
        ),
        "all": WrongAnswer("this is the norm of M: nothing is kept.", lambda norm, sigma: norm),
        "mean-of-squares": WrongAnswer(
            "the squares are averaged; they should be added.",
            lambda norm, sigma: float((norm**2 - np.mean(sigma**2)) ** 0.5),
        ),
        "share": WrongAnswer(
            "this is the share of the squared norm that is lost; the norm of the error is asked.",
            lambda norm, sigma: float(1 - np.sum(sigma**2) / norm**2),
        ),
        "smallest-taken-out": WrongAnswer(
            "only the last of sigma is taken out; all r are kept.",
            lambda norm, sigma: float((norm**2 - sigma[-1] ** 2) ** 0.5),
        ),
        "root-of-a-negative": WrongAnswer(
            "it gives nan, the root of a negative number. Are the norm and each of sigma squared, "
            "before anything is added?",
            lambda norm, sigma: float("nan"),
        ),
        "sum-squared-absolute": WrongAnswer(
            "the singular values are added before they are squared. The square of the norm is the "
            "sum of their squares.",
            lambda norm, sigma: abs(norm**2 - np.sum(sigma) ** 2) ** 0.5,
        ),
    },
    question="the norm is 13, and sigma is (12,). What does the cut to r = 1 cost? And can M have "
    "rank 1?",
    hints=(
        "What is the norm of M in terms of all of its singular values, the unknown ones too?",
        "You do not need the unknown ones themselves, but one number that they make together.",
        "Two sides of a right-angled triangle are known. Which of them is the longest side?",
    ),
)

ALL = (RANK_BOUND, TRUNCATE, TAIL)
