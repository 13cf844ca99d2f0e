"""Losses: softmax cross-entropy and the mean squared error."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import (
    Array,
    as_fraction,
    check_cache,
    check_float,
    check_like,
    check_rows,
    check_same_axes,
)
from lora_ref.errors import LoraRefError

Labels: TypeAlias = NDArray[np.integer[Any]]
"""The class of each row, an integer counted from 0."""


class CrossEntropyCache(NamedTuple):
    """What `softmax_cross_entropy_backward` needs; n is the number of rows that count."""

    shape: tuple[int, ...]  # of the logits
    counted: NDArray[np.bool] | None  # which rows count; None if all do
    probabilities: Array  # (n, classes)
    labels: Labels  # (n,)
    smoothing: float


def softmax_cross_entropy(
    logits: Array, labels: Labels, *, smoothing: float = 0.0, ignore: int | None = None
) -> tuple[float, CrossEntropyCache]:
    """Return the mean of ``-sum(target * log(softmax(logits)))`` over the rows that count.

    The target of a row is ``1 - smoothing`` on its label, plus ``smoothing / classes`` on every
    class (label smoothing: Szegedy et al., 2015, arXiv 1512.00567). The largest logit of each row
    is subtracted first: this changes no probability, and no exponential can overflow.

    Parameters
    ----------
    logits : ndarray of shape (n, classes), or with more leading axes
        Scores before the softmax.
    labels : integer ndarray of shape (n,), or with the leading axes of `logits`
        The correct class of each row, from 0 to classes - 1.
    smoothing : float
        Share of the target spread over all classes, at least 0 and below 1.
    ignore : int, optional
        Rows with this label, for example -100, do not count: they are neither in the sum nor in
        its divisor, and their gradient is zero. At least one row has to count.

    Examples
    --------
    >>> logits = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    >>> loss, cache = softmax_cross_entropy(logits, np.array([0, 2]))
    >>> f"{loss:.4f}"  # log(3) / 2: the first row is certain and correct
    '0.5493'
    >>> softmax_cross_entropy_backward(cache).round(4).tolist()
    [[0.0, 0.0, 0.0], [0.1667, 0.1667, -0.3333]]
    """
    what = "softmax_cross_entropy"
    check_float(f"logits in {what}", logits)
    classes = logits.shape[-1]
    rows = check_rows(f"logits in {what}", logits, logits.dtype, classes=classes)
    _check_labels(f"labels in {what}", labels, logits.shape[:-1], classes, ignore)
    smoothing = as_fraction(f"smoothing in {what}", smoothing)
    labels, counted = labels.reshape(-1), None
    if ignore is not None:
        counted = labels != ignore
        rows, labels = rows[counted], labels[counted]
        if not len(labels):
            raise LoraRefError(
                f"labels in {what} are all {ignore}, the label to ignore; "
                "expected at least one row that counts"
            )
    shifted = rows - rows.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities /= total
    losses = np.log(total[:, 0]) - (1 - smoothing) * shifted[np.arange(len(labels)), labels]
    if smoothing:
        losses -= smoothing * shifted.mean(axis=1)
    cache = CrossEntropyCache(logits.shape, counted, probabilities, labels, smoothing)
    return float(losses.sum(dtype=np.float64)) / len(losses), cache


def softmax_cross_entropy_backward(cache: CrossEntropyCache) -> Array:
    """Return grad_logits: ``(softmax(logits) - target) / n`` in the n rows that count, else 0."""
    check_cache("cache in softmax_cross_entropy_backward", cache, CrossEntropyCache)
    shape, counted, probabilities, labels, smoothing = cache
    n, classes = probabilities.shape
    grad: Array = probabilities - smoothing / classes
    grad[np.arange(n), labels] -= 1 - smoothing
    grad /= n
    if counted is not None:
        grad_rows = np.zeros((len(counted), classes), grad.dtype)
        grad_rows[counted] = grad
        grad = grad_rows
    return grad.reshape(shape)


class MeanSquaredErrorCache(NamedTuple):
    """What `mean_squared_error_backward` needs."""

    error: Array  # y - target


def mean_squared_error(y: Array, target: Array) -> tuple[float, MeanSquaredErrorCache]:
    """Return the mean of ``(y - target)**2`` over all entries."""
    check_float("y in mean_squared_error", y)
    check_like("target in mean_squared_error", target, y)
    error = y - target
    return float(np.square(error, dtype=np.float64).mean()), MeanSquaredErrorCache(error)


def mean_squared_error_backward(cache: MeanSquaredErrorCache) -> Array:
    """Return grad_y, ``2 * (y - target) / size``."""
    check_cache("cache in mean_squared_error_backward", cache, MeanSquaredErrorCache)
    return cache.error * (2 / cache.error.size)


def _check_labels(
    what: str, labels: object, shape: tuple[int, ...], classes: int, ignore: object
) -> None:
    if not isinstance(labels, np.ndarray) or isinstance(labels, np.ma.MaskedArray):
        raise LoraRefError(f"{what} is a {type(labels).__name__}, expected a plain NumPy array")
    if labels.dtype.kind not in "iu":
        raise LoraRefError(f"{what} has dtype {labels.dtype}, expected integers")
    check_same_axes(what, labels, shape)
    wrong, or_ignore = (labels < 0) | (labels >= classes), ""
    if ignore is not None:
        if isinstance(ignore, bool | np.bool) or not isinstance(ignore, int | np.integer):
            raise LoraRefError(f"the label to ignore is {ignore!r}, expected a whole number")
        wrong &= labels != ignore
        or_ignore = f", or {ignore} to ignore a row"
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise LoraRefError(
            f"{what} holds {int(labels[where])} at {where}, "
            f"expected a class from 0 to {classes - 1}{or_ignore}"
        )
