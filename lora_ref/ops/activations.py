"""Activations, elementwise: ReLU, tanh, and both forms of GELU."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array, check_cache, check_float, check_like

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_FLAT = 40.0
"""Beyond ±40 both forms of GELU are linear to the last bit, and powers of x may overflow."""


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

    x: Array
    cdf: Array  # shaped like x


def gelu(x: Array) -> tuple[Array, GELUCache]:
    """Return ``x * Φ(x)``, where Φ is the distribution function of the standard normal.

    Hendrycks and Gimpel, 2016, arXiv 1606.08415. NumPy has no error function, so `math.erfc` is
    called for each entry, in float64. This is exact and much slower than `gelu_tanh`.
    """
    check_float("x in gelu", x)
    # Φ(x) = (1 + erf(x / sqrt 2)) / 2 loses the digits of its left tail; erfc(-x / sqrt 2) / 2 not
    arguments = (x.ravel() / -math.sqrt(2)).tolist()
    cdf = np.fromiter(map(math.erfc, arguments), np.float64, x.size).astype(x.dtype)
    cdf = 0.5 * cdf.reshape(x.shape)
    return x * cdf, GELUCache(x, cdf)


def gelu_backward(grad_y: Array, cache: GELUCache) -> Array:
    """Return ``grad_y * (Φ(x) + x φ(x))``, where φ is the density of the standard normal."""
    check_cache("cache in gelu_backward", cache, GELUCache)
    x, cdf = cache
    check_like("grad_y in gelu_backward", grad_y, x)
    clipped = np.clip(x, -_FLAT, _FLAT)
    density = np.exp(-0.5 * clipped * clipped) / math.sqrt(2 * math.pi)
    return grad_y * (cdf + clipped * density)


class GELUTanhCache(NamedTuple):
    """What `gelu_tanh_backward` needs."""

    x: Array
    t: Array  # shaped like x: tanh(sqrt(2/π) (x + 0.044715 x³))


def gelu_tanh(x: Array) -> tuple[Array, GELUTanhCache]:
    """Return ``x * (1 + tanh(sqrt(2/π) * (x + 0.044715 x³))) / 2``, within 0.0005 of `gelu`.

    Hendrycks and Gimpel, 2016, arXiv 1606.08415.
    """
    check_float("x in gelu_tanh", x)
    clipped = np.clip(x, -_FLAT, _FLAT)
    t = np.tanh(_SQRT_2_OVER_PI * (clipped + _CUBIC * clipped * clipped * clipped))
    return 0.5 * x * (1 + t), GELUTanhCache(x, t)


def gelu_tanh_backward(grad_y: Array, cache: GELUTanhCache) -> Array:
    """Return grad_x, by the product rule and the chain rule inside the tanh."""
    check_cache("cache in gelu_tanh_backward", cache, GELUTanhCache)
    x, t = cache
    check_like("grad_y in gelu_tanh_backward", grad_y, x)
    clipped = np.clip(x, -_FLAT, _FLAT)
    inner = _SQRT_2_OVER_PI * (1 + 3 * _CUBIC * clipped * clipped)
    return grad_y * (0.5 * (1 + t) + 0.5 * clipped * (1 - t * t) * inner)


class ActivationPair(NamedTuple):
    """An activation and its backward pass."""

    forward: Callable[[Array], tuple[Array, Any]]
    backward: Callable[[Array, Any], Array]


ACTIVATIONS: Mapping[str, ActivationPair] = {
    "relu": ActivationPair(relu, relu_backward),
    "tanh": ActivationPair(tanh, tanh_backward),
    "gelu": ActivationPair(gelu, gelu_backward),
    "gelu_tanh": ActivationPair(gelu_tanh, gelu_tanh_backward),
}
"""The activations by the names that layers use."""
