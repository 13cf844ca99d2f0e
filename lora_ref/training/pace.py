"""How far a step goes: the norm of the gradients, and the learning rate over time."""

import math

import numpy as np

from lora_ref.arrays import Array, Params, as_count, as_finite
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


def cosine(step: int, steps: int, *, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the factor of the learning rate: up in a line, down along half a cosine.

    Loshchilov and Hutter, "SGDR", 2017, arXiv 1608.03983, without restarts.

    Parameters
    ----------
    step : int
        Steps that were made before this one, from 0 to `steps`.
    steps : int
        Steps in all. The factor is `floor` at ``step == steps``, when the last one is made.
    warmup : int
        Steps before the factor is 1, fewer than `steps`; the first has the factor
        ``1 / (warmup + 1)``.
    floor : float
        Where the factor ends, from 0 to 1.

    Examples
    --------
    >>> [round(cosine(step, 6, warmup=2), 2) for step in range(7)]
    [0.33, 0.67, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    steps = as_count("steps in cosine", steps)
    step = as_count("step in cosine", step, at_least=0)
    warmup = as_count("warmup in cosine", warmup, at_least=0)
    floor = as_finite("floor in cosine", floor)
    if step > steps or warmup >= steps:
        raise LoraRefError(
            f"step and warmup in cosine are {step} and {warmup}, "
            f"expected at most {steps} and less than {steps}"
        )
    if not 0 <= floor <= 1:
        raise LoraRefError(f"floor in cosine is {floor}, expected a number from 0 to 1")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    turned = math.pi * (step - warmup) / (steps - warmup)
    return floor + (1 - floor) * (1 + math.cos(turned)) / 2
