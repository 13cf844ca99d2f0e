"""Exercises of notebook 03: the update, a batch that is partly on, and a merged weight."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import BASIC, scaling_factors, wrong_scalings


def _delta_w(A: Array, B: Array, alpha: float) -> Array:
    r, in_features = A.shape
    update = np.zeros((len(B), in_features))
    for j in range(in_features):  # column j is what the low-rank path makes of unit vector j
        x = np.zeros(in_features)
        x[j] = 1
        for o in range(len(B)):
            for k in range(r):
                update[o, j] += alpha / r * B[o, k] * (A[k] @ x)
    return update


DELTA_W = Exercise(
    "03",
    "the update of the weight",
    "A has shape (r, in_features), B (out_features, r). Return the update of W0 as one matrix of\n"
    "shape (out_features, in_features), alpha/r included.",
    _delta_w,
    layer_arguments("A", "B", "alpha"),
    {
        "A-B": WrongAnswer(
            "this is A B, the article's slip. It has a meaning only where in_features is "
            "out_features, and then it is r x r. The update is B A.",
            lambda A, B, alpha: A @ B,
        ),
        "scaled-A-B": WrongAnswer(
            "this is A B, the article's slip, with alpha/r before it. The update is B A.",
            lambda A, B, alpha: alpha / len(A) * (A @ B),
        ),
        "entrywise": WrongAnswer(
            "this multiplies entry by entry, with *. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A),
        ),
        **wrong_scalings(_delta_w, "before B A"),
        "trace": WrongAnswer(
            "a row of A times a column of B is one number, and no matrix. The sum of such numbers "
            "is the trace of A B.",
            lambda A, B, alpha: alpha / len(A) * np.trace(A @ B),
        ),
        "first-term": WrongAnswer(
            "this is the first column of B times the first row of A; there are r such terms.",
            lambda A, B, alpha: alpha / len(A) * np.outer(B[:, 0], A[0]),
        ),
        "entrywise-rows": WrongAnswer(
            "this multiplies B and the transpose of A entry by entry. A matrix product is meant.",
            lambda A, B, alpha: alpha / len(A) * (B * A.T),
        ),
    },
    scaling_factors,
    folded=True,
    question="which of A B, B A and A^T B^T have the shape of W0 if W0 is 5 x 7 and r is 2?",
    hints=(
        "What does the low-rank path of a layer do with x = (1, 0, 0, ...)? That is the first "
        "column of the update.",
        "x meets A first and B after it. Which matrix does both at once?",
        "One matrix product, and one factor that depends on alpha and on the number of rows of A.",
    ),
    without=LOOPS,
)


def _forward(x: Array, W0: Array, A: Array, B: Array, alpha: float, on: Array) -> Array:
    y = np.zeros((len(x), len(W0)))
    for i in range(len(x)):  # each row is taken as a column, as the papers write it
        y[i] = W0 @ x[i]
        if on[i]:
            y[i] += alpha / len(A) * (B @ (A @ x[i]))
    return y


def _draw_rows(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a layer and rows, and for which of them it is on: some, and not all where there are."""
    on = rng.permutation(np.resize([True, False, True], n)) if n > 1 else np.array([True])
    return {**layer_arguments("x", "W0", "A", "B", "alpha")(rng, n), "on": on}


