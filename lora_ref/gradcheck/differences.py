"""Central differences against a hand-written backward.

Three habits make this check able to fail. The gradient of y is random: with ones in it, whole
families of mistakes cancel. Each argument moves along one random direction, so two forward passes
weigh every entry of its gradient. And the error is relative to ``norm(grad) * norm(direction)``,
the largest slope that the direction could have met.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from lora_ref.arrays import Array, Params, check_array, check_generator, check_same_axes
from lora_ref.layers.base import Layer

EXACT_STEP = 2.0**30
"""For y affine in each argument alone: no step has a truncation error, so a large one is best.

What moves then outweighs what stays, whatever the sizes of W0, A, B, alpha and x.
"""

SMOOTH_STEP = float(np.cbrt(np.finfo(np.float64).eps))
"""For smooth functions: balances truncation against rounding, about 6e-6."""

EXACT_TOLERANCE = 1e-12
"""A right gradient stays below this at `EXACT_STEP`."""

SMOOTH_TOLERANCE = 1e-8
"""A right gradient stays below this at `SMOOTH_STEP`."""

_EPS = float(np.finfo(np.float64).eps)

Function: TypeAlias = Callable[[Params], Array]
"""Maps named arguments to y."""


def gradient_errors(
    layer: Layer, x: Array, rng: np.random.Generator, *, step: float | None = None, **keywords: Any
) -> dict[str, float]:
    """Return the relative error of `layer.backward`, for x and for each trainable parameter.

    Everything runs in float64, whatever the layer's dtype. Check away from special points: at
    B = 0 the gradient of A is zero, and so is 100 times it.

    Parameters
    ----------
    layer : Layer
        Any layer of the contract, the reader's own included.
    x : ndarray of shape (n, in_features)
        Where to check; further leading axes are welcome.
    rng : numpy.random.Generator
        Draws the gradient of y and one direction for each argument.
    step : float, optional
        `EXACT_STEP` where ``layer.multilinear``, `SMOOTH_STEP` elsewhere, if omitted.
    **keywords
        For the forward pass, such as ``mask=``.

    Returns
    -------
    dict of str to float
        Below `EXACT_TOLERANCE` (or `SMOOTH_TOLERANCE`) for a right gradient; 0 for a gradient that
        is zero as it should be; infinity for one that is missing, zero by mistake, not finite, or
        of another shape.

    Examples
    --------
    >>> from lora_ref.layers import LoRALinear
    >>> rng = np.random.default_rng(0)
    >>> W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 2)))
    >>> errors = gradient_errors(LoRALinear(W0, A, B, alpha=4), rng.standard_normal((3, 7)), rng)
    >>> sorted(errors), max(errors.values()) < EXACT_TOLERANCE
    (['A', 'B', 'x'], True)
    """
    check_generator("rng in gradient_errors", rng)
    layer, x, keywords, step = _prepared(layer, x, step, keywords)
    y, cache = layer.forward(x, **keywords)
    grad_y = rng.standard_normal(y.shape)
    grad_x, grads = layer.backward(grad_y, cache)
    function, at = _of_layer(layer, x, keywords)
    return vjp_errors(function, at, grad_y, {"x": grad_x, **grads}, rng, step=step)


def vjp_errors(
    function: Function,
    at: Params,
    grad_y: Array,
    gradients: Params,
    rng: np.random.Generator,
    *,
    step: float = SMOOTH_STEP,
) -> dict[str, float]:
    """Return the relative errors of `gradients`, the vector-Jacobian products of any function.

    Parameters
    ----------
    function : callable
        Maps a mapping like `at` to y.
    at : mapping of str to ndarray
        The arguments, in float64; each is moved alone.
    grad_y : ndarray shaped like y
        The gradient of a loss with respect to y.
    gradients : mapping of str to ndarray
        What a backward made of `grad_y`, by argument; one that is absent has an infinite error.
    rng : numpy.random.Generator
        Draws one direction for each argument.
    step : float
        Half the distance between the two evaluations.
    """
    errors = {}
    for name, value in at.items():
        along = rng.standard_normal(value.shape)
        slope, noise = _slope(function, at, name, along, grad_y, step)
        errors[name] = _error(slope, noise, gradients.get(name), along)
    surplus = gradients.keys() - at.keys()  # of what is frozen, or of nothing at all
    return errors | dict.fromkeys(sorted(surplus), float("inf"))


def numerical_gradients(
    layer: Layer, x: Array, grad_y: Array, *, step: float | None = None, **keywords: Any
) -> dict[str, Array]:
    """Return the whole gradients of ``sum(grad_y * y)``, one entry after the other: for looking at.

    Two forward passes an entry, in float64; arguments as in `gradient_errors`.
    """
    layer, x, keywords, step = _prepared(layer, x, step, keywords)
    function, at = _of_layer(layer, x, keywords)
    gradients = {}
    for name, value in at.items():
        gradients[name] = np.empty_like(value)
        for entry in np.ndindex(value.shape):
            along = np.zeros_like(value)
            along[entry] = 1.0
            gradients[name][entry] = _slope(function, at, name, along, grad_y, step)[0]
    return gradients


def _slope(
    function: Function, at: Params, name: str, along: Array, grad_y: Array, step: float
) -> tuple[float, float]:
    """Return the slope of sum(grad_y * y) along a direction, and how much of it may be rounding."""
    ahead = function({**at, name: at[name] + step * along})
    behind = function({**at, name: at[name] - step * along})
    check_same_axes("grad_y in the gradient check", grad_y, ahead.shape)
    slope = float(np.vdot(grad_y, ahead - behind)) / (2 * step)
    size = float(np.vdot(np.abs(grad_y), np.abs(ahead) + np.abs(behind)))
    return slope, 8 * _EPS * size / (2 * step)


def _error(slope: float, noise: float, grad: Array | None, along: Array) -> float:
    if grad is None or np.shape(grad) != along.shape or not np.isfinite(grad).all():
        return float("inf")
    largest = float(np.linalg.norm(grad)) * float(np.linalg.norm(along))
    if largest <= noise:  # nothing but rounding: right if the slope is nothing but rounding too
        return 0.0 if abs(slope) <= 2 * noise else float("inf")
    return abs(slope - float(np.vdot(grad, along))) / largest


def _prepared(
    layer: Layer,
    x: Array,
    step: float | None,
    keywords: dict[str, Any],
) -> tuple[Layer, Array, dict[str, Any], float]:
    check_array("x in the gradient check", x, **{f"axis_{i}": None for i in range(np.ndim(x))})
    if step is None:
        step = EXACT_STEP if layer.multilinear else SMOOTH_STEP
    return (
        _in_float64(layer),
        _in_float64(x),
        {k: _in_float64(v) for k, v in keywords.items()},
        step,
    )


def _of_layer(layer: Layer, x: Array, keywords: dict[str, Any]) -> tuple[Function, Params]:
    trainable = layer.trainable

    def function(arguments: Params) -> Array:
        moved = layer.with_params({name: arguments[name] for name in trainable})
        return moved.forward(arguments["x"], **keywords)[0]

    return function, {"x": x, **trainable}


def _in_float64(value: Any) -> Any:
    """Copy a layer, or what one is made of, with float64 in place of every floating dtype."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_in_float64(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _in_float64(getattr(value, f.name)) for f in fields(value) if f.init}
        )
    return value
