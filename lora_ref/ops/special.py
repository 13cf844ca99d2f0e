"""The error function and the normal distribution, which NumPy does not have."""

import math
from functools import cache

import numpy as np

from lora_ref.checks import Array, at_least_float32, check_float

_NODES = 16
"""Nodes of the Taylor series in a unit; an argument is at most 1/32 away from one."""

_TERMS = 10
"""Of the series."""

_END = 30.0
"""Beyond it ``exp(-t * t)`` is 0 in float64."""

_NARROW_END = 11.0
"""Beyond it ``exp(-t * t)`` is 0 in float32."""

_NARROW_TERMS, _NARROW_MIDDLE = 8, 2.3
"""Of the polynomial for float32: the fewest terms that are as good as its digits, and the t in the
middle, K, with which these terms err least."""


def erf(x: Array) -> Array:
    """Return the error function, ``2 / sqrt(π)`` times the integral of ``exp(-t²)`` from 0 to x.

    The error is below 3e-16; of narrower types it is the rounding alone.

    Examples
    --------
    >>> erf(np.array([0.0, 0.5, -2.0])).round(6).tolist()
    [0.0, 0.5205, -0.995322]
    """
    check_float("x in erf", x)
    t = np.minimum(np.abs(x.astype(np.float64, copy=False)), _END)
    y: Array = np.copysign(1 - np.exp(-t * t) * scaled_erfc(t), x)
    return y.astype(x.dtype, copy=False)


def normal_cdf(x: Array) -> tuple[Array, Array]:
    """Return Φ(x) and φ(x): the standard normal's distribution function and its density.

    Φ keeps its digits far into the left tail, where ``(1 + erf(x / sqrt(2))) / 2`` has none left.
    In float32 its error is below 3e-7.
    """
    check_float("x in normal_cdf", x)
    wide = at_least_float32(x.dtype)
    t = np.abs(x.astype(wide, copy=False))
    t *= math.sqrt(0.5)
    np.clip(t, 0, _END if wide.itemsize > 4 else _NARROW_END, out=t)  # faster than a minimum
    density = t * t
    np.negative(density, out=density)
    np.exp(density, out=density)
    tail = scaled_erfc(t)
    tail *= density
    tail *= 0.5  # Φ(-|x|)
    density *= 1 / math.sqrt(2 * math.pi)
    cdf = np.abs((x > 0) - tail)  # 1 - tail on the right of 0
    return cdf.astype(x.dtype, copy=False), density.astype(x.dtype, copy=False)


def scaled_erfc(t: Array) -> Array:
    """Return ``exp(t * t) * (1 - erf(t))`` for t from 0 to 30, in float32 to 11.

    It falls slowly, from 1 to about ``1 / (t * sqrt(π))``. In float64 it is its Taylor series about
    the nearest sixteenth. In float32 it is a polynomial of ``(K - t) / (K + t)`` over ``K + t``
    (Schonfelder, 1978, "Chebyshev expansions for the error and related functions", Mathematics of
    Computation 32): it looks up nothing for an entry, and errs by less than 5e-7 of the value.
    """
    value: Array
    if t.dtype.itemsize <= 4:
        inverse = 1 / (t + _NARROW_MIDDLE)
        place = _NARROW_MIDDLE - t
        place *= inverse
        first, second, *others = _narrow_polynomial()
        value = first * place
        value += second
        for coefficient in others:
            value *= place
            value += coefficient
        value *= inverse
        return value
    series = _taylor_series()
    node = np.rint(np.fmin(t, _END) * _NODES).astype(np.intp)  # a NaN has a node too
    distance = t - node.astype(t.dtype) / _NODES
    value = series[-1].take(node)
    for coefficients in series[-2::-1]:
        value *= distance
        value += coefficients.take(node)
    return value


@cache
def _narrow_polynomial() -> list[float]:
    """Return coefficients from the highest power down, fitted at Chebyshev's places."""
    end = (_NARROW_MIDDLE - _NARROW_END) / (_NARROW_MIDDLE + _NARROW_END)
    angles = (np.arange(_NARROW_TERMS) + 0.5) * (math.pi / _NARROW_TERMS)
    places = (1 + end) / 2 + (1 - end) / 2 * np.cos(angles)  # from 1 at t = 0 to the end
    t = _NARROW_MIDDLE * (1 - places) / (1 + places)
    values = [(_NARROW_MIDDLE + at) * math.erfc(at) * math.exp(at * at) for at in t.tolist()]
    return list(np.linalg.solve(np.vander(places), values).tolist())


@cache
def _taylor_series() -> Array:
    """Return the coefficients of the series about each node, a row for each power.

    From ``w' = 2 t w - 2 / sqrt(π)`` comes ``w⁽ⁿ⁺¹⁾ = 2 t w⁽ⁿ⁾ + 2 n w⁽ⁿ⁻¹⁾``; a row is
    ``w⁽ⁿ⁾ / n!``.
    """
    nodes = np.arange(int(_END) * _NODES + 1) / _NODES
    # math.erfc nears the smallest numbers there are; three terms of the asymptotic series do
    far = (1 - 0.5 / np.maximum(nodes, 1) ** 2 + 0.75 / np.maximum(nodes, 1) ** 4) / (
        np.maximum(nodes, 1) * math.sqrt(math.pi)
    )
    near = [math.erfc(t) * math.exp(t * t) if t < 26 else 0.0 for t in nodes.tolist()]
    rows = [np.where(nodes < 26, near, far)]
    rows.append(2 * nodes * rows[0] - 2 / math.sqrt(math.pi))
    for n in range(1, _TERMS - 1):
        rows.append((2 * nodes * rows[n] + 2 * rows[n - 1]) / (n + 1))
    series = np.array(rows)
    series.flags.writeable = False
    return series
