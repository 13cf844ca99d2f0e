"""Exercises of notebook 10: a batch of several tasks, and adapters combined."""

from math import sqrt
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError
from lora_ref.exercises.comparison import type_name
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes
from lora_ref.lowrank import balanced_factors, truncated_svd


def _mixed_batch(
    x: Array, task: Any, W0: Array, A: list[Array], B: list[Array], scaling: list[float]
) -> Array:
    y = np.zeros((len(x), len(W0)))
    for n in range(len(x)):
        t = task[n]
        for i in range(len(W0)):
            for j in range(x.shape[1]):
                y[n, i] += W0[i, j] * x[n, j]
                for k in range(len(A[t]) if t >= 0 else 0):  # -1 is no task
                    y[n, i] += scaling[t] * B[t][i, k] * A[t][k, j] * x[n, j]
    return y


def _grouped(
    x: Array, task: Any, W0: Array, A: list[Array], B: list[Array], scaling: list[float]
) -> tuple[Array, Any]:
    """Return the right rows in the order of their tasks, and where each of them came from."""
    order = np.argsort(task, kind="stable")
    return _mixed_batch(x[order], task[order], W0, A, B, scaling), order


def _draw_mixed_batch(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    ranks = [r, r + 1, r]  # tasks need not have the same rank
    mixed = np.resize([1, 2, -1, 0], n)
    task = rng.permutation(mixed) if n > 1 else rng.integers(1, 3, size=1)
    # sorted rows would need no way back, and "the task of the first" has to be one
    while n > 2 and (task[0] < 0 or (np.diff(task) >= 0).all()):
        task = rng.permutation(mixed)
    return {
        "x": rng.standard_normal((n, in_features)),
        "task": task.astype(np.int8),  # so few of them are sorted alike, stable or not
        "W0": rng.standard_normal((out_features, in_features)),
        "A": [rng.standard_normal((rank, in_features)) for rank in ranks],
        "B": [rng.standard_normal((out_features, rank)) for rank in ranks],
        "scaling": [0.5, 2.0, 1.25],
    }


MIXED_BATCH = Exercise(
    "10",
    "a batch in which each row has its own task",
    "Row n of x (n, in_features) belongs to task[n], a whole number; -1 is none, W0 alone. Return\n"
    "y (n, out_features) in the order of the rows: W0 x for all of them, plus scaling[t] B[t]\n"
    "(A[t] x) with the row's own t. A, B and scaling are lists, and the tasks' ranks differ. A\n"
    "loop over the tasks is enough.",
    _mixed_batch,
    _draw_mixed_batch,
    {
        "all-tasks": WrongAnswer(
            "every row gets the sum of all tasks; each should get its own alone.",
            lambda x, task, W0, A, B, scaling: (
                x @ W0.T + sum(s * x @ a.T @ b.T for a, b, s in zip(A, B, scaling, strict=True))
            ),
        ),
        "first-row's-task": WrongAnswer(
            "all rows get the task of the first one. Right only for batch size 1.",
            lambda x, task, *layer: _mixed_batch(x, np.full_like(task, task[0]), *layer),
        ),
        "sorted-and-left-so": WrongAnswer(
            "the rows are right and stand in the order of their tasks; y belongs to the rows of x "
            "in their own order.",
            lambda *arguments: _grouped(*arguments)[0],
        ),
        "sorted-twice": WrongAnswer(
            "sorted by task, and then put back with the same order as if it were its own inverse. "
            "Row i of the sorted batch was row order[i]: where does it go?",
            lambda *arguments: _grouped(*arguments)[0][_grouped(*arguments)[1]],
        ),
        "no-task-is-the-last": WrongAnswer(
            "rows of task -1 get the last task: A[-1] is the last entry of a list. They go through "
            "W0 alone.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(x, task % len(A), W0, A, B, scaling),
        ),
        "instead-of-added": WrongAnswer(
            "rows that have a task lose W0 x: the update takes its place; it has to be added.",
            lambda x, task, W0, A, B, scaling: np.where(
                np.asarray(task)[:, None] >= 0,
                _mixed_batch(x, task, 0 * W0, A, B, scaling),
                x @ W0.T,
            ),
        ),
        "task-0-left-out": WrongAnswer(
            "rows of task 0 go through W0 alone; tasks are counted from 0, and -1 is none.",
            lambda x, task, *layer: _mixed_batch(x, np.where(task == 0, -1, task), *layer),
        ),
        "no-task-is-zero": WrongAnswer(
            "rows of task -1 come out as zero; they go through W0 like all the others.",
            lambda x, task, *layer: _mixed_batch(x, task, *layer) * (task >= 0)[:, None],
        ),
        "task-0": WrongAnswer(
            "all rows get task 0.",
            lambda x, task, *layer: _mixed_batch(x, np.zeros_like(task), *layer),
        ),
        "one-scaling": WrongAnswer(
            "the factors are the row's own, the scaling is the first row's for all of them. Right "
            "only for batch size 1.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(
                x, task, W0, A, B, [scaling[task[0]]] * len(A)
            ),
        ),
        "scaling-forgotten": WrongAnswer(
            "scaling is missing.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(x, task, W0, A, B, [1.0] * len(A)),
        ),
        "base-per-task": WrongAnswer(
            "W0 x is added once for each task; all rows get it once.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(x, task, len(A) * W0, A, B, scaling),
        ),
        "base-forgotten": WrongAnswer(
            "W0 x is missing.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(x, task, 0 * W0, A, B, scaling),
        ),
        "scaling-over-r": WrongAnswer(
            "scaling is divided by the rank once more; it is alpha/r already.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(
                x, task, W0, A, B, [s / len(a) for s, a in zip(scaling, A, strict=True)]
            ),
        ),
        "last-task-left-out": WrongAnswer(
            "rows of the last task go through W0 alone: where does the loop end?",
            lambda x, task, *layer: _mixed_batch(x, np.where(task == max(task), -1, task), *layer),
        ),
        "base-scaled": WrongAnswer(
            "W0 x is multiplied by scaling too, in the rows that have a task.",
            lambda x, task, W0, A, B, scaling: (
                _mixed_batch(x, task, 0 * W0, A, B, scaling)
                + np.where(task < 0, 1.0, np.take(scaling, task))[:, None] * (x @ W0.T)
            ),
        ),
        "base-alone": WrongAnswer(
            "no row gets an update. y[rows] with an array of truth values is a copy: += on a "
            "name for it does not reach y.",
            lambda x, task, W0, A, B, scaling: x @ W0.T,
        ),
        "task-0-alone": WrongAnswer(
            "only rows of task 0 get an update: does the return stand inside of the loop?",
            lambda x, task, *layer: _mixed_batch(x, np.where(task == 0, 0, -1), *layer),
        ),
        "first-row-of-each-task": WrongAnswer(
            "only the first row of each task gets its update.",
            lambda x, task, *layer: _mixed_batch(
                x,
                np.where(
                    np.isin(np.arange(len(x)), np.unique(task, return_index=True)[1]), task, -1
                ),
                *layer,
            ),
        ),
        "base-twice": WrongAnswer(
            "rows that have a task get W0 x twice.",
            lambda x, task, W0, A, B, scaling: (
                _mixed_batch(x, task, W0, A, B, scaling) + (task >= 0)[:, None] * (x @ W0.T)
            ),
        ),
        "task-before": WrongAnswer(
            "each row gets the task before its own; tasks are counted from 0.",
            lambda x, task, W0, A, B, scaling: _mixed_batch(
                x, task, W0, *(one[-1:] + one[:-1] for one in (A, B, scaling))
            ),
        ),
    },
    batched=True,
    question=(
        "ten rows belong to three tasks. How many products with W0 do you need, and how\n"
        "many with an A? And what would A[-1] be?"
    ),
    hints=(
        "Which part of y is the same for every row, whatever its task is? Begin with it.",
        "For one t, find the rows that are its own. What remains is one small layer on fewer "
        "rows; a task that has no row has nothing to do, and neither has -1.",
        "One line for all rows; a loop over the tasks; in it, a choice of rows, two products with "
        "the factors and the scaling, and an addition to these rows of y and no others.",
    ),
)


