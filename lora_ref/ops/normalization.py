"""Layer norm, RMS norm and inverted dropout."""

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
    as_positive,
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
    rows, epsilon = _rows_to_norm("layer_norm", x, {"gain": gain, "bias": bias}, epsilon)
    normed = rows - _mean(rows)
    inverse_std = 1 / np.hypot(_root_mean_square(normed), math.sqrt(epsilon))
    normed *= inverse_std
    normed = normed.astype(x.dtype, copy=False)
    y = gain * normed
    y += bias
    return y.reshape(x.shape), LayerNormCache(x.shape[:-1], normed, inverse_std, gain)


def layer_norm_backward(
    grad_y: Array, cache: LayerNormCache, *, train: tuple[str, ...] = ("gain", "bias")
) -> tuple[Array, Params]:
    """Return grad_x, and the gradients of those of ``"gain"`` and ``"bias"`` that `train` names.

    Shifting a row changes no output, and scaling it nearly none. So each row of grad_x has mean 0
    and no component along `normed`.
    """
    check_cache("cache in layer_norm_backward", cache, LayerNormCache)
    leading, normed, inverse_std, gain = cache
    what = "grad_y in layer_norm_backward"
    g = check_rows(what, grad_y, gain.dtype, leading=leading, features=len(gain))
    grads = {}
    if "gain" in train:
        grads["gain"] = np.einsum("ij,ij->j", g, normed)
    if "bias" in train:
        grads["bias"] = g.sum(axis=0)
    grad_x = g * gain
    along = np.vecdot(grad_x, normed)[:, None] / len(gain)
    grad_x -= _mean(grad_x)
    grad_x -= normed * along
    grad_x *= inverse_std
    return grad_x.reshape(grad_y.shape), grads


class RMSNormCache(NamedTuple):
    """What `rms_norm_backward` needs; x itself is not in it."""

    leading: tuple[int, ...]  # the axes of x before its last
    normed: Array  # (n, features)
    inverse_rms: Array  # (n, 1)  float32 if x is float16
    gain: Array  # (features,)


def rms_norm(x: Array, gain: Array, *, epsilon: float = 1e-6) -> tuple[Array, RMSNormCache]:
    """Return ``gain * x / sqrt(mean(x²) + epsilon)``, for each row by itself.

    Zhang and Sennrich, 2019, arXiv 1910.07467: a layer norm that subtracts no mean and adds no
    bias. Shapes are those of `layer_norm`.
    """
    rows, epsilon = _rows_to_norm("rms_norm", x, {"gain": gain}, epsilon)
    inverse_rms = 1 / np.hypot(_root_mean_square(rows), math.sqrt(epsilon))
    normed = (rows * inverse_rms).astype(x.dtype, copy=False)
    return (gain * normed).reshape(x.shape), RMSNormCache(x.shape[:-1], normed, inverse_rms, gain)


def rms_norm_backward(
    grad_y: Array, cache: RMSNormCache, *, train: tuple[str, ...] = ("gain",)
) -> tuple[Array, Params]:
    """Return grad_x, and the gradient of ``"gain"`` if `train` names it.

    Scaling a row changes nearly no output, so a row of grad_x has no component along `normed`.
    """
    check_cache("cache in rms_norm_backward", cache, RMSNormCache)
    leading, normed, inverse_rms, gain = cache
    what = "grad_y in rms_norm_backward"
    g = check_rows(what, grad_y, gain.dtype, leading=leading, features=len(gain))
    grad_normed = g * gain
    along = (grad_normed * normed).mean(axis=1, keepdims=True)
    grad_x = ((grad_normed - normed * along) * inverse_rms).astype(g.dtype, copy=False)
    grads = {"gain": (g * normed).sum(axis=0)} if "gain" in train else {}
    return grad_x.reshape(grad_y.shape), grads


def _rows_to_norm(where: str, x: Array, parameters: Params, epsilon: float) -> tuple[Array, float]:
    """Check what a norm is given; return the rows, wide enough to square, and epsilon."""
    check_float(f"x in {where}", x)
    rows = check_rows(f"x in {where}", x, x.dtype, features=x.shape[-1])
    for name, array in parameters.items():
        check_float(f"{name} in {where}", array, x.dtype)
        check_shape(f"{name} in {where}", array, features=x.shape[-1])
    epsilon = as_positive(f"epsilon in {where}", epsilon, x.dtype)
    return rows.astype(at_least_float32(x.dtype), copy=False), epsilon


def _mean(rows: Array) -> Array:
    """Return the mean of each row, as a column, from a product, which is faster than a sum."""
    mean: Array = (rows @ np.ones((rows.shape[1], 1), rows.dtype)) / rows.shape[1]
    return mean


def _root_mean_square(rows: Array) -> Array:
    """Return the root of the mean square of each row, as a column."""
    largest, bounds = 1.0, np.finfo(rows.dtype)
    with np.errstate(over="ignore"):
        squares = np.vecdot(rows, rows)
    if not bounds.tiny / bounds.eps < squares.min(initial=1) <= squares.max(initial=1) < bounds.max:
        largest = np.abs(rows).max(axis=1, keepdims=True)  # squares of numbers up to 1 are safe
        largest[largest == 0] = 1
        rows = rows / largest
        squares = np.vecdot(rows, rows)
    root: Array = largest * np.sqrt(squares[:, None] / rows.shape[1])
    return root


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
