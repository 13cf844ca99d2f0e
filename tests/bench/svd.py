"""The best rank-8 part of a large matrix: all of its SVD, or a few products with it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lora_ref.lowrank import randomized_svd
from tests.bench.contest import contest
from tests.bench.row import Row, Target

FULL, RANDOMIZED = "numpy.linalg.svd", "lowrank.randomized_svd"
TIME, ERROR = "time, full over randomised", "error, randomised over optimal"


def falling(d: int) -> np.ndarray:
    """Return a d x d matrix with singular values 1, 1/2, 1/3, ..."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((d, d))).Q for _ in range(2))
    M: np.ndarray = (U / np.arange(1, d + 1)) @ V.T
    return M


def make(name: str, d: int, r: int) -> Callable[[], Sequence[Any]]:
    """Return the call of one contender."""
    M, rng = falling(d), np.random.default_rng(1)
    if name == FULL:
        return lambda: np.linalg.svd(M)
    return lambda: randomized_svd(M, r, rng)


def worst_error(d: int, r: int, draws: int) -> float:
    """Return the largest error of several draws of noise over that of the best rank-r matrix."""
    M = falling(d)
    optimal = np.linalg.norm(1 / np.arange(r + 1, d + 1))
    errors = []
    for seed in range(draws):
        U, s, Vh = randomized_svd(M, r, np.random.default_rng(seed))
        errors.append(np.linalg.norm(M - (U * s) @ Vh) / optimal)
    return float(max(errors))


def rows() -> Iterator[Row]:
    """Yield the row of the SVD."""
    d, r, draws = 1024, 8, 10
    timings = contest(make, [FULL, RANDOMIZED], d, r, rounds=6)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    yield Row(
        "svd",
        f"rank-{r} part of a {d} x {d} matrix with singular values 1/i, float64; Frobenius error, "
        f"the worst of {draws} draws",
        {TIME: seconds[FULL] / seconds[RANDOMIZED], ERROR: worst_error(d, r, draws)},
        (Target(TIME, ">=", 30.0), Target(ERROR, "<=", 1.001)),
    )