def _combine(A: list[Array], B: list[Array], weights: list[float]) -> tuple[Array, Array]:
    rows: list[Array] = []
    columns: list[Array] = []
    for t in range(len(A)):
        for k in range(len(A[t])):  # an outer product of the sum, with its weight
            rows.append(A[t][k])
            columns.append(weights[t] * B[t][:, k])
    return np.array(rows), np.array(columns).T


def _draw_combine(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, _ = sizes(rng)
    number, r = (3, 2) if n % 2 else (2, 3)  # together less than either side
    weights = rng.permutation([0.25, -3.0, 1.5])[:number]
    return {
        "A": [rng.standard_normal((r, in_features)) for _ in range(number)],
        "B": [rng.standard_normal((out_features, r)) for _ in range(number)],
        "weights": [float(weight) for weight in weights],
    }


def _product(answer: object) -> Array:
    """Return B A of an answer A, B: every pair with the right product is a right answer."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise LoraRefError(f"it returns {type_name(answer)}, expected two arrays: return A, B")
    A, B = answer
    if type(A) is not np.ndarray or type(B) is not np.ndarray:
        raise LoraRefError(
            f"it returns {type_name(A)} and {type_name(B)}, expected two arrays, A and B"
        )
    if "c" in (A.dtype.kind, B.dtype.kind):
        raise LoraRefError(
            "A and B hold complex numbers, expected real ones; a root of a negative weight is one"
        )
    if A.dtype.kind not in "fiu" or B.dtype.kind not in "fiu":
        raise LoraRefError(f"A has dtype {A.dtype} and B {B.dtype}, expected numbers")
    if A.ndim != 2 or B.ndim != 2 or B.shape[1] != A.shape[0]:
        raise LoraRefError(
            f"A has shape {A.shape} and B {B.shape}, expected (r, in_features) and "
            "(out_features, r) with one r"
        )
    if len(A) >= min(A.shape[1], len(B)):
        raise LoraRefError(
            f"A has shape {A.shape} and B {B.shape}: with so large a rank, nothing is saved"
        )
    if np.isnan(A).any() and np.isnan(B).any():
        raise LoraRefError(
            "A and B hold nan, which the root of a negative weight is; weights here may be negative"
        )
    product: Array = B @ A
    return product


def _weighted(weights: Any, arrays: list[Array]) -> list[Array]:
    return [weight * array for weight, array in zip(weights, arrays, strict=True)]


def _roots(weights: list[float]) -> Array:
    return np.sqrt(np.abs(weights))


def _signed_roots(weights: list[float]) -> Array:
    return np.sign(weights) * _roots(weights)


COMBINE = Exercise(
    "10",
    "one adapter that does what several do together",
    "Return one pair A, B, as `return A, B`, for which B A is weights[0] B[0] A[0] +\n"
    "weights[1] B[1] A[1] + ... exactly. A, B and weights are lists. The rank may grow (in the\n"
    "check it stays below out_features and in_features); there is no need to form a matrix of\n"
    "that shape.",
    _combine,
    _draw_combine,
    {
        "factors-added": WrongAnswer(
            "the factors are added, each with its weight. Their product has terms B[0] A[1] that "
            "nobody trained, and squared weights.",
            lambda A, B, weights: (
                np.sum(_weighted(weights, A), axis=0),
                np.sum(_weighted(weights, B), axis=0),
            ),
        ),
        "B-alone-weighted": WrongAnswer(
            "the factors are added, the weights in B alone. Their product has terms B[0] A[1] that "
            "nobody trained.",
            lambda A, B, weights: (np.sum(A, axis=0), np.sum(_weighted(weights, B), axis=0)),
        ),
        "factors-averaged": WrongAnswer(
            "A is the mean of the A, and B the weighted sum of the B. Their product has terms "
            "B[0] A[1] that nobody trained.",
            lambda A, B, weights: (np.mean(A, axis=0), np.sum(_weighted(weights, B), axis=0)),
        ),
        "both-averaged": WrongAnswer(
            "A is the mean of the A, and B the mean of the B; the weights are missing, and the "
            "product has terms B[0] A[1] that nobody trained.",
            lambda A, B, weights: (np.mean(A, axis=0), np.mean(B, axis=0)),
        ),
        "both-averaged-with-weights": WrongAnswer(
            "A and B are weighted means. Their product has terms B[0] A[1] that nobody trained, "
            "and squared weights.",
            lambda A, B, weights: (
                np.average(A, axis=0, weights=weights),
                np.average(B, axis=0, weights=weights),
            ),
        ),
        "roots-added": WrongAnswer(
            "the root of each weight goes into A and into B, and then the factors are added. That "
            "keeps the rank, as `linear` of PEFT does, and brings in terms B[0] A[1] that nobody "
            "trained.",
            lambda A, B, weights: (
                np.sum(_weighted(_signed_roots(weights), A), axis=0),
                np.sum(_weighted(_roots(weights), B), axis=0),
            ),
        ),
        "sign-lost": WrongAnswer(
            "right but for the sign of a negative weight: its size alone counts here, or its root "
            "stands in A and in B with the same sign.",
            lambda A, B, weights: _combine(A, B, [abs(weight) for weight in weights]),
        ),
        "root-of-a-negative": WrongAnswer(
            "a weight may be negative, and math.sqrt refuses it. Does a weight have to be shared "
            "between A and B at all?",
            lambda A, B, weights: _combine(
                _weighted([sqrt(weight) for weight in weights], A),
                B,
                [sqrt(weight) for weight in weights],
            ),
        ),
        "weights-over-their-sum": WrongAnswer(
            "the weights are divided by their sum. They are to be taken as they are: they need not "
            "add up to 1, and one may be negative.",
            lambda A, B, weights: _combine(A, B, [weight / sum(weights) for weight in weights]),
        ),
        "pairs-exchanged": WrongAnswer(
            "A and B are stacked in different orders, so each B meets the A of another adapter.",
            lambda A, B, weights: (np.vstack(A[::-1]), np.hstack(_weighted(weights, B))),
        ),
        "side-by-side": WrongAnswer(
            "A beside A and B on top of B: the stack is turned. Which axis of A is counted by r, "
            "and which of B?",
            lambda A, B, weights: (np.hstack(A), np.vstack(_weighted(weights, B))),
        ),
        "weights-twice": WrongAnswer(
            "the weights are in A and in B, so they are squared in the product.",
            lambda A, B, weights: _combine(_weighted(weights, A), B, weights),
        ),
        "weights-forgotten": WrongAnswer(
            "the updates are added as they are; the weights are missing.",
            lambda A, B, weights: _combine(A, B, [1.0] * len(A)),
        ),
        "first-alone": WrongAnswer(
            "this is the first adapter alone.", lambda A, B, weights: (A[0], weights[0] * B[0])
        ),
        "A-alone-weighted": WrongAnswer(
            "the factors are added, the weights in A alone. Their product has terms B[0] A[1] "
            "that nobody trained.",
            lambda A, B, weights: (np.sum(_weighted(weights, A), axis=0), np.sum(B, axis=0)),
        ),
        "weights-by-columns": WrongAnswer(
            "the weights go round over the columns; one weight belongs to all columns of its "
            "adapter.",
            lambda A, B, weights: (
                np.vstack(A),
                np.hstack(B) * np.resize(weights, sum(map(len, A))),
            ),
        ),
        "rank-cut": WrongAnswer(
            "the sum is cut to the rank of one adapter. It has more, and the sum itself is "
            "asked for.",
            lambda A, B, weights: (
                lambda found: (found[2][: len(A[0])], (found[0] * found[1])[:, : len(A[0])])
            )(np.linalg.svd(np.hstack(_weighted(weights, B)) @ np.vstack(A), full_matrices=False)),
        ),
        "B-by-reshape": WrongAnswer(
            "B is stacked along the rows and reshaped, which runs on from one row into the "
            "next. Join along axis 1.",
            lambda A, B, weights: (
                np.vstack(A),
                np.vstack(_weighted(weights, B)).reshape(len(B[0]), -1),
            ),
        ),
    },
    canonical=_product,
    canonical_name="B A",
    question=(
        "two adapters of rank 2 are to be one. Which rank does the sum of their updates\n"
        "have, in general? Can a pair of the old shapes hold it?"
    ),
    hints=(
        "B A is a sum of outer products, a column of B times a row of A. Which outer products "
        "does the wanted sum have, and how many?",
        "Every row of A has to meet its own column of B and no other. Where do the pairs have to "
        "stand in one long A and one wide B?",
        "Two calls that join a list of arrays, one along the axis that A counts by r and one "
        "along the axis that B does; a weight goes to one side of its pair.",
    ),
)


def _best_of_two(A: list[Array], B: list[Array]) -> tuple[Array, Array]:
    rows: list[Array] = []
    columns: list[Array] = []
    rest = B[0] @ A[0] + B[1] @ A[1]
    for _ in range(len(A[0])):
        row = rest[0]
        for _ in range(60):
            column = rest @ row / (row @ row)  # the best column for this row
            row = column @ rest / (column @ column)  # the best row for this column
        rows.append(row)
        columns.append(column)
        rest = rest - np.outer(column, row)
    return np.array(rows), np.array(columns).T


def _draw_two(rng: np.random.Generator, n: int) -> Arguments:
    """Draw two adapters whose sum has singular values far apart, each half of the one before."""
    out_features, in_features, _ = sizes(rng)
    r = 3 if n % 2 else 2  # twice this is less than either side
    U, V = (
        np.linalg.qr(rng.standard_normal((side, 2 * r)))[0] for side in (out_features, in_features)
    )
    root = 2 * 0.5 ** (np.arange(2 * r) / 2)
    mixed = rng.standard_normal((2 * r, 2 * r))  # no rotation, so neither factor tells the sum's
    wide_B, long_A = U * root @ mixed, np.linalg.inv(mixed) @ (root[:, None] * V.T)
    return {"A": np.split(long_A, 2), "B": np.split(wide_B, 2, axis=1)}


def _sum(A: list[Array], B: list[Array]) -> Array:
    return B[0] @ A[0] + B[1] @ A[1]


def _cut_first(A: list[Array], B: list[Array]) -> tuple[Array, Array]:
    """Return the pair of both adapters, each cut to half of the rank before they are stacked."""
    half = len(A[0]) // 2
    first, second = balanced_factors(B[0] @ A[0], half), balanced_factors(B[1] @ A[1], half)
    return np.vstack([first[0], second[0]]), np.hstack([first[1], second[1]])


def _cut_A(A: list[Array], B: list[Array]) -> tuple[Array, Array]:
    directions = truncated_svd(np.vstack(A), len(A[0]))[2]
    return directions, _sum(A, B) @ directions.T


def _cut_B(A: list[Array], B: list[Array]) -> tuple[Array, Array]:
    directions = truncated_svd(np.hstack(B), len(A[0]))[0]
    return directions.T @ _sum(A, B), directions


def _with_sigma(power: float) -> Answer:
    """Return an answer in which the singular values have a power other than 1."""

    def answer(A: list[Array], B: list[Array]) -> tuple[Array, Array]:
        U, sigma, Vh = truncated_svd(_sum(A, B), len(A[0]))
        return Vh, U * sigma**power

    return answer


BEST_OF_TWO = Exercise(
    "10",
    "the best adapter of rank r for the sum of two",
    "A and B are lists of two adapters, each of rank r; their scaling is in B already. Their sum\n"
    "B[0] A[0] + B[1] A[1] has rank 2 r in general, and there is room for one adapter of rank r.\n"
    "Return a pair A, B of rank r, as `return A, B`, for which B A is nearest to the sum in the\n"
    "Frobenius norm; any pair with that product is right.",
    _best_of_two,
    _draw_two,
    {
        "stacked": WrongAnswer(
            "this pair is exact, and too large: it has the ranks of both together, and r is asked.",
            lambda A, B: (np.vstack(A), np.hstack(B)),
        ),
        "factors-added": WrongAnswer(
            "the factors are added. The rank is right; the product has the terms B[0] A[1] and "
            "B[1] A[0], which are no part of the sum.",
            lambda A, B: (A[0] + A[1], B[0] + B[1]),
        ),
        "factors-averaged": WrongAnswer(
            "one factor is averaged and the other added. The rank is right; the product has the "
            "terms B[0] A[1] and B[1] A[0], which are no part of the sum.",
            lambda A, B: ((A[0] + A[1]) / 2, B[0] + B[1]),
        ),
        "both-averaged": WrongAnswer(
            "both factors are averaged. The rank is right; the product has the terms B[0] A[1] and "
            "B[1] A[0], and the sum of the updates is asked, not their mean.",
            lambda A, B: ((A[0] + A[1]) / 2, (B[0] + B[1]) / 2),
        ),
        "first-alone": WrongAnswer("this is the first adapter alone.", lambda A, B: (A[0], B[0])),
        "second-alone": WrongAnswer("this is the second adapter alone.", lambda A, B: (A[1], B[1])),
        "stronger-alone": WrongAnswer(
            "this is the stronger of the two adapters as it was, and the other is lost. A pair of "
            "rank r can hold something of both.",
            lambda A, B: max(
                zip(A, B, strict=True), key=lambda pair: np.linalg.norm(pair[1] @ pair[0])
            ),
        ),
        "cut-before-the-sum": WrongAnswer(
            "each adapter is cut to half of the rank by itself, and then they are stacked. What is "
            "strong in one alone need not be what is strong in the sum.",
            _cut_first,
        ),
        "A-alone-cut": WrongAnswer(
            "the rows are the strongest directions of the two A. A direction may be strong in A "
            "and meet a small column of B: look at the product.",
            _cut_A,
        ),
        "B-alone-cut": WrongAnswer(
            "the columns are the strongest directions of the two B. A direction may be strong in B "
            "and meet a small row of A: look at the product.",
            _cut_B,
        ),
        "one-too-few": WrongAnswer(
            "this is the nearest matrix of rank r - 1.",
            lambda A, B: balanced_factors(_sum(A, B), len(A[0]) - 1),
        ),
        "one-too-many": WrongAnswer(
            "this is the nearest matrix of rank r + 1.",
            lambda A, B: balanced_factors(_sum(A, B), len(A[0]) + 1),
        ),
        "number-for-rank": WrongAnswer(
            "the rank of this answer is 2, the number of adapters; r is the rank of each of them, "
            "which len(A) does not say.",
            lambda A, B: balanced_factors(_sum(A, B), len(A)),
        ),
        "one-term": WrongAnswer(
            "this is the strongest term alone; there is room for r of them.",
            lambda A, B: balanced_factors(_sum(A, B), 1),
        ),
        "sigma-forgotten": WrongAnswer(
            "the directions are right, and the singular values are missing.", _with_sigma(0)
        ),
        "sigma-in-both": WrongAnswer(
            "the singular values are in A and in B, so they are squared in the product.",
            _with_sigma(2),
        ),
        "one-root": WrongAnswer(
            "the product has the roots of the singular values; it needs the values themselves.",
            _with_sigma(0.5),
        ),
        "columns-of-Vh": WrongAnswer(
            "A is made of columns of the third array of numpy.linalg.svd, which is Vh: the vectors "
            "are its rows.",
            lambda A, B: (
                np.linalg.svd(_sum(A, B))[2][:, : len(A[0])].T,
                np.multiply(*truncated_svd(_sum(A, B), len(A[0]))[:2]),
            ),
        ),
    },
    canonical=_product,
    canonical_name="B A",
    question=(
        "the sum of two updates of rank 2 has the singular values 8, 4, 2, 1. What\n"
        "is the least error of a pair of rank 2, in the Frobenius norm?"
    ),
    hints=(
        "The four factors matter only through one matrix. What does notebook 02 say about a matrix "
        "that has more rank than there is room for?",
        "A matrix is a sum of terms, each a number times a column times a row. Which of them do "
        "you keep, and how many?",
        "One sum, one decomposition, two cuts: the columns go to B, the rows to A, and each number "
        "has to be in the product once.",
    ),
    without=LOOPS,
)

ALL = (MIXED_BATCH, COMBINE, BEST_OF_TWO)
