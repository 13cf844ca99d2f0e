"""Layer norm and inverted dropout."""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import (
    Array,
    Params,
    as_count,
    as_finite,
    as_fraction,
    at_least_float32,
    check_cache,
    check_float,
    check_generator,
    check_like,
    check_rows,
    check_shape,
)
from lora_ref.errors import LoraRefError


class LayerNormCache(NamedTuple):
    """What `layer_norm_backward` needs; x itself is not in it."""

    leading: tuple[int, ...]  # the axes of x before its last
    normed: Array  # (n, features)
    inverse_std: Array  # (n, 1)  float32 if x is float16
    gain: Array  # (features,)


def layer_norm(
    x: Array, gain: Array, bias: Array, *, epsilon: float = 1e-5
) -> tuple[Array, LayerNormCache]:
    """Return ``gain * (x - mean) / sqrt(variance + epsilon) + bias``, for each row by itself.

    Ba, Kiros and Hinton, 2016, arXiv 1607.06450. x has shape (n, features) or more leading axes,
    the trainable gain and bias (features,); they usually start at ones and zeros. The variance of a
    row is divided by features, not by features - 1. The positive epsilon keeps a constant row
    finite: it becomes `bias`.
    """
    check_float("x in layer_norm", x)
    features, dtype = x.shape[-1], x.dtype
    rows = check_rows("x in layer_norm", x, dtype, features=features)
    for name, array in (("gain", gain), ("bias", bias)):
        check_float(f"{name} in layer_norm", array, dtype)
        check_shape(f"{name} in layer_norm", array, features=features)
    epsilon = as_finite("epsilon in layer_norm", epsilon, dtype)
    if not epsilon > 0:
        raise LoraRefError(f"epsilon in layer_norm is {epsilon}, expected a positive number")
    wide = rows.astype(at_least_float32(dtype), copy=False)
    centred = wide - wide.mean(axis=1, keepdims=True)
    largest = np.abs(centred).max(axis=1, keepdims=True)
    largest[largest == 0] = 1
    # squares of numbers up to 1 cannot overflow, and hypot adds epsilon without squaring
    std = largest * np.sqrt(np.square(centred / largest).mean(axis=1, keepdims=True))
    inverse_std = 1 / np.hypot(std, math.sqrt(epsilon))
    normed = (centred * inverse_std).astype(dtype, copy=False)
    y = gain * normed + bias
    return y.reshape(x.shape), LayerNormCache(x.shape[:-1], normed, inverse_std, gain)


def layer_norm_backward(grad_y: Array, cache: LayerNormCache) -> tuple[Array, Params]:
    """Return grad_x, and the gradients of ``"gain"`` and ``"bias"`` as a layer does.

    Shifting a row changes no output, and scaling it nearly none. So each row of grad_x has mean 0
    and no component along `normed`.
    """
    check_cache("cache in layer_norm_backward", cache, LayerNormCache)
    leading, normed, inverse_std, gain = cache
    what = "grad_y in layer_norm_backward"
    g = check_rows(what, grad_y, gain.dtype, leading=leading, features=len(gain))
    grads = {"gain": (g * normed).sum(axis=0), "bias": g.sum(axis=0)}
    grad_normed = g * gain
    along = (grad_normed * normed).mean(axis=1, keepdims=True)
    grad_x = grad_normed - grad_normed.mean(axis=1, keepdims=True) - normed * along
    grad_x *= inverse_std
    return grad_x.reshape(grad_y.shape), grads


def dropout_mask(
    shape: tuple[int, ...], p: float, rng: np.random.Generator, dtype: DTypeLike = np.float64
) -> Array:
    """Draw a mask: each entry is 0 with probability p, and 1 / (1 - p) otherwise; its mean is 1.

    Dropout is Hinton et al., 2012, arXiv 1207.0580. This is inverted dropout: the kept entries are
    enlarged in training, where the paper shrinks the weights at test time. p is at least 0 and
    below 1; shape and dtype are those of the array to be masked, because every row needs a mask of
    its own. A generator in the same state drops the same entries in every dtype.

    Examples
    --------
    >>> mask = dropout_mask((2, 4), 0.5, np.random.default_rng(0))
    >>> mask.tolist()
    [[2.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]
    """
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise LoraRefError(f"dtype in dropout_mask is {kind}, expected a floating-point dtype")
    p = as_fraction("p in dropout_mask", p)
    check_generator("rng in dropout_mask", rng)
    given: object = shape
    if not isinstance(given, tuple) or not given:
        raise LoraRefError(f"shape in dropout_mask is {given!r}, expected a tuple of sizes")
    sizes = [as_count(f"axis {i} of shape in dropout_mask", size) for i, size in enumerate(given)]
    mask: Array = (rng.random(sizes) >= p).astype(kind)
    mask *= as_finite("1 / (1 - p) in dropout_mask", 1 / (1 - p), kind)
    return mask


class DropoutCache(NamedTuple):
    """What `dropout_backward` needs."""

    mask: Array


def dropout(x: Array, mask: Array) -> tuple[Array, DropoutCache]:
    """Return ``x * mask``, for a mask of `dropout_mask`; leave the call out in evaluation."""
    check_float("x in dropout", x)
    check_like("mask in dropout", mask, x)
    return x * mask, DropoutCache(mask)


def dropout_backward(grad_y: Array, cache: DropoutCache) -> Array:
    """Return ``grad_y * mask``; a network in which this mask is forgotten still trains."""
    check_cache("cache in dropout_backward", cache, DropoutCache)
    check_like("grad_y in dropout_backward", grad_y, cache.mask)
    return grad_y * cache.mask
