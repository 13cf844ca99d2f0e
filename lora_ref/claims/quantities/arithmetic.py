"""Quantities of plain numbers: arithmetic on what a source prints, and on derived values."""

from math import log, tanh

import numpy as np

from lora_ref.claims.quantity import Count, Matrix, Number, OneNumber, Values
from lora_ref.claims.values import exact, rounded
from lora_ref.errors import LoraRefError

TOPIC = "Arithmetic"


# two numbers


def stated(number: Number) -> OneNumber:
    """Return a number as it is."""
    return number


def ratio(numerator: Number, denominator: Number) -> OneNumber:
    """Return the numerator by the denominator."""
    if not denominator:
        raise LoraRefError("denominator is 0, expected another number")
    return exact(numerator) / exact(denominator)


def relative_rise(new: Number, old: Number) -> OneNumber:
    """Return new / old - 1."""
    return ratio(new, old) - 1


def relative_fall(new: Number, old: Number) -> OneNumber:
    """Return 1 - old / new: the fall of the time where the speed rises from old to new."""
    return 1 - ratio(old, new)


def stored_for_tasks(each: Number, tasks: Count, base: Number = 0) -> OneNumber:
    """Return base + tasks x each: the storage of a shared base and something for each task."""
    return exact(base) + tasks * exact(each)


def random_subspace_norm(norm: Number, r: Count, d: Count) -> OneNumber:
    """Return norm r / d: the norm of U^T W V^T expected for random U and V of r of d dimensions.

    An approximation: the root of the expected square, norm^2 (r/d)^2.
    """
    return exact(norm) * r / d


def elo_win_rate(rating: Number, other: Number) -> OneNumber:
    """Return the share of games that Elo's model expects to be won against another rating.

    1 / (1 + 10^((other - rating) / 400)): Elo, 1978, The Rating of Chessplayers.
    """
    return rounded((1 + tanh(float(exact(rating) - exact(other)) * log(10) / 800)) / 2, 1.0)


# several numbers


def mean(of: Values) -> OneNumber:
    """Return the sum of several numbers by how many they are."""
    return ratio(sum(exact(number) for number in of), len(of))


def smallest(of: Matrix) -> OneNumber:
    """Return the smallest number."""
    return min(of.flat)


def largest(of: Matrix) -> OneNumber:
    """Return the largest number."""
    return max(of.flat)


def spread(of: Matrix) -> OneNumber:
    """Return the largest number by the smallest; all are above 0."""
    least = smallest(of)
    if least <= 0:
        raise LoraRefError("of has a number that is not above 0, expected sizes")
    return ratio(largest(of), least)


def distinct(of: Matrix) -> OneNumber:
    """Return how many different numbers there are."""
    return len({exact(number) for number in of.flat})


def growth_exponent(of: Matrix, along: Values) -> OneNumber:
    """Return the p of numbers that grow as the p-th power of others.

    The slope of their logarithms, by least squares: 1 where they grow linearly.
    """
    if of.shape != (len(along),) or len(set(along)) < 2:
        raise LoraRefError(f"of has {of.size} numbers, expected as many as along, and at least 2")
    if min(*of, *along) <= 0:
        raise LoraRefError("of or along has a number that is not above 0, expected sizes")
    x, y = (np.array([log(number) for number in numbers]) for numbers in (along, of))
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    return rounded(slope, max(1.0, abs(slope)))


def chance_of_fit(of: Matrix, unit: Number) -> OneNumber:
    """Return the chance that a number printed to a unit is met by a member of a progression.

    It is unit by the distance of `of`, two neighbours of an arithmetic progression; at most 1.
    """
    if of.shape != (2,) or of[0] == of[1]:
        raise LoraRefError("expected two different numbers in of")
    return min(1, ratio(unit, abs(of[1] - of[0])))