FORWARD = Exercise(
    "03",
    "a batch in which some rows leave the update out",
    "Rows x (n, in_features) go through W0. For rows whose entry of on (n,) is True, the low-rank\n"
    "path through A and B is added, with alpha/r before it; for the others it is off. Return y\n"
    "(n, out_features): all rows at once, and without forming B A.",
    _forward,
    _draw_rows,
    {
        **wrong_scalings(_forward, "before the low-rank branch", *BASIC),
        "rows-for-r": WrongAnswer(
            "alpha is divided by n, the number of rows of x. What is r?",
            lambda x, W0, A, B, alpha, on: _forward(x, W0, A, B, alpha * len(A) / len(x), on),
        ),
        "rows-on-for-r": WrongAnswer(
            "alpha is divided by the number of rows that are on. What is r?",
            lambda x, W0, A, B, alpha, on: _forward(x, W0, A, B, alpha * len(A) / on.sum(), on),
        ),
        "on-as-row-numbers": WrongAnswer(
            "on is used as row numbers here, 0 and 1. True and False choose rows, or multiply as 1 "
            "and 0.",
            lambda x, W0, A, B, alpha, on: (
                x @ W0.T + alpha / len(A) * (x @ A.T)[on.astype(int)] @ B.T
            ),
        ),
        "on-for-all": WrongAnswer(
            "every row gets the update, those that have it off too.",
            lambda x, W0, A, B, alpha, on: _forward(x, W0, A, B, alpha, on | True),
        ),
        "on-and-off-exchanged": WrongAnswer(
            "the rows whose entry of on is False get the update, and the others do not.",
            lambda x, W0, A, B, alpha, on: _forward(x, W0, A, B, alpha, ~on),
        ),
        "off-is-zero": WrongAnswer(
            "rows that have the update off come out as zero; they go through W0 like all others.",
            lambda x, W0, A, B, alpha, on: on[:, None] * _forward(x, W0, A, B, alpha, on),
        ),
        "instead-of-added": WrongAnswer(
            "rows that have the update on lose what W0 makes of them; both are added.",
            lambda x, W0, A, B, alpha, on: np.where(
                on[:, None], alpha / len(A) * (x @ A.T @ B.T), x @ W0.T
            ),
        ),
        "subtracted": WrongAnswer(
            "the low-rank branch is subtracted; it should be added.",
            lambda x, W0, A, B, alpha, on: _forward(x, W0, A, B, -alpha, on),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the frozen branch too; it belongs to the low-rank one alone.",
            lambda x, W0, A, B, alpha, on: alpha / len(A) * _forward(x, W0, A, B, len(A), on),
        ),
        "scaling-on-the-base": WrongAnswer(
            "alpha/r multiplies the frozen branch; it belongs to the low-rank one.",
            lambda x, W0, A, B, alpha, on: _forward(x, alpha / len(A) * W0, A, B, len(A), on),
        ),
        "base-forgotten": WrongAnswer(
            "this is the low-rank branch alone; the frozen one, x through W0, is missing.",
            lambda x, W0, A, B, alpha, on: _forward(x, 0 * W0, A, B, alpha, on),
        ),
        "update-forgotten": WrongAnswer(
            "this is the frozen branch alone; A and B have no part in it.",
            lambda x, W0, A, B, alpha, on: x @ W0.T,
        ),
        "columns": WrongAnswer(
            "this treats x as columns, W0 x. Here each row of x is an input.",
            lambda x, W0, A, B, alpha, on: W0 @ x + alpha / len(A) * (B @ (A @ x)) * on,
        ),
        "A-after-B": WrongAnswer(
            "B is applied before A: in the article's order, A B x. The input meets A first.",
            lambda x, W0, A, B, alpha, on: x @ W0.T + alpha / len(A) * (x @ B @ A) * on[:, None],
        ),
        "not-transposed": WrongAnswer(
            "W0, A and B are multiplied without a transpose. A row of x meets a row of A, not a "
            "column of it.",
            lambda x, W0, A, B, alpha, on: x @ W0 + alpha / len(A) * (x @ A @ B) * on[:, None],
        ),
        "W0-not-transposed": WrongAnswer(
            "W0 is multiplied without a transpose: a row of x meets a row of W0, not a column.",
            lambda x, W0, A, B, alpha, on: x @ W0 + alpha / len(A) * (x @ A.T @ B.T) * on[:, None],
        ),
        "B-on-x": WrongAnswer(
            "B is applied to x; it should be applied to what A makes of x.",
            lambda x, W0, A, B, alpha, on: (
                x @ W0.T + alpha / len(A) * (x @ A.T + x @ B.T) * on[:, None]
            ),
        ),
        "on-along-the-outputs": WrongAnswer(
            "on has one entry for each row, and meets one for each output here. Which shape makes "
            "it a column?",
            lambda x, W0, A, B, alpha, on: x @ W0.T + alpha / len(A) * (x @ A.T @ B.T) * on,
        ),
    },
    scaling_factors,
    not_formed="B A",
    batched=True,
    folded=True,
    question="a row has the update off. Its path is x, h = x A^T, the sum: at which of the three "
    "can you switch it off, and what goes wrong at x?",
    hints=(
        "Write the shape of each array beside its name. In x @ M the number of rows of M has to be "
        "in_features.",
        "What does B make of a row of zeros? And what does True times a number give in NumPy?",
        "Three products with a transposed matrix each, one sum, and two factors before one of its "
        "terms: a number, and a column with an entry for each row.",
    ),
    without=LOOPS,
)


