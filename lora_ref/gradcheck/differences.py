"""Central differences against a hand-written backward.

Three habits make this check able to fail. The gradient of y is random: with ones in it, whole
families of mistakes cancel. Each argument moves along one random direction, so two forward passes
weigh every entry of its gradient. And the error is relative to ``norm(grad) * norm(direction)``,
the largest slope that the direction could have met.

What the check cannot see: an entry whose error is below the tolerance times the norm of the whole
gradient, and whatever is right at the point that was chosen and wrong elsewhere. Its verdict is
not to be trusted where y is rounded inside and barely moves, as ``1 - cos(x)`` at 1e-6 (a right
gradient may be called wrong), where gradients exceed 1e154 (a wrong one may be called right), and
for dataclasses with ``init=False`` fields or a ``__post_init__`` that changes a parameter, which
are made anew for the check.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from lora_ref.checks import Array, Params, check_array, check_generator, check_same_axes
from lora_ref.gradcheck.passes import in_float64, run_passes, with_params
from lora_ref.gradcheck.slopes import EPS, Line, Slope, best_slope, slope_at
from lora_ref.layers.base import Layer

EXACT_STEP = 2.0**30
"""For y affine in each argument alone: no step has a truncation error, so a large one is best.

What moves then outweighs what stays, whatever the sizes of W0, A, B, alpha and x.
"""

SMOOTH_STEP = float(np.cbrt(EPS))
"""For smooth functions: balances truncation against rounding, about 6e-6."""

EXACT_TOLERANCE = 1e-12
"""A right gradient stays below this at `EXACT_STEP`."""

SMOOTH_TOLERANCE = 1e-8
"""A right gradient stays below this where y is smooth."""

Function: TypeAlias = Callable[[Params], Array]
"""Maps named arguments to y."""


class GradientCheckWarning(UserWarning):
    """Says why a gradient cannot be told right or wrong, or what may be behind an error."""


def gradient_errors(
    layer: Layer, x: Array, rng: np.random.Generator, *, step: float | None = None, **keywords: Any
) -> dict[str, float]:
    """Return the relative error of `layer.backward`, for x and for each trainable parameter.

    Everything runs in float64 and on copies, whatever the layer's dtype. Check away from special
    points: at B = 0 the gradient of A is zero, and so is 100 times it.

    Parameters
    ----------
    layer : Layer
        Any object with `forward`, `backward` and `trainable`, the reader's own included.
    x : ndarray of shape (n, in_features)
        Where to check; further leading axes are welcome.
    rng : numpy.random.Generator
        Draws the gradient of y and one direction for each argument.
    step : float, optional
        As in `vjp_errors`. If omitted, ``layer.affine_in_each_argument`` says whether y is affine.
    **keywords
        For the forward pass, such as ``mask=``.

    Returns
    -------
    dict of str to float
        Below `EXACT_TOLERANCE` (or `SMOOTH_TOLERANCE`) for a right gradient; 0 for a gradient that
        is zero as it should be; infinity for one that is missing, zero by mistake, not finite, or
        of another shape. An array that a pass changed in place has an entry of its own, such as
        ``"grad_y changed in place"``, and it is infinite. NaN is what cannot be told: it stands
        first, so that the largest error is NaN as well, and a `GradientCheckWarning` says why.

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
    layer, x, keywords, affine = _prepared(layer, x, keywords)
    function, at = _of_layer(layer, x, keywords)
    found = run_passes(layer, x, rng, keywords)
    changed = {
        f"{name} changed in place": float("inf") for name, change in found.changed.items() if change
    }
    if not found.repeatable:
        _warn(
            "forward gives two outputs for one x, so nothing can be told: what it draws, such as "
            "a dropout mask, has to come in as a keyword"
        )
        return dict.fromkeys(at, float("nan")) | changed
    errors = vjp_errors(function, at, found.grad_y, found.gradients, rng, affine=affine, step=step)
    wrong = step is None and any(error > EXACT_TOLERANCE for error in errors.values())
    if affine and wrong and (bent := _not_affine(function, at, rng)):
        _warn(
            f"y is not affine in {' and '.join(bent)}, but "
            f"{type(layer).__name__}.affine_in_each_argument is true: "
            "the step is too large for a smooth function"
        )
    return errors | changed


