"""Gradient clipping by the joint norm of all gradients."""

import math

import numpy as np

from lora_ref.checks import Array, Params, as_positive
from lora_ref.errors import LoraRefError


def gradient_norm(grads: Params) -> float:
    """Return the Euclidean norm of all gradients together; its squares do not overflow.

    Examples
    --------
    >>> gradient_norm({"A": np.array([300.0, 400.0], np.float16), "B": np.array([1e-200])})
    500.0
    """
    with np.errstate(over="ignore"):  # _norm then divides by the largest entry
        return math.hypot(*(_norm(grad) for grad in grads.values()))


def clip_gradients(grads: Params, max_norm: float) -> tuple[Params, float]:
    """Return the gradients times one factor, so that their joint norm is at most `max_norm`.

    Also return their joint norm before. Gradients with a smaller norm are returned as they are, not
    copied. A norm that is not finite is an error. (Pascanu, Mikolov and Bengio, 2013, arXiv
    1211.5063.)

    Examples
    --------
    >>> clip_gradients({"A": np.array([3.0]), "B": np.array([4.0])}, max_norm=1.0)
    ({'A': array([0.6]), 'B': array([0.8])}, 5.0)
    """
    limit = as_positive("max_norm in clip_gradients", max_norm)
    norm = gradient_norm(grads)
    if not math.isfinite(norm):
        raise LoraRefError(f"the norm of grads in clip_gradients is {norm}, expected a finite one")
    if norm <= limit:
        return grads, norm
    return {name: _times(grad, limit / norm) for name, grad in grads.items()}, norm


def _norm(grad: Array) -> float:
    """Return the Euclidean norm; divide by the largest entry first if squares would overflow."""
    if grad.dtype.itemsize > 2:
        flat = grad.ravel(order="K")
        norm = math.sqrt(flat.dot(flat))
        if 1e-12 < norm < math.inf:  # squares that underflow in float32 are below 1e-45
            return norm
    largest = float(np.abs(grad).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(np.divide(grad, largest, dtype=np.float64)))


def _times(grad: Array, factor: float) -> Array:
    """Return ``factor * grad``, in float64 first if the factor is too small for the dtype."""
    dtype = grad.dtype if factor >= np.finfo(grad.dtype).tiny else np.dtype(np.float64)
    return np.multiply(grad, factor, dtype=dtype).astype(grad.dtype, copy=False)
