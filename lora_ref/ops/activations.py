"""Activations, elementwise: ReLU, tanh, both forms of GELU, and SiLU."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array, check_cache, check_float, check_like
from lora_ref.ops.special import normal_cdf

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_BLOCK = 1 << 15
"""Entries whose temporaries fit a core's cache: a curve and its slope take up to forty passes."""

_FLAT = 40.0
"""Beyond ±40 the smooth ones are linear to the last bit, and powers of x may overflow."""


class ReLUCache(NamedTuple):
    """What `relu_backward` needs."""

    y: Array  # positive exactly where x is


def relu(x: Array) -> tuple[Array, ReLUCache]:
    """Return ``max(x, 0)``."""
    check_float("x in relu", x)
    y = np.maximum(x, 0)
    return y, ReLUCache(y)


def relu_backward(grad_y: Array, cache: ReLUCache) -> Array:
    """Return ``grad_y`` where x > 0, and 0 elsewhere.

    At exactly 0 there is no derivative; any number from 0 to 1 would be a subgradient. ``y >= 0``
    instead of ``y > 0`` would be true everywhere and mask nothing.
    """
    check_cache("cache in relu_backward", cache, ReLUCache)
    check_like("grad_y in relu_backward", grad_y, cache.y)
    return grad_y * (cache.y > 0)


class TanhCache(NamedTuple):
    """What `tanh_backward` needs."""

    y: Array


def tanh(x: Array) -> tuple[Array, TanhCache]:
    """Return ``tanh(x)``."""
    check_float("x in tanh", x)
    y = np.tanh(x)
    return y, TanhCache(y)


def tanh_backward(grad_y: Array, cache: TanhCache) -> Array:
    """Return ``grad_y * (1 - tanh(x)**2)``."""
    check_cache("cache in tanh_backward", cache, TanhCache)
    check_like("grad_y in tanh_backward", grad_y, cache.y)
    return grad_y * (1 - cache.y * cache.y)


class GELUCache(NamedTuple):
    """What `gelu_backward` needs."""

    slope: Array  # shaped like x: the derivative of y there


def gelu(x: Array) -> tuple[Array, GELUCache]:
    """Return ``x * Φ(x)``, where Φ is the distribution function of the standard normal.

    Hendrycks and Gimpel, 2016, arXiv 1606.08415. The slope is ``Φ(x) + x φ(x)``, where φ is the
    density of the standard normal.
    """
    check_float("x in gelu", x)
    y, slope = _in_blocks(x, _gelu_and_slope)
    return y, GELUCache(slope)


def _gelu_and_slope(x: Array, y: Array, slope: Array) -> None:
    """Write y and the slope, ``Φ(x) + x φ(x)``."""
    cdf, density = normal_cdf(x)
    np.multiply(x, cdf, out=y)
    density *= np.clip(x, -_FLAT, _FLAT)
    np.add(cdf, density, out=slope)


def gelu_backward(grad_y: Array, cache: GELUCache) -> Array:
    """Return ``grad_y * (Φ(x) + x φ(x))``."""
    return _times_slope("gelu_backward", grad_y, cache, GELUCache)


class GELUTanhCache(NamedTuple):
    """What `gelu_tanh_backward` needs."""

    slope: Array  # shaped like x: the derivative of y there


def gelu_tanh(x: Array) -> tuple[Array, GELUTanhCache]:
    """Return ``x * (1 + tanh(sqrt(2/π) * (x + 0.044715 x³))) / 2``, within 0.0005 of `gelu`.

    Hendrycks and Gimpel, 2016, arXiv 1606.08415. The slope comes from the product rule, and the
    chain rule inside the tanh.
    """
    check_float("x in gelu_tanh", x)
    y, slope = _in_blocks(x, _gelu_tanh_and_slope)
    return y, GELUTanhCache(slope)


def _gelu_tanh_and_slope(x: Array, y: Array, slope: Array) -> None:
    """Write y and the slope, ``g + x (1 - g) g u'`` with ``g = (1 + tanh(u / 2)) / 2``.

    g is the logistic function of u, ``1 / (1 + exp(-u))``, which is faster than the tanh.
    """
    twice = 2 * _SQRT_2_OVER_PI
    clipped = np.clip(x, -_FLAT, _FLAT)
    square = clipped * clipped  # not x ** 3, which takes the slow way of a power in float32
    gate = np.multiply(square, -twice * _CUBIC)
    gate -= twice
    gate *= clipped  # -u
    with np.errstate(over="ignore"):  # infinite far on the left, where the gate is 0
        np.exp(gate, out=gate)
    gate += 1
    np.reciprocal(gate, out=gate)
    np.multiply(x, gate, out=y)
    square *= 3 * twice * _CUBIC
    square += twice  # u'
    square *= clipped
    np.subtract(1, gate, out=slope)
    slope *= gate
    slope *= square
    slope += gate


def gelu_tanh_backward(grad_y: Array, cache: GELUTanhCache) -> Array:
    """Return grad_x, grad_y times the slope of the curve with the tanh in it."""
    return _times_slope("gelu_tanh_backward", grad_y, cache, GELUTanhCache)


class SiLUCache(NamedTuple):
    """What `silu_backward` needs."""

    slope: Array  # shaped like x: the derivative of y there


def silu(x: Array) -> tuple[Array, SiLUCache]:
    """Return ``x * σ(x)`` with the logistic ``σ(x) = 1 / (1 + exp(-x))``; also called Swish.

    Hendrycks and Gimpel, 2016, arXiv 1606.08415. The slope is ``σ(x) (1 + x (1 - σ(x)))``.
    """
    check_float("x in silu", x)
    small = np.exp(-np.abs(x))  # cannot overflow
    logistic = np.where(x > 0, 1, small) / (1 + small)
    return x * logistic, SiLUCache(logistic * (1 + np.clip(x, -_FLAT, _FLAT) * (1 - logistic)))


def silu_backward(grad_y: Array, cache: SiLUCache) -> Array:
    """Return ``grad_y * σ(x) (1 + x (1 - σ(x)))``."""
    return _times_slope("silu_backward", grad_y, cache, SiLUCache)


def _in_blocks(x: Array, write: Callable[[Array, Array, Array], None]) -> tuple[Array, Array]:
    """Return y and its slope, written block by block: the temporaries fit a core's cache."""
    y, slope = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    entries, ys, slopes = x.reshape(-1), y.reshape(-1), slope.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        write(entries[part], ys[part], slopes[part])
    return y, slope


def _times_slope(where: str, grad_y: Array, cache: Any, kind: type) -> Array:
    check_cache(f"cache in {where}", cache, kind)
    check_like(f"grad_y in {where}", grad_y, cache.slope)
    grad_x: Array = grad_y * cache.slope
    return grad_x


class ActivationPair(NamedTuple):
    """An activation and its backward pass."""

    forward: Callable[[Array], tuple[Array, Any]]
    backward: Callable[[Array, Any], Array]


ACTIVATIONS: Mapping[str, ActivationPair] = {
    "relu": ActivationPair(relu, relu_backward),
    "tanh": ActivationPair(tanh, tanh_backward),
    "gelu": ActivationPair(gelu, gelu_backward),
    "gelu_tanh": ActivationPair(gelu_tanh, gelu_tanh_backward),
    "silu": ActivationPair(silu, silu_backward),
}
"""The activations by the names that layers use."""
