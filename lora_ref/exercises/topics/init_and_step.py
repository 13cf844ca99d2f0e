"""The exercise of notebook 05: initial values."""

from math import sqrt
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes


def _start(
    out_features: int, in_features: int, r: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    A, B = np.zeros((r, in_features)), np.zeros((out_features, r))
    for k in range(r):
        for j in range(in_features):
            A[k, j] = 0.02 * rng.standard_normal()
    return A, B


def _draw_start(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    fresh = np.random.default_rng(int(rng.integers(1000, 2000)))
    return {"out_features": out_features, "in_features": in_features, "r": r, "rng": fresh}


def _in_any_order(answer: Any) -> Any:
    """Sort the entries of A, which may be filled by columns as well as by rows."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        return answer
    A, B = answer
    if not isinstance(A, np.ndarray) or A.dtype.kind != "f":
        return answer
    return np.sort(A, axis=None).reshape(A.shape), B


def _start_with(width: float) -> Answer:
    """Return the answer whose A is the right one times `width` / 0.02."""

    def answer(out: int, in_: int, r: int, rng: np.random.Generator) -> tuple[Array, Array]:
        return rng.normal(0, width, (r, in_)), np.zeros((out, r))

    return answer


def _start_from(seed: int) -> Answer:
    """Return the answer that draws from a generator of its own."""
    return lambda out, in_, r, rng: _start(out, in_, r, np.random.default_rng(seed))


ONE_DIRECTION = (
    "the rows of A are equal. Then the columns of B get equal gradients, and the update has "
    "rank 1 for ever."
)

START = Exercise(
    "05",
    "where training begins",
    "Return A (r, in_features) and B (out_features, r) as `return A, B`. The entries of A are\n"
    "independent draws from a normal distribution of mean 0 and standard deviation 0.02. They are\n"
    "the first that the generator rng draws; in which order they fill A does not matter. Training\n"
    "must begin exactly at W0.",
    _start,
    _draw_start,
    {
        "both-zero": WrongAnswer(
            "both are zero: each gradient contains the other factor, so neither ever moves.",
            lambda out, in_, r, rng: (np.zeros((r, in_)), np.zeros((out, r))),
        ),
        "both-random": WrongAnswer(
            "both are random: the model is disturbed before it has learnt anything.",
            lambda out, in_, r, rng: (
                0.02 * rng.standard_normal((r, in_)),
                0.02 * rng.standard_normal((out, r)),
            ),
        ),
        "exchanged": WrongAnswer(
            "here B is random and A is zero. It would train, but it is the other way round.",
            lambda out, in_, r, rng: (np.zeros((r, in_)), 0.02 * rng.standard_normal((out, r))),
        ),
        "order": WrongAnswer(
            "this returns B, A; expected A, B.",
            lambda out, in_, r, rng: _start(out, in_, r, rng)[::-1],
        ),
        "A-transposed": WrongAnswer(
            "A has the shape of its transpose: its rows are as long as those of x.",
            lambda out, in_, r, rng: (_start(out, in_, r, rng)[0].T, np.zeros((out, r))),
        ),
        "both-transposed": WrongAnswer(
            "A and B have the shapes of their transposes. PyTorch's `nn.Linear(in, out)` names the "
            "axes the other way round than its weight has them.",
            lambda out, in_, r, rng: (_start(out, in_, r, rng)[0].T, np.zeros((r, out))),
        ),
        "variance": WrongAnswer(
            "0.02 is the standard deviation; here it is the variance.", _start_with(sqrt(0.02))
        ),
        "deviation-squared": WrongAnswer(
            "the standard deviation is squared here: NumPy's `scale` is not a variance.",
            _start_with(0.02**2),
        ),
        "mean-for-width": WrongAnswer(
            "0.02 is the mean here, and the standard deviation is 1: the first argument of "
            "`normal` is loc.",
            lambda out, in_, r, rng: (rng.normal(0.02, size=(r, in_)), np.zeros((out, r))),
        ),
        "width-forgotten": WrongAnswer(
            "the standard deviation of A is 1 here; that of the task is missing.", _start_with(1.0)
        ),
        "kaiming": WrongAnswer(
            "this is the uniform rule of loralib and PEFT, which follows in_features. The task "
            "asks for a normal distribution.",
            lambda out, in_, r, rng: (
                rng.uniform(-(in_**-0.5), in_**-0.5, (r, in_)),
                np.zeros((out, r)),
            ),
        ),
        "uniform": WrongAnswer(
            "A is uniform between -0.02 and 0.02, expected a normal distribution.",
            lambda out, in_, r, rng: (rng.uniform(-0.02, 0.02, (r, in_)), np.zeros((out, r))),
        ),
        "uniform-above-0": WrongAnswer(
            "A is uniform between 0 and 0.02: `rng.random` knows no other distribution, and its "
            "mean is not 0.",
            lambda out, in_, r, rng: (0.02 * rng.random((r, in_)), np.zeros((out, r))),
        ),
        "equal-rows": WrongAnswer(
            f"one row is drawn and repeated: {ONE_DIRECTION}",
            lambda out, in_, r, rng: (
                np.tile(rng.normal(0, 0.02, in_), (r, 1)),
                np.zeros((out, r)),
            ),
        ),
        "one-number": WrongAnswer(
            f"one number is drawn for all entries: {ONE_DIRECTION}",
            lambda out, in_, r, rng: (np.full((r, in_), rng.normal(0, 0.02)), np.zeros((out, r))),
        ),
        "constant": WrongAnswer(
            f"nothing is drawn, all entries of A are 0.02: {ONE_DIRECTION}",
            lambda out, in_, r, rng: (np.full((r, in_), 0.02), np.zeros((out, r))),
        ),
        **{
            f"seed-{seed}": WrongAnswer(
                f"this draws from a new generator with the seed {seed}, not from rng. Two layers "
                "of a model would get the same A.",
                _start_from(seed),
            )
            for seed in (0, 1, 42)
        },
    },
    canonical=_in_any_order,
    tolerance=1e-6,  # float32 is a usual dtype of A
    values=("A", "B"),
    question="Four starts are possible: each factor zero or random. Which two leave the model as "
    "it is and can learn, and what is wrong with each of the other two?",
    hints=(
        "Two demands: y has to be that of W0, bit for bit, and the first step has to move "
        "something.",
        "The update is a product, so one of its factors can be zero. A gradient contains the other "
        "factor, which therefore may not be zero. The task says which is which.",
        "Two lines: one call of rng with a width and a shape, and one call of np.zeros with a "
        "shape. Mind which axis of each factor is r.",
    ),
)


ALL = (START,)
