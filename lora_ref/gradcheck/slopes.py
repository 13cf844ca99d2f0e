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

FINEST, COARSEST = 2.0**-34, 2.0**-22
"""How much of y, of the argument or of 1 may be lost to rounding inside: in float64, in float32."""

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
    """Whether y stays exactly as it is near the argument, so that 0 may be its slope as well."""

    floor: float = 0.0
    """What rounding of y would be as a slope, over the size of the argument."""


def norm(array: Array) -> float:
    """Return the root of the sum of squares; scaled, since squares beyond 1e154 overflow."""
    largest = float(np.abs(array).max(initial=0.0))
    return largest * float(np.linalg.norm(array / largest)) if largest else 0.0


def slope_at(line: Line, grad_y: Array, step: float) -> Slope:
    """Return the slope by one central difference; its uncertainty is that of rounding alone."""
    ahead, behind = line(step), line(-step)
    value = float(np.vdot(grad_y, ahead - behind)) / (2 * step)
    return Slope(value, 8 * EPS * norm(grad_y * (np.abs(ahead) + np.abs(behind))) / (2 * step))


def best_slope(line: Line, grad_y: Array, size: float, least: float) -> Slope:
    """Return the slope at the step where those of its neighbours agree best.

    One Richardson step takes the error of second order from each difference. A bend of y shrinks
    with the step where y is smooth; what does not shrink is a kink. How y is rounded inside shows
    at the smallest steps, where it ought to move in proportion to the step.

    The search goes from `SMALLEST` times `least`, the smallest entry of the argument that is not
    zero, to `LARGEST` times its `size`.
    """
    weights, here = np.abs(grad_y), line(0.0)
    steps: list[float] = []
    moves, roundings, kinks = [], [], []
    bend, still, step = np.full(np.shape(here), np.inf), 0.0, SMALLEST * least
    while step <= LARGEST * max(1.0, size):
        ahead, behind = line(step), line(-step)
        if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
            break
        if not steps and np.array_equal(ahead, here) and np.array_equal(behind, here):
            still, step = step, RATIO * step
            continue
        rounding = 4 * EPS * weights * (np.abs(ahead) + np.abs(behind) + 2 * np.abs(here)) / step
        smaller, bend = bend, weights * np.abs(ahead - 2 * here + behind) / step - rounding
        # the bend of a smooth y is a quarter of that at the next step, that of a kink the same
        kinks.append(2 * float(np.maximum(smaller - 0.5 * np.maximum(bend, 0.0), 0.0).sum()))
        steps.append(step)
        moves.append(float(np.vdot(grad_y, ahead - behind)))
        roundings.append(norm(rounding))
        step *= RATIO
    grain = float(np.vdot(weights, np.maximum(np.abs(here), max(1.0, size))))
    floor = 8 * EPS * float(np.vdot(weights, np.abs(here))) / size
    if not steps:  # y never moves, or it is not finite at the smallest step
        return Slope(0.0, COARSEST * grain / still) if still else Slope(np.nan, np.inf)
    noise = max((abs(b - RATIO * a) / RATIO for a, b in pairwise(moves[:4])), default=0.0)
    noise *= noise <= (COARSEST if still else FINEST) * grain  # more is a kink, or a saturation
    slopes = [move / (2 * step) for move, step in zip(moves, steps, strict=True)]
    refined = [fine + (fine - wide) / (RATIO**2 - 1) for fine, wide in pairwise(slopes)]
    found: list[Slope] = []
    for i in range(1, len(refined) - 1):
        scatter = max(abs(refined[i] - refined[i - 1]), abs(refined[i] - refined[i + 1]))
        rounding = roundings[i] + noise / steps[i]
        # far out, where y is flat again, slopes agree because all are small
        allowed = 4 * rounding if steps[i] <= max(1.0, size) else 0.0
        if scatter <= 0.1 * abs(refined[i]) + allowed:
            found.append(Slope(refined[i], scatter + rounding, kinks[i + 1], False, floor))
    nothing = Slope(float("nan"), float("inf"))
    best = min(found, key=lambda one: one.uncertainty + one.kink, default=nothing)
    missed = abs(best.value) * still
    if still and not missed <= COARSEST * grain:
        return Slope(0.0, COARSEST * grain / still, 0.0, True, floor)
    return best._replace(flat=missed > FINEST * grain)