def vjp_errors(
    function: Function,
    at: Params,
    grad_y: Array,
    gradients: Params,
    rng: np.random.Generator,
    *,
    affine: bool = False,
    step: float | None = None,
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
    affine : bool
        Whether y is affine in each argument alone: `EXACT_STEP` then, and else `SMOOTH_STEP` or,
        where that does not show a right gradient, the best of many.
    step : float, optional
        This step instead, for a look at what a step does: what it adds to the error stays in. All
        steps are relative to the size of the argument, the root of the mean of its squares.

    Returns
    -------
    dict of str to float
        As in `gradient_errors`.
    """
    check_same_axes("grad_y in the gradient check", grad_y, np.shape(function(at)))
    tolerance = EXACT_TOLERANCE if affine else SMOOTH_TOLERANCE
    errors: dict[str, float] = {}
    untold: dict[str, float] = {}
    for name, value in at.items():
        along, grad = np.asarray(rng.standard_normal(np.shape(value))), gradients.get(name)
        if grad is None or np.shape(grad) != along.shape or not np.isfinite(grad).all():
            errors[name] = float("inf")
            continue
        line, size = _line(function, at, name, along), _size(value)
        if step is not None:
            slope = slope_at(line, grad_y, step * size)
            errors[name] = _relative_error(slope, grad, along)
            continue
        slope = slope_at(
            line, grad_y, EXACT_STEP * max(1.0, size) if affine else SMOOTH_STEP * size
        )
        if not affine and not _tells(slope, grad, along, tolerance):
            with np.errstate(all="ignore"):  # the largest steps may leave where y is finite
                slope = best_slope(line, grad_y, size, _least(value))
        error, reason = _judged(slope, grad, along, tolerance)
        (untold if reason else errors)[name] = error
        if reason:
            _warn(f"the gradient of {name} cannot be told right or wrong: {reason}")
    surplus = gradients.keys() - at.keys()  # of what is frozen, or of nothing at all
    return untold | errors | dict.fromkeys(sorted(surplus), float("inf"))


def numerical_gradients(
    layer: Layer, x: Array, grad_y: Array, *, step: float | None = None, **keywords: Any
) -> dict[str, Array]:
    """Return the whole gradients of ``sum(grad_y * y)``, one entry after the other: for looking at.

    Two forward passes an entry, in float64; arguments as in `gradient_errors`, and one step for
    all entries.
    """
    layer, x, keywords, affine = _prepared(layer, x, keywords)
    function, at = _of_layer(layer, x, keywords)
    check_same_axes("grad_y in the gradient check", grad_y, np.shape(function(at)))
    if step is None:
        step = EXACT_STEP if affine else SMOOTH_STEP
    gradients = {}
    for name, value in at.items():
        gradients[name], size = np.empty_like(value), _size(value)
        for entry in np.ndindex(value.shape):
            along = np.zeros_like(value)
            along[entry] = 1.0
            line = _line(function, at, name, along)
            gradients[name][entry] = slope_at(line, grad_y, step * size).value
    return gradients


def _judged(slope: Slope, grad: Array, along: Array, tolerance: float) -> tuple[float, str]:
    """Return the relative error, and if that is NaN the reason why it cannot be told."""
    largest = float(np.linalg.norm(grad)) * float(np.linalg.norm(along))
    gap = abs(slope.value - float(np.vdot(grad, along)))
    if largest == 0.0 == slope.value and not slope.flat:
        return 0.0, ""
    if _tells(slope, grad, along, tolerance):
        return gap / largest, ""
    nothing = max(largest, abs(slope.value)) <= slope.floor
    if gap > 4 * slope.uncertainty + slope.kink and not nothing:
        return _relative_error(slope, grad, along), ""
    if slope.flat:
        reason = "y does not move at all here, and does further away, as where it is saturated"
    elif gap > 4 * slope.uncertainty and not nothing:
        reason = "y has a kink here, and the slopes on its two sides differ; move the point"
    elif not np.isfinite(slope.uncertainty):
        reason = "y is not finite around this point"
    elif nothing or largest <= 4 * slope.uncertainty:
        reason = "it is smaller than what rounding of y leaves of a slope, and may be zero"
    else:
        known = slope.uncertainty / largest
        reason = f"its error is known to {known:.0e} only, since y is large beside what moves it"
    return float("nan"), reason


def _relative_error(slope: Slope, grad: Array, along: Array) -> float:
    largest = float(np.linalg.norm(grad)) * float(np.linalg.norm(along))
    if largest <= slope.uncertainty:  # nothing but rounding: right if the slope is that too
        return 0.0 if abs(slope.value) <= 2 * slope.uncertainty else float("inf")
    return abs(slope.value - float(np.vdot(grad, along))) / largest


def _tells(slope: Slope, grad: Array, along: Array, tolerance: float) -> bool:
    """Return whether a slope shows a right gradient, to the tolerance."""
    fine = tolerance * float(np.linalg.norm(grad)) * float(np.linalg.norm(along))
    gap = abs(slope.value - float(np.vdot(grad, along)))
    return fine > 0.0 and gap <= fine and slope.uncertainty <= fine


def _not_affine(function: Function, at: Params, rng: np.random.Generator) -> list[str]:
    """Return the arguments along which y bends."""
    bent, here = [], function(at)
    for name, value in at.items():
        along = _size(value) * np.asarray(rng.standard_normal(np.shape(value)))
        with np.errstate(all="ignore"):
            ahead, behind = (function({**at, name: value + way * along}) for way in (1.0, -1.0))
        bend, size = np.abs(ahead - 2 * here + behind), np.abs(ahead) + np.abs(behind)
        if not (bend <= 1e-9 * np.max(size + 2 * np.abs(here), initial=0.0)).all():
            bent.append(name)
    return bent


def _line(function: Function, at: Params, name: str, along: Array) -> Line:
    """Return y as a function of how far one argument is moved."""

    def line(t: float) -> Array:
        return function({**at, name: np.asarray(at[name] + t * along)})

    return line


def _size(value: Array) -> float:
    """Return the root of the mean of the squares, or 1 where that is zero."""
    largest = float(np.abs(value).max(initial=0.0))
    return largest * float(np.sqrt(np.mean((value / largest) ** 2))) if largest else 1.0


def _least(value: Array) -> float:
    """Return the smallest entry that is not zero, without its sign; at least 1e-9 of the size."""
    size = _size(value)
    return max(float(np.min(np.abs(value), where=value != 0, initial=size)), 1e-9 * size)


def _prepared(
    layer: Layer, x: Array, keywords: dict[str, Any]
) -> tuple[Layer, Array, dict[str, Any], bool]:
    check_array("x in the gradient check", x, **{f"axis_{i}": None for i in range(np.ndim(x))})
    affine = bool(getattr(layer, "affine_in_each_argument", False))
    return in_float64(layer), in_float64(x), in_float64(keywords), affine


def _of_layer(layer: Layer, x: Array, keywords: dict[str, Any]) -> tuple[Function, Params]:
    trainable = {name: np.asarray(value, np.float64) for name, value in layer.trainable.items()}

    def function(arguments: Params) -> Array:
        moved = with_params(layer, {name: arguments[name].copy() for name in trainable})
        return moved.forward(arguments["x"].copy(), **copy.deepcopy(keywords))[0]

    return function, {"x": x, **trainable}


def _warn(sentence: str) -> None:
    warnings.warn(sentence, GradientCheckWarning, stacklevel=3)
