"""Exercises of notebook 02: rank, the truncated SVD and its error."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
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


def _with_columns_of_Vh(full_matrices: bool) -> Answer:
    def answer(M: Array, r: int) -> Array:
        U, sigma, Vh = np.linalg.svd(M, full_matrices=full_matrices)
        product: Array = U[:, :r] * sigma[:r] @ Vh[:, :r].T
        return product

    return answer


def _with_rows_of_U(M: Array, r: int) -> Array:
    U, sigma, Vh = np.linalg.svd(M)
    product: Array = U[:r].T * sigma[:r] @ Vh[:r]
    return product


def _without_singular_values(M: Array, r: int) -> Array:
    U, _, Vh = np.linalg.svd(M, full_matrices=False)
    product: Array = U[:, :r] @ Vh[:r]
    return product


TRUNCATE = Exercise(
    "02",
    "the nearest matrix of rank r",
    "M has shape (out_features, in_features). Return the matrix of the same shape and of rank at\n"
    "most r whose distance to M is least. numpy.linalg.svd is welcome; one product will do.",
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
        "one-too-many": WrongAnswer(
            "this has r + 1 terms. A slice [:r] has r entries, for Python counts from 0.",
            lambda M, r: truncate(M, r + 1),
        ),
        "V-for-Vh": WrongAnswer(
            "columns of Vh are taken for the right singular vectors; numpy.linalg.svd returns them "
            "as rows.",
            _with_columns_of_Vh(full_matrices=True),
        ),
        "V-for-reduced-Vh": WrongAnswer(
            "columns of Vh are taken for the right singular vectors; numpy.linalg.svd returns them "
            "as rows.",
            _with_columns_of_Vh(full_matrices=False),
        ),
        "columns-kept": WrongAnswer(
            "this keeps the first r columns of M. It has rank r, but others of rank r are nearer.",
            lambda M, r: np.concatenate([M[:, :r], np.zeros_like(M[:, r:])], axis=1),
        ),
        "one-term": WrongAnswer(
            "this is term r alone; all terms before it belong to the answer too.",
            lambda M, r: truncate(M, r) - truncate(M, r - 1),
        ),
        "rows-of-U": WrongAnswer(
            "rows of U are taken for the left singular vectors; they are its columns.",
            _with_rows_of_U,
        ),
        "nothing-cut": WrongAnswer("this is M itself: all terms are there.", lambda M, r: M.copy()),
    },
    question="what are the singular values of the matrix that you will return?",
    hints=(
        "Print the shapes of the three arrays that numpy.linalg.svd returns, with "
        "full_matrices=False, for an M that is not square.",
        "Each term is a column of U, a singular value, and a row of Vh. Which r terms stay?",
        "Cut all three arrays to their first r, along the right axis each, and multiply them. "
        "A row of numbers times a matrix scales its columns.",
    ),
    without=LOOPS,
    tolerance=1e-7,  # of the specification, which iterates until its directions nearly stand still
)


def _tail(sigma: Array, r: int) -> float:
    M = np.diag(sigma)  # a matrix that has these singular values
    nearest = M.copy()
    nearest[r:, r:] = 0
    total = 0.0
    for i in range(len(M)):
        for j in range(len(M)):
            total += (M[i, j] - nearest[i, j]) ** 2
    return float(total**0.5)


def _draw_values(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    sigma = np.sort(rng.uniform(0.5, 4, min(out_features, in_features)))[::-1].copy()
    return {"sigma": sigma, "r": min(r, len(sigma) - 2)}


TAIL = Exercise(
    "02",
    "the error of a truncation, before it is computed",
    "sigma holds the singular values of M, falling. Return the Frobenius norm of the difference\n"
    "between M and the nearest matrix of rank r.",
    _tail,
    _draw_values,
    {
        "squared": WrongAnswer(
            "this is the square of the error.", lambda sigma, r: float(np.sum(sigma[r:] ** 2))
        ),
        "summed": WrongAnswer(
            "singular values are added here; in the Frobenius norm their squares are.",
            lambda sigma, r: float(np.sum(sigma[r:])),
        ),
        "spectral": WrongAnswer(
            "this is the error in the spectral norm, the first value that is left out.",
            lambda sigma, r: float(sigma[r]),
        ),
        "kept-part": WrongAnswer(
            "this is the norm of what is kept, not of what is lost.",
            lambda sigma, r: float(np.linalg.norm(sigma[:r])),
        ),
        "one-less-cut": WrongAnswer(
            "sigma[r] is missing, which is the first that is left out: Python counts from 0.",
            lambda sigma, r: float(np.linalg.norm(sigma[r + 1 :])),
        ),
        "one-more-cut": WrongAnswer(
            "sigma[r - 1] is in it, which is kept: the r kept ones are counted from 0.",
            lambda sigma, r: float(np.linalg.norm(sigma[r - 1 :])),
        ),
        "norms-subtracted": WrongAnswer(
            "norms are subtracted here. The squares of the two norms could be, as in Pythagoras.",
            lambda sigma, r: float(np.linalg.norm(sigma) - np.linalg.norm(sigma[:r])),
        ),
        "relative": WrongAnswer(
            "this is the error as a share of the norm of M; the error itself is asked for.",
            lambda sigma, r: float(np.linalg.norm(sigma[r:]) / np.linalg.norm(sigma)),
        ),
        "mean-for-sum": WrongAnswer(
            "this is the root of the mean of the squares that are lost; a norm has their sum.",
            lambda sigma, r: float(np.sqrt(np.mean(sigma[r:] ** 2))),
        ),
        "half-of-the-square": WrongAnswer(
            "no root is taken: ** 1/2 is read as (** 1) / 2, a half.",
            lambda sigma, r: float(np.sum(sigma[r:] ** 2) / 2),
        ),
        "r-weakest": WrongAnswer(
            "these are the r weakest terms. As many are kept as r says, and all others are lost.",
            lambda sigma, r: float(np.linalg.norm(sigma[-r:])),
        ),
        "all": WrongAnswer(
            "this is the norm of M: nothing is kept.",
            lambda sigma, r: float(np.linalg.norm(sigma)),
        ),
    },
    question="sigma is (12, 4, 3). What does a cut to r = 1 cost, and a cut to r = 3?",
    hints=(
        "What are the singular values of M minus its cut?",
        "The Frobenius norm of a matrix is a function of its singular values alone: look at a "
        "diagonal matrix.",
        "A slice of sigma, and numpy.linalg.norm. Try it on (12, 4, 3), where the numbers are "
        "whole.",
    ),
)

ALL = (RANK_BOUND, TRUNCATE, TAIL)
