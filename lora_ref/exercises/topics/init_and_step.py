"""Exercises of notebook 05: initial values, and the scaling."""

from math import sqrt

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer
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
    fresh = np.random.default_rng(int(rng.integers(1000)))
    return {"out_features": out_features, "in_features": in_features, "r": r, "rng": fresh}


START = Exercise(
    "05",
    "where training begins",
    "Return A (r, in_features) and B (out_features, r) as `return A, B`. A is drawn from a normal\n"
    "distribution of mean 0 and standard deviation 0.02, row by row from the generator rng;\n"
    "training must begin exactly at W0.",
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
        "variance": WrongAnswer(
            "0.02 is the standard deviation; here it is the variance.",
            lambda out, in_, r, rng: (
                sqrt(0.02) * rng.standard_normal((r, in_)),
                np.zeros((out, r)),
            ),
        ),
        "ones": WrongAnswer(
            "the entries of A are equal, so all columns of B get one gradient: rank 1 for ever.",
            lambda out, in_, r, rng: (np.full((r, in_), 0.02), np.zeros((out, r))),
        ),
    },
)


def _scaling(alpha: float, r: int, rank_stabilized: bool) -> float:
    divisor = 0.0
    if rank_stabilized:
        while (divisor + 0.5**30) ** 2 <= r:  # the square root, digit by digit
            step = 1.0
            while (divisor + step) ** 2 > r:
                step /= 2
            divisor += step
    else:
        for _ in range(r):
            divisor += 1
    return alpha / divisor


def _draw_scaling(rng: np.random.Generator, n: int) -> Arguments:
    return {
        "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
        "r": int(rng.choice([3, 5, 6, 8])),
        "rank_stabilized": bool(n % 2),
    }


SCALING = Exercise(
    "05",
    "the factor before the update",
    "Return the factor before B A: alpha over r, or where rank_stabilized is true (rsLoRA) alpha\n"
    "over the square root of r.",
    _scaling,
    _draw_scaling,
    {
        "never-stabilized": WrongAnswer(
            "this is alpha/r in both cases; rank_stabilized is ignored. An rsLoRA adapter would "
            "be too weak by the square root of r.",
            lambda alpha, r, rank_stabilized: alpha / r,
        ),
        "always-stabilized": WrongAnswer(
            "this is alpha/sqrt(r) in both cases.",
            lambda alpha, r, rank_stabilized: alpha / sqrt(r),
        ),
        "cases-exchanged": WrongAnswer(
            "the two cases are exchanged.",
            lambda alpha, r, rank_stabilized: alpha / (r if rank_stabilized else sqrt(r)),
        ),
        "alpha-alone": WrongAnswer(
            "this is alpha; nothing is divided.", lambda alpha, r, rank_stabilized: alpha
        ),
        "upside-down": WrongAnswer(
            "the fraction is upside down.",
            lambda alpha, r, rank_stabilized: (sqrt(r) if rank_stabilized else r) / alpha,
        ),
        "whole-division": WrongAnswer(
            "the digits after the decimal point are cut off; // and int() do that.",
            lambda alpha, r, rank_stabilized: alpha // (sqrt(r) if rank_stabilized else r),
        ),
    },
    tolerance=1e-8,
)


ALL = (START, SCALING)