def _merge(
    W: Array, A: Array, B: Array, alpha: float, new_A: Array, new_B: Array, new_alpha: float
) -> Array:
    merged = np.zeros_like(W)
    for j in range(W.shape[1]):  # column j is what the new layer makes of unit vector j
        x = np.zeros(W.shape[1])
        x[j] = 1
        base = W @ x - alpha / len(A) * (B @ (A @ x))
        merged[:, j] = base + new_alpha / len(new_A) * (new_B @ (new_A @ x))
    return merged


def _draw_two_tasks(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a weight, and two tasks of different r, alpha and alpha/r."""
    out_features, in_features, r = sizes(rng)
    alpha, new_alpha = rng.choice([5.0, 11.0, 13.0], size=2, replace=False)
    return {
        "W": rng.standard_normal((out_features, in_features)),
        "A": rng.standard_normal((r, in_features)),
        "B": rng.standard_normal((out_features, r)),
        "alpha": float(alpha),
        "new_A": rng.standard_normal((r + 1, in_features)),
        "new_B": rng.standard_normal((out_features, r + 1)),
        "new_alpha": float(new_alpha),
    }


def _merged(W: Array, s: float, A: Array, B: Array, new_s: float, *new: Array) -> Array:
    """Return W with one update subtracted and a new one added, each with a factor."""
    new_A, new_B = new
    return np.asarray(W - s * (B @ A) + new_s * (new_B @ new_A))


MERGE = Exercise(
    "03",
    "another task in a weight that is already merged",
    "A server holds W (out_features, in_features), merged from W0, A, B and alpha. W0 itself is\n"
    "gone. Return the weight merged from the same W0 and new_A, new_B and new_alpha, of another\n"
    "rank. W is still in use: leave it as it is.",
    _merge,
    _draw_two_tasks,
    {
        "old-task-left-in": WrongAnswer(
            "the old update is still in it: this is the weight of both tasks at once.",
            lambda W, A, B, a, C, D, c: _merged(W, 0, A, B, c / len(C), C, D),
        ),
        "new-task-missing": WrongAnswer(
            "this is W0: the old update is out, and the new one is not in.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, 0, C, D),
        ),
        "W-itself": WrongAnswer(
            "this is W: the old task is still merged, and the new one is not.",
            lambda W, A, B, a, C, D, c: W.copy(),
        ),
        "exchanged": WrongAnswer(
            "the old update is added and the new one subtracted; which of them is in W already?",
            lambda W, A, B, a, C, D, c: _merged(W, -a / len(A), A, B, -c / len(C), C, D),
        ),
        "both-added": WrongAnswer(
            "the old update is in W already, and here it is added once more.",
            lambda W, A, B, a, C, D, c: _merged(W, -a / len(A), A, B, c / len(C), C, D),
        ),
        "both-subtracted": WrongAnswer(
            "the new update is subtracted; it should be added.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, -c / len(C), C, D),
        ),
        "scalings-forgotten": WrongAnswer(
            "alpha/r is missing before both updates.",
            lambda W, A, B, a, C, D, c: _merged(W, 1, A, B, 1, C, D),
        ),
        "old-scaling-forgotten": WrongAnswer(
            "alpha/r is missing before the old update: it went into W with this factor.",
            lambda W, A, B, a, C, D, c: _merged(W, 1, A, B, c / len(C), C, D),
        ),
        "new-scaling-forgotten": WrongAnswer(
            "new_alpha over the new rank is missing before the new update.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, 1, C, D),
        ),
        "old-scaling-for-both": WrongAnswer(
            "the new update has the scaling of the old one.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, a / len(A), C, D),
        ),
        "new-scaling-for-both": WrongAnswer(
            "the old update has the scaling of the new one. It went into W with its own.",
            lambda W, A, B, a, C, D, c: _merged(W, c / len(C), A, B, c / len(C), C, D),
        ),
        "old-rank-for-both": WrongAnswer(
            "new_alpha is divided by the old rank. Each update has an r of its own.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, c / len(A), C, D),
        ),
        "new-rank-for-both": WrongAnswer(
            "alpha is divided by the new rank. Each update has an r of its own.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(C), A, B, c / len(C), C, D),
        ),
        "alphas-alone": WrongAnswer(
            "the factors are the two alphas; each should be divided by its rank.",
            lambda W, A, B, a, C, D, c: _merged(W, a, A, B, c, C, D),
        ),
        "scalings-exchanged": WrongAnswer(
            "the factors of the two updates are exchanged.",
            lambda W, A, B, a, C, D, c: _merged(W, c / len(C), A, B, a / len(A), C, D),
        ),
        "old-rank-forgotten": WrongAnswer(
            "the old update has the factor alpha; its r is missing.",
            lambda W, A, B, a, C, D, c: _merged(W, a, A, B, c / len(C), C, D),
        ),
        "new-rank-forgotten": WrongAnswer(
            "the new update has the factor new_alpha; its r is missing.",
            lambda W, A, B, a, C, D, c: _merged(W, a / len(A), A, B, c, C, D),
        ),
        "new-task-subtracted": WrongAnswer(
            "the new update is taken out, and it never was in W; the old one stays.",
            lambda W, A, B, a, C, D, c: _merged(W, 0, A, B, -c / len(C), C, D),
        ),
        "one-product": WrongAnswer(
            "both factors stand before the new product; the old B A is another matrix.",
            lambda W, A, B, a, C, D, c: _merged(W, 0, A, B, c / len(C) - a / len(A), C, D),
        ),
        **wrong_scalings(_merge, "before both updates"),
        "W-forgotten": WrongAnswer(
            "this is the difference of the two updates; W is missing.",
            lambda W, A, B, a, C, D, c: _merged(0 * W, a / len(A), A, B, c / len(C), C, D),
        ),
        "new-task-alone": WrongAnswer(
            "this is the new update alone; it belongs on top of W0.",
            lambda W, A, B, a, C, D, c: _merged(0 * W, 0, A, B, c / len(C), C, D),
        ),
        "A-B": WrongAnswer(
            "both updates are taken as A B, the article's slip. Their shape is not that of W.",
            lambda W, A, B, a, C, D, c: W - a / len(A) * (A @ B) + c / len(C) * (C @ D),
        ),
    },
    folded=True,
    question="W was merged with one task. What is left if you take that task out of it again?",
    hints=(
        "Write W0 + s B A in the place of W. What has to go, and what has to come?",
        "Each update has its own alpha and its own r, and it goes out with the factor with which "
        "it came in.",
        "A sum of three matrices in a new array, two of which are products with a factor. W itself "
        "must stay what it is, so no += on it.",
    ),
    without=LOOPS,
)

ALL = (DELTA_W, FORWARD, MERGE)
