"""The slope of a function along one direction, by central differences, with its uncertainty."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from lora_ref.checks import Array

EPS = float(np.finfo(np.float64).eps)

RATIO = 4.0
"""Each step of the search is so many times the one below it."""

SMALLEST, LARGEST = RATIO**-18, RATIO**10
"""Between these the search goes, about 1e-11 and 1e6."""

Line: TypeAlias = Callable[[float], Array]
"""Maps t to y at the argument moved by t along a direction."""


class Slope(NamedTuple):
    """The derivative of ``sum(grad_y * y)`` along a direction, and what may be wrong with it."""

    value: float
    uncertainty: float
    """What rounding of y leaves open, and truncation where several steps were compared."""

    kink: float = 0.0
    """By how much the slopes on both sides differ where y has a kink; 0 where y is smooth."""

    flat: bool = False
    """Whether y stays exactly as it is near the argument, and moves further away."""

    floor: float = 0.0
    """What rounding of y would be as a slope, over the size of the argument."""


def slope_at(line: Line, grad_y: Array, step: float) -> Slope:
    """Return the slope by one central difference; its uncertainty is that of rounding alone."""
    ahead, behind = line(step), line(-step)
    value = float(np.vdot(grad_y, ahead - behind)) / (2 * step)
    size = float(np.vdot(np.abs(grad_y), np.abs(ahead) + np.abs(behind)))
    return Slope(value, 8 * EPS * size / (2 * step))


def best_slope(line: Line, grad_y: Array, size: float, least: float) -> Slope:
    """Return the slope at the step where those of its neighbours agree best.

    One Richardson step takes the error of second order from each difference. A bend of y shrinks
    with the step where y is smooth; what does not shrink is a kink.

    Parameters
    ----------
    line : callable
        As `Line`.
    grad_y : ndarray shaped like y
        The weights of y.
    size, least : float
        How large the argument is, and its smallest entry that is not zero: from `SMALLEST` times
        that the search goes to `LARGEST` times the size.
    """
    weights, here = np.abs(grad_y), line(0.0)
    slopes, roundings, bends, moves = [], [], [], False
    step = SMALLEST * least
    while step <= LARGEST * max(1.0, size):
        ahead, behind = line(step), line(-step)
        if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
            break
        moves = moves or not np.array_equal(ahead, behind)
        rounding = 4 * EPS * weights * (np.abs(ahead) + np.abs(behind) + 2 * np.abs(here)) / step
        slopes.append(float(np.vdot(grad_y, ahead - behind)) / (2 * step))
        roundings.append(float(rounding.sum()))
        bends.append(weights * np.abs(ahead - 2 * here + behind) / step - rounding)
        step *= RATIO
    refined = [fine + (fine - wide) / (RATIO**2 - 1) for fine, wide in pairwise(slopes)]
    found: list[Slope] = []
    floor = 8 * EPS * float(np.vdot(weights, np.abs(here))) / size
    for i in range(1, len(refined) - 1):
        scatter = max(abs(refined[i] - refined[i - 1]), abs(refined[i] - refined[i + 1]))
        if scatter > 0.1 * abs(refined[i]) + 4 * roundings[i]:
            continue  # far out, where y is flat again, slopes agree because all are small
        uncertainty = scatter + roundings[i]
        # the bend of a smooth y is a quarter of that at the next step, that of a kink the same
        bent = np.maximum(bends[i] - 0.5 * np.maximum(bends[i + 1], 0.0), 0.0).sum()
        flat = moves and refined[i] == 0.0
        found.append(Slope(refined[i], uncertainty, 2 * float(bent), flat, floor))
    nothing = Slope(float("nan"), float("inf"))
    return min(found, key=lambda one: one.uncertainty + one.kink, default=nothing)
