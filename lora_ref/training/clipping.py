"""Gradient clipping: the joint norm of all gradients, and its limit."""

import math

import numpy as np

from lora_ref.checks import Array, Params, as_finite
from lora_ref.errors import LoraRefError


def gradient_norm(grads: Params) -> float:
    """Return the Euclidean norm of all gradients together; no square in it leaves its dtype.

    Examples
    --------
    >>> gradient_norm({"A": np.array([300.0, 400.0], np.float16), "B": np.array([1e-200])})
    500.0
    """
    with np.errstate(over="ignore"):  # such a norm is taken again, by way of the largest entry
        return math.hypot(*(_norm(grad) for grad in grads.values()))


def clip_gradients(grads: Params, max_norm: float) -> tuple[Params, float]:
    """Shrink all gradients by one factor, to a joint norm of at most `max_norm`.

    Pascanu, Mikolov and Bengio, 2013, arXiv 1211.5063. The direction stays.

    Returns
    -------
    grads : mapping of str to ndarray
        New arrays, or the very ones that came in where their norm is small enough.
    norm : float
        The joint norm before.

    Raises
    ------
    LoraRefError
        For a `max_norm` that is not positive, or a norm that is not finite: there is no direction
        to keep.

    Examples
    --------
    >>> clip_gradients({"A": np.array([3.0]), "B": np.array([4.0])}, max_norm=1.0)
    ({'A': array([0.6]), 'B': array([0.8])}, 5.0)
    """
    limit = as_finite("max_norm in clip_gradients", max_norm)
    if not limit > 0:
        raise LoraRefError(f"max_norm in clip_gradients is {limit}, expected a positive number")
    norm = gradient_norm(grads)
    if not math.isfinite(norm):
        raise LoraRefError(f"the norm of grads in clip_gradients is {norm}, expected a finite one")
    if norm <= limit:
        return grads, norm
    return {name: _times(grad, limit / norm) for name, grad in grads.items()}, norm


def _norm(grad: Array) -> float:
    """Return the Euclidean norm by way of the largest entry, where a plain one would not hold."""
    if grad.dtype.itemsize > 2:
        flat = grad.ravel(order="K")
        norm = math.sqrt(flat.dot(flat))
        if 1e-12 < norm < math.inf:  # a square that was lost is below 1e-45, in float32
            return norm
    largest = float(np.abs(grad).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(np.divide(grad, largest, dtype=np.float64)))


def _times(grad: Array, factor: float) -> Array:
    """Return ``factor * grad``, by way of float64 where the factor is too small for the dtype."""
    dtype = grad.dtype if factor >= np.finfo(grad.dtype).tiny else np.dtype(np.float64)
    return np.multiply(grad, factor, dtype=dtype).astype(grad.dtype, copy=False)
