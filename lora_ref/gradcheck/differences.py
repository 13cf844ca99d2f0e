"""Central differences against a hand-written backward.

Three habits make this check able to fail. The gradient of y is random: with ones in it, whole
families of mistakes cancel. Each argument moves along one random direction, so two forward passes
weigh every entry of its gradient. And the error is relative to ``norm(grad) * norm(direction)``,
the largest slope that the direction could have met.

Where that difference does not show a right gradient, the best of about thirty steps decides: y is
computed some sixty times, out to a million times the size of the argument.

What the check cannot see: an entry whose error is below the tolerance times the norm of the whole
gradient, and whatever is right at the point that was chosen and wrong elsewhere. A right gradient
may be called wrong where y is rounded inside by more than 2**-22 of its size, where it has waves
shorter than a millionth of the argument, as ``x + 1e-6 * sin(1e6 * x)``, and where the layer keeps
something made from a parameter beside it, such as its transpose, and has no `with_params` that
makes it anew; where y then does not move at all, a sentence says so. With such waves, and where y
is rounded to float32 inside, a wrong gradient may also be called right.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from lora_ref.checks import Array, Params, check_array, check_generator, check_same_axes
from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import passes
from lora_ref.gradcheck.slopes import EPS, LARGEST, Line, Slope, best_slope, norm, slope_at
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

    Everything runs in float64 and on copies, whatever the layer's dtype; a generator that the layer
    keeps is shared, and its draws move on. Check away from special points: at B = 0 the gradient of
    A is zero, and so is 100 times it, so it cannot be told.

    Parameters
    ----------
    layer : Layer
        Any object with `forward`, `backward` and `trainable`, the reader's own included.
    x : ndarray of shape (n, in_features)
        Where to check; further leading axes are welcome. Integers, such as tokens, have no
        gradient, and no error.
    rng : numpy.random.Generator
        Draws the gradient of y and one direction for each argument.
    step : float, optional
        As in `vjp_errors`. If omitted, ``layer.affine_in_each_argument`` says whether y is affine.
    **keywords
        For the forward pass, such as ``mask=``.

    Returns
    -------
    dict of str to float
        Below `EXACT_TOLERANCE` (or `SMOOTH_TOLERANCE`) for a right gradient; infinity for one that
        is missing, zero by mistake, not finite, or of another shape. An array that a pass changed
        in place has an entry of its own, such as ``"grad_y changed in place"``, and it is infinite.
        NaN is what cannot be told, such as a gradient that is rightly zero at this point: it stands
        first, so that the largest error is NaN as well. A `GradientCheckWarning` says why a
        gradient has NaN or infinity.

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
    function, at = _of_layer(layer, x, keywords)
    found = passes.run_passes(layer, passes.in_float64(x), rng, passes.in_float64(keywords))
    changed = {
        f"{name} changed in place": float("inf") for name, change in found.changed.items() if change
    }
    affine = getattr(layer, "affine_in_each_argument", False)
    tolerance = EXACT_TOLERANCE if affine else SMOOTH_TOLERANCE
    errors, wrong, repeatable = {}, False, found.repeatable
    if repeatable:
        given = found.grad_y, found.gradients, rng
        errors = vjp_errors(function, at, *given, affine=affine, step=step)
        wrong = step is None and not all(error <= tolerance for error in errors.values())
        repeatable = not wrong or all(passes.agree(found.y, function(at)) for _ in range(8))
    if not repeatable:
        _warn(
            "forward gives two outputs for one x, so nothing can be told: what it draws, such as "
            "a dropout mask, has to come in as a keyword"
        )
        return dict.fromkeys(at, float("nan")) | changed
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
        along = np.asarray(rng.standard_normal(np.shape(value)))
        grad = passes.floats(gradients.get(name))
        if grad is None or grad.shape != along.shape or not np.isfinite(grad).all():
            errors[name] = float("inf")
            _warn(f"the gradient of {name} is wrong: {_unfit(gradients.get(name), along.shape)}")
            continue
        line, size = _line(function, at, name, along), _size(value)
        first = EXACT_STEP * max(1.0, size) if affine else SMOOTH_STEP * size
        with np.errstate(all="ignore"):  # large steps may leave where y is finite
            expected, largest = float(np.vdot(grad, along)), norm(grad) * norm(along)
            slope = slope_at(line, grad_y, first if step is None else step * size)
            if step is None and not affine and not _tells(slope, expected, largest, tolerance):
                slope = slope_at(line, grad_y, first / 64)  # fewer kinks of a ReLU are as near
                if not _tells(slope, expected, largest, tolerance):
                    slope = best_slope(line, grad_y, size, _least(value))
            if largest == 0.0 == slope.value and not slope.flat:
                error, reason = (
                    float("nan"),
                    _why_zero(_zero_beside(function, at, name, along), name),
                )
            elif step is not None and np.isfinite(slope.value):
                error, reason = _relative_error(slope, expected, largest), ""
            else:
                error, reason = _judged(slope, expected, largest, tolerance)
        (untold if reason else errors)[name] = error
        if reason:
            _warn(f"the gradient of {name} cannot be told right or wrong: {reason}")
        elif error == float("inf"):
            _warn(f"the gradient of {name} is wrong: it is zero or as good as zero, and y moves")
        elif error > tolerance and _never_moves(line, size):
            if zero := _zero_beside(function, at, name, along):
                _warn(f"the gradient of {name} is wrong: it should be zero where {zero} is zero")
            else:
                _warn(
                    f"y does not move with {name} at all, and the gradient of {name} is not zero: "
                    "if forward uses what was made of it at construction, such as a merged weight, "
                    "with_params has to make that anew"
                )
    surplus = sorted(gradients.keys() - at.keys())  # of what is frozen, or of nothing at all
    for name in surplus:
        _warn(f"the gradient of {name} is wrong: only {', '.join(at) or 'nothing'} should have one")
    return untold | errors | dict.fromkeys(surplus, float("inf"))


def numerical_gradients(
    layer: Layer, x: Array, grad_y: Array, *, step: float | None = None, **keywords: Any
) -> dict[str, Array]:
    """Return the whole gradients of ``sum(grad_y * y)``, one entry after the other: for looking at.

    In float64, arguments as in `gradient_errors`. Two forward passes an entry with a step or where
    y is affine, and some sixty elsewhere; NaN where no two steps agree.
    """
    function, at = _of_layer(layer, x, keywords)
    check_same_axes("grad_y in the gradient check", grad_y, np.shape(function(at)))
    gradients = {}
    for name, value in at.items():
        gradients[name], size = np.empty_like(value), _size(value)
        for entry in np.ndindex(value.shape):
            along = np.zeros_like(value)
            along[entry] = 1.0
            line, least = _line(function, at, name, along), _least(np.array([size, value[entry]]))
            with np.errstate(all="ignore"):
                if step is None and not getattr(layer, "affine_in_each_argument", False):
                    slope = best_slope(line, grad_y, size, least)
                else:
                    slope = slope_at(line, grad_y, size * (step or EXACT_STEP))
            gradients[name][entry] = slope.value
    return gradients


def _judged(slope: Slope, expected: float, largest: float, tolerance: float) -> tuple[float, str]:
    """Return the relative error, and if that is NaN the reason why it cannot be told."""
    gap = abs(slope.value - expected)
    if _tells(slope, expected, largest, tolerance):
        return gap / largest, ""
    nothing = max(largest, abs(slope.value)) <= slope.floor
    between = slope.flat and abs(expected) + gap <= abs(slope.value)  # 0 is a slope as well
    sure = gap > 4 * slope.uncertainty and not nothing
    if sure and gap > 4 * slope.uncertainty + slope.kink and not between:
        return _relative_error(slope, expected, largest), ""
    if slope.flat:
        reason = "y does not move at all here, and does further away, as where it is saturated"
        reason += ", a ReLU is dead, or y is rounded inside"
    elif sure:
        reason = "y has a kink here, and the slopes on its two sides differ; move the point"
    elif not np.isfinite(slope.uncertainty):
        reason = "y is not finite around this point, or no two steps agree on its slope"
    elif nothing or largest <= 4 * slope.uncertainty:
        reason = "it is smaller than what rounding of y leaves of a slope, and may be zero"
    else:
        known = slope.uncertainty / largest
        reason = f"the slope is known to {known:.0e} only: rounding, or kinks nearby, leave no more"
    return float("nan"), reason


def _never_moves(line: Line, size: float) -> bool:
    """Return whether y is the same however far an argument is moved."""
    with np.errstate(all="ignore"):
        here = line(0.0)
        return all(np.array_equal(line(far * size), here) for far in (1.0, -1.0, LARGEST))


def _unfit(gradient: Any, shape: tuple[int, ...]) -> str:
    """Return why a gradient cannot be compared with a slope."""
    if gradient is None:
        return "there is none"
    if (array := passes.floats(gradient)) is None:
        return "it is no array of real numbers"
    if array.shape != shape:
        return f"it has shape {array.shape}, expected {shape}"
    return "it is not finite"


def _zero_beside(function: Function, at: Params, name: str, along: Array) -> str:
    """Return which other argument is zero and keeps y from moving with this one, or nothing."""
    for other, value in at.items():
        if other != name and not value.any():
            line = _line(function, {**at, other: np.ones_like(value)}, name, along)
            with np.errstate(all="ignore"):
                if not np.array_equal(line(0.0), line(_size(at[name]))):
                    return other
    return ""


def _why_zero(zero: str, name: str) -> str:
    """Return why a gradient that is rightly zero says nothing, and where to check instead."""
    here = f"where {zero} is zero" if zero else "here"
    there = f"where {zero} is not zero" if zero else "at another point"
    unless = "" if zero else f", unless y has nothing to do with {name}"
    return f"it is zero, as it should be {here}, and so is 100 times it; check {there}{unless}"


def _relative_error(slope: Slope, expected: float, largest: float) -> float:
    if largest <= slope.uncertainty:  # nothing but rounding: right if the slope is that too
        return 0.0 if abs(slope.value) <= 2 * slope.uncertainty else float("inf")
    return abs(slope.value - expected) / largest


def _tells(slope: Slope, expected: float, largest: float, tolerance: float) -> bool:
    """Return whether a slope shows a right gradient, to the tolerance."""
    fine = tolerance * largest
    close = abs(slope.value - expected) <= fine and slope.uncertainty <= fine
    return 0.0 < fine < float("inf") and close and not slope.flat


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
    """Return y as a function of how far one argument is moved, NaN where it cannot be computed."""

    def line(t: float) -> Array:
        try:
            return np.array(function({**at, name: np.asarray(at[name] + t * along)}))
        except Exception:  # outside the domain of the function
            return np.full(1, np.nan)

    return line


def _size(value: Array) -> float:
    """Return the root of the mean of the squares, or 1 where that is zero."""
    return norm(value) / float(np.sqrt(value.size)) or 1.0


def _least(value: Array) -> float:
    """Return the smallest entry that is not zero, without its sign; at least 1e-9 of the size."""
    size = _size(value)
    return max(float(np.min(np.abs(value), where=value != 0, initial=size)), 1e-9 * size)


def _of_layer(layer: Layer, x: Array, keywords: dict[str, Any]) -> tuple[Function, Params]:
    """Return y of a layer as a function of its arguments, and the arguments, in float64."""
    tokens = getattr(x, "dtype", np.dtype(float)).kind in "iu"
    if not tokens:
        check_array("x in the gradient check", x, **{f"axis_{i}": None for i in range(np.ndim(x))})
    kind = type(layer).__name__
    theirs: Any = getattr(layer, "trainable", None)
    if not isinstance(theirs, Mapping) or "x" in theirs:
        a_mapping = isinstance(theirs, Mapping)
        got = "has a parameter x" if a_mapping else f"is a {type(theirs).__name__}"
        raise LoraRefError(f"trainable of {kind} {got}, expected parameters by names other than x")
    layer, keywords = passes.in_float64(layer), passes.in_float64(keywords)
    trainable = {name: np.array(value, np.float64) for name, value in theirs.items()}
    moved = {name: value + i for i, (name, value) in enumerate(trainable.items(), 1)}
    made = passes.with_params(layer, moved).trainable
    for name in moved:
        if not np.array_equal(made[name], moved[name], equal_nan=True):
            raise LoraRefError(
                f"{name} in trainable of {kind} cannot be moved: it is no attribute of that name, "
                f"or another parameter is the same array; give {kind} a with_params"
            )

    def function(arguments: Params) -> Array:
        moved = passes.with_params(layer, {name: arguments[name].copy() for name in trainable})
        return passes.run_forward(moved, arguments.get("x", x).copy(), copy.deepcopy(keywords))[0]

    return function, trainable if tokens else {"x": passes.in_float64(x), **trainable}


def _warn(sentence: str) -> None:
    warnings.warn(sentence, GradientCheckWarning, stacklevel=3)
