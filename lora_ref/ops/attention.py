"""Softmax, and the attention that is made of it.

Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762, section 3.2.1.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, check_cache, check_float, check_like, check_same_axes
from lora_ref.errors import LoraRefError, ShapeError


class SoftmaxCache(NamedTuple):
    """What `softmax_backward` needs."""

    y: Array


def softmax(x: Array) -> tuple[Array, SoftmaxCache]:
    """Return ``exp(x) / sum(exp(x))`` along the last axis: positive numbers with the sum 1.

    The largest entry of each row is subtracted first: this changes nothing, and no exponential can
    overflow. An entry of -inf becomes 0.
    """
    check_float("x in softmax", x)
    y: Array = x - _largest(x)
    np.exp(y, out=y)
    y /= np.vecdot(y, np.ones(y.shape[-1], y.dtype))[..., None]
    return y, SoftmaxCache(y)


def _largest(x: Array) -> Array:
    """Return the largest entry of each row; finding its place first is faster than a maximum."""
    place = x.argmax(axis=-1, keepdims=True)
    return np.take_along_axis(x, place, axis=-1)


def softmax_backward(grad_y: Array, cache: SoftmaxCache) -> Array:
    """Return ``y * (grad_y - sum(grad_y * y))``, the sum along the last axis.

    All of a row share one divisor: that is where the sum comes from. Each row of grad_x adds up to
    0, because the same number added to all of x changes no y.
    """
    check_cache("cache in softmax_backward", cache, SoftmaxCache)
    check_like("grad_y in softmax_backward", grad_y, cache.y)
    grad_x: Array = grad_y - np.vecdot(grad_y, cache.y)[..., None]
    grad_x *= cache.y
    return grad_x


class AttentionOpCache(NamedTuple):
    """What `attention_backward` needs."""

    q: Array  # (..., n, d)
    k: Array  # (..., m, d)
    v: Array  # (..., m, e)
    weights: SoftmaxCache  # (..., n, m)  how much each query takes of each value


def attention(
    q: Array, k: Array, v: Array, *, allowed: NDArray[np.bool] | None = None
) -> tuple[Array, AttentionOpCache]:
    """Return ``softmax(q @ k.T / sqrt(d)) @ v``: for each query a mean of the values.

    Parameters
    ----------
    q : ndarray of shape (..., n, d)
        Queries. The leading axes, such as batch and head, are those of all three arrays.
    k : ndarray of shape (..., m, d)
        Keys: the weight of a value grows with the product of its key and the query.
    v : ndarray of shape (..., m, e)
        Values.
    allowed : bool ndarray, optional
        Which query may take of which value; it broadcasts to (..., n, m). All may if omitted. Each
        query needs at least one.

    Examples
    --------
    >>> one = np.ones((1, 2, 2))
    >>> attention(one, one, np.array([[[0.0], [1.0]]]))[0].tolist()  # equal keys: the plain mean
    [[[0.5], [0.5]]]
    """
    _check_qkv(q, k, v)
    scores = (q / math.sqrt(q.shape[-1])) @ np.swapaxes(k, -1, -2)  # (..., n, m)
    if allowed is not None:
        _check_allowed(allowed, scores.shape)
        scores += np.where(allowed, scores.dtype.type(0), scores.dtype.type(-np.inf))
    weights, cache = softmax(scores)
    return weights @ v, AttentionOpCache(q, k, v, cache)


def attention_backward(grad_y: Array, cache: AttentionOpCache) -> tuple[Array, Array, Array]:
    """Return the gradients of q, k and v.

    With P for the weights and g for grad_y: ``grad_v = P.T g``, ``grad_P = g v.T``, then through
    the softmax to the scores S, and ``grad_q = grad_S k / sqrt(d)``, ``grad_k = grad_S.T q /
    sqrt(d)``. What was not allowed has P = 0, and so no gradient.
    """
    check_cache("cache in attention_backward", cache, AttentionOpCache)
    q, k, v, inner = cache
    check_float("grad_y in attention_backward", grad_y, v.dtype)
    check_same_axes("grad_y in attention_backward", grad_y, (*q.shape[:-1], v.shape[-1]))
    grad_v = np.swapaxes(inner.y, -1, -2) @ grad_y  # (..., m, e)
    grad_scores = softmax_backward(grad_y @ np.swapaxes(v, -1, -2), inner)  # (..., n, m)
    s = 1 / math.sqrt(q.shape[-1])
    return grad_scores @ (s * k), np.swapaxes(grad_scores, -1, -2) @ (s * q), grad_v


def _check_qkv(q: Array, k: Array, v: Array) -> None:
    for name, array in (("q", q), ("k", k), ("v", v)):
        check_float(f"{name} in attention", array, q.dtype)
        if array.ndim < 2:
            raise ShapeError(
                f"{name} in attention has shape {array.shape}, expected (..., rows, width)"
            )
    if k.shape != (*q.shape[:-2], k.shape[-2], q.shape[-1]) or v.shape[:-1] != k.shape[:-1]:
        raise ShapeError(
            f"q, k and v in attention have shapes {q.shape}, {k.shape} and {v.shape}, "
            "expected (..., n, d), (..., m, d) and (..., m, e)"
        )


def _check_allowed(allowed: Any, shape: tuple[int, ...]) -> None:
    """Say what is wrong with a mask for scores of that shape."""
    if not isinstance(allowed, np.ndarray) or allowed.dtype != np.bool:
        got = getattr(allowed, "dtype", type(allowed).__name__)
        raise LoraRefError(f"allowed in attention is of {got}, expected a NumPy array of bool")
    try:
        np.broadcast_to(allowed, shape)
    except ValueError:
        raise ShapeError(
            f"allowed in attention has shape {allowed.shape}, expected one that broadcasts to "
            f"(..., n, m), here {shape}"
        ) from None
    if not (some := allowed.any(axis=-1)).all():
        where = tuple(int(i) for i in np.argwhere(~some)[0])
        raise LoraRefError(
            f"allowed in attention allows nothing at {where}, expected a value for each query"
        )
