"""The exercise of notebook 05: initial values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes


def _start(
    out_features: int, in_features: int, r: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    A, B = np.zeros((r, in_features)), np.zeros((out_features, r))
    bound = 1 / np.sqrt(in_features)
    for k in range(r):
        for j in range(in_features):
            A[k, j] = rng.uniform(-bound, bound)
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


Draw = Callable[[np.random.Generator, int, int, int], Array]


def _with(draw: Draw) -> Answer:
    """Return an answer with B at zero and an A drawn from rng, out_features, in_features and r."""
    return lambda out, in_, r, rng: (draw(rng, out, in_, r), np.zeros((out, r)))


def _within(bound: Callable[[int, int, int], float]) -> Answer:
    """Return an answer whose A is uniform within a bound of out_features, in_features and r."""

    def draw(rng: np.random.Generator, out: int, in_: int, r: int) -> Array:
        limit = bound(out, in_, r)
        return rng.uniform(-limit, limit, (r, in_))

    return _with(draw)


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
    "independent draws, uniform between -1/sqrt(in_features) and 1/sqrt(in_features). They are\n"
    "the first that the generator rng draws; in which order they fill A does not matter.\n"
    "Training must begin exactly at W0.",
    _start,
    _draw_start,
    {
        "both-zero": WrongAnswer(
            "both are zero: each gradient contains the other factor, so neither ever moves.",
            _with(lambda rng, out, in_, r: np.zeros((r, in_))),
        ),
        "both-random": WrongAnswer(
            "both are random: the model is disturbed before it has learnt anything.",
            lambda out, in_, r, rng: (
                rng.uniform(-(in_**-0.5), in_**-0.5, (r, in_)),
                rng.uniform(-(in_**-0.5), in_**-0.5, (out, r)),
            ),
        ),
        "exchanged": WrongAnswer(
            "here B is random and A is zero. It would train, but it is the other way round.",
            lambda out, in_, r, rng: (
                np.zeros((r, in_)),
                rng.uniform(-(in_**-0.5), in_**-0.5, (out, r)),
            ),
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
        "root-forgotten": WrongAnswer(
            "A is uniform, but its bound is 1/in_features: the root is missing.",
            _within(lambda out, in_, r: 1 / in_),
        ),
        "upside-down": WrongAnswer(
            "A is uniform, but its bound is upside down: a wider layer would get a wider A.",
            _within(lambda out, in_, r: in_**0.5),
        ),
        "by-out-features": WrongAnswer(
            "the bound follows out_features; h is a sum over the inputs.",
            _within(lambda out, in_, r: out**-0.5),
        ),
        "by-rank": WrongAnswer(
            "the bound follows r, as where PyTorch's rule is given an A with its axes exchanged.",
            _within(lambda out, in_, r: r**-0.5),
        ),
        "deviation-for-bound": WrongAnswer(
            "1/sqrt(3 in_features) is the bound here; it should be the standard deviation.",
            _within(lambda out, in_, r: (3 * in_) ** -0.5),
        ),
        "width-forgotten": WrongAnswer(
            "A is uniform between -1 and 1; the width of the task is missing.",
            _within(lambda out, in_, r: 1.0),
        ),
        "fixed-width": WrongAnswer(
            "A is uniform between -0.02 and 0.02 in every layer; the task asks for a width that "
            "follows in_features.",
            _within(lambda out, in_, r: 0.02),
        ),
        "fixed-normal": WrongAnswer(
            "A is normal with the standard deviation 0.02 in every layer; the task asks for a "
            "uniform draw, and for a width that follows in_features.",
            _with(lambda rng, out, in_, r: rng.normal(0, 0.02, (r, in_))),
        ),
        "normal": WrongAnswer(
            "A is normal, with the bound as its standard deviation; the task asks for a uniform "
            "draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, in_**-0.5, (r, in_))),
        ),
        "normal-of-this-width": WrongAnswer(
            "A is normal, of the right standard deviation; the task asks for a uniform draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, (3 * in_) ** -0.5, (r, in_))),
        ),
        "he-normal": WrongAnswer(
            "A is normal with the standard deviation sqrt(2/in_features), which is made for layers "
            "with a ReLU; the task asks for a uniform draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, (2 / in_) ** 0.5, (r, in_))),
        ),
        "uniform-above-0": WrongAnswer(
            "A is uniform between 0 and the bound, so its mean is not 0.",
            _with(lambda rng, out, in_, r: rng.uniform(0, in_**-0.5, (r, in_))),
        ),
        "equal-rows": WrongAnswer(
            f"one row is drawn and repeated: {ONE_DIRECTION}",
            _with(
                lambda rng, out, in_, r: np.tile(rng.uniform(-(in_**-0.5), in_**-0.5, in_), (r, 1))
            ),
        ),
        "one-number": WrongAnswer(
            f"one number is drawn for all entries: {ONE_DIRECTION}",
            _with(lambda rng, out, in_, r: np.full((r, in_), rng.uniform(-(in_**-0.5), in_**-0.5))),
        ),
        "constant": WrongAnswer(
            f"nothing is drawn, all entries of A are the bound: {ONE_DIRECTION}",
            _with(lambda rng, out, in_, r: np.full((r, in_), in_**-0.5)),
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
        "Two lines: one call of rng with two bounds and a shape, and one call of np.zeros with a "
        "shape. Mind which axis of each factor is r.",
    ),
)


ALL = (START,)
