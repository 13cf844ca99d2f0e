"""Argument checks for arrays and numbers; messages name the axis.

Shapes and dtypes are checked in every public function and pass, in a time that does not grow with
the arrays, and nothing is broadcast by accident. Values are scanned by `check_finite` alone, where
arrays come from outside. `what` is the thing and where it came in: ``"x in LoRALinear.forward"``.
"""

from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lora_ref.errors import LoraRefError, ShapeError

Array: TypeAlias = NDArray[np.floating[Any]]
"""A non-empty floating-point array with at least one axis."""

Params: TypeAlias = Mapping[str, Array]
"""Parameters, or their gradients, by name."""

AnyDType: TypeAlias = np.dtype[Any]

Number = TypeVar("Number", bound=np.generic)

_REAL = (int, float, np.integer, np.floating)


# ---------------------------------------------------------------------- one array


def check_float(what: str, array: object, dtype: AnyDType | None = None) -> None:
    """Raise `LoraRefError` unless `array` is a non-empty floating-point NumPy array.

    It must have the given dtype, or else any floating-point dtype of this machine's byte order.
    Masked arrays and `numpy.matrix` are refused: their products follow other rules.

    Examples
    --------
    >>> check_float("W0", np.arange(6).reshape(2, 3))
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: W0 has dtype int64, expected a floating-point dtype; ...
    """
    if not isinstance(array, np.ndarray):
        raise LoraRefError(f"{what} is a {type(array).__name__}, expected a NumPy array")
    if type(array) is not np.ndarray:
        kinds = {base.__name__ for base in type(array).__mro__}  # by name: numpy.ma loads slowly
        if kinds & {"MaskedArray", "matrix"}:
            raise LoraRefError(
                f"{what} is a {type(array).__name__}, expected a plain NumPy array: "
                "its products would follow other rules"
            )
    if array.dtype.kind != "f":
        raise LoraRefError(
            f"{what} has dtype {array.dtype}, expected a floating-point dtype; "
            "convert it on purpose, e.g. with .astype(np.float64)"
        )
    if dtype is not None and array.dtype != dtype:
        raise LoraRefError(
            f"{what} has dtype {array.dtype}, expected {dtype}: nothing is cast here"
        )
    if not array.dtype.isnative:
        raise LoraRefError(f"{what} has the byte order of another machine, expected the native one")
    if array.ndim == 0:
        raise LoraRefError(f"{what} is a 0-d array, expected at least one axis")
    if array.size == 0:
        raise LoraRefError(f"{what} is empty, its shape is {array.shape}; expected entries")


def check_shape(what: str, array: Array, /, **axes: int | None) -> None:
    """Raise `ShapeError` unless `array` has the named axes, in order; None is any length.

    Examples
    --------
    >>> check_shape("A in LoRALinear", np.ones((7, 2)), r=None, in_features=7)
    Traceback (most recent call last):
    lora_ref.errors.ShapeError: A in LoRALinear has shape (7, 2), expected (r, in_features=7); ...
    """
    wanted = tuple(axes.values())
    if not _fits(array.shape, wanted):
        hint = "; its transpose fits" if _fits(array.shape[::-1], wanted) else ""
        raise ShapeError(f"{what} has shape {array.shape}, expected {_axes_text(axes)}{hint}")


def check_finite(what: str, array: Array) -> None:
    """Raise `LoraRefError` where `array` holds a NaN or an infinity, saying where the first is."""
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise LoraRefError(
            f"{what} holds {float(array[where])} at {where}, expected finite entries; "
            f"{finite.size - np.count_nonzero(finite)} of {finite.size} are not"
        )


def check_parameter(
    what: str, array: Array, /, *, dtype: AnyDType | None = None, **axes: int | None
) -> None:
    """Raise unless `array` is a floating-point array with the named axes; no value is read."""
    check_float(what, array, dtype)
    check_shape(what, array, **axes)


def check_array(
    what: str, array: Array, /, *, dtype: AnyDType | None = None, **axes: int | None
) -> None:
    """Raise unless `array` is a *finite* floating-point array with the named axes."""
    check_parameter(what, array, dtype=dtype, **axes)
    check_finite(what, array)


def check_same_axes(what: str, array: Array, expected: tuple[int, ...]) -> None:
    """Raise `ShapeError` unless `array` has exactly the shape `expected`."""
    if array.shape != expected:
        hint = "; its transpose fits" if array.shape[::-1] == expected else ""
        raise ShapeError(f"{what} has shape {array.shape}, expected {expected}{hint}")


def check_like(what: str, array: object, like: Array) -> None:
    """Raise unless `array` has the shape and dtype of `like`."""
    check_float(what, array, like.dtype)
    check_same_axes(what, np.asarray(array), like.shape)


# ---------------------------------------------------------------------- the arguments of a pass


class Rows(NamedTuple):
    """x as a forward pass computes with it: as rows, whatever its leading axes were."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)
    dropped: Array  # (n, in_features)  x after dropout; x itself without a mask
    mask: Array | None  # (n, in_features)


def check_forward_inputs(where: str, x: Array, weight: Array, mask: Array | None = None) -> Rows:
    """Check x and its dropout mask against a weight of shape (out, in); return them as rows."""
    dtype, in_features = weight.dtype, weight.shape[1]
    rows = check_rows(f"x in {where}", x, dtype, in_features=in_features)
    leading = x.shape[:-1]
    if mask is None:
        return Rows(leading, rows, rows, None)
    what = f"mask in {where}"
    mask = check_rows(what, mask, dtype, leading=leading, in_features=in_features)
    return Rows(leading, rows, rows * mask, mask)


def check_backward_inputs(
    where: str, grad_y: Array, cache: Any, kind: type, weight: Array, /, **expected: object
) -> Array:
    """Check the cache as `check_cache` does, and grad_y against a weight; return grad_y as rows.

    The cache has an entry ``leading``, the axes of x before its last.
    """
    check_cache(f"cache in {where}", cache, kind, weight.dtype, **expected)
    leading, out_features = cache.leading, len(weight)
    what = f"grad_y in {where}"
    return check_rows(what, grad_y, weight.dtype, leading=leading, out_features=out_features)


def check_rows(
    what: str,
    array: Array,
    dtype: AnyDType,
    /,
    *,
    leading: tuple[int, ...] | None = None,
    **last: int,
) -> Array:
    """Return `array` of shape (*leading, last) as rows (n, last), without copying a contiguous one.

    If omitted, `leading` is at least one axis of any length. `last` is the name and the length of
    the last axis.

    Examples
    --------
    >>> check_rows("x", np.ones((4, 5, 3)), np.dtype(float), in_features=3).shape
    (20, 3)
    """
    check_float(what, array, dtype)
    ((name, size),) = last.items()
    if leading is not None:
        check_same_axes(what, array, (*leading, size))
    elif array.ndim < 2 or array.shape[-1] != size:
        hint = ""
        if array.shape == (size,):
            hint = "; a single row is x[None]"
        elif array.ndim == 2 and array.shape[0] == size:
            hint = "; its transpose fits"
        raise ShapeError(
            f"{what} has shape {array.shape}, expected (n, {name}={size}) "
            f"or more leading axes{hint}"
        )
    return array if array.ndim == 2 else array.reshape(-1, size)


def check_cache(
    what: str, cache: object, kind: type, dtype: AnyDType | None = None, /, **expected: object
) -> None:
    """Raise `LoraRefError` unless `cache` is what a forward pass of this very layer returns.

    `kind` is the named tuple that it must be. `expected` has, by the name of an entry, the length
    of the last axis of an array, or the value of what is no array. So the cache of a layer of the
    very same shapes passes. Those arrays must have the dtype of the layer, where it is given.
    """
    if not isinstance(cache, kind):
        raise LoraRefError(
            f"{what} is a {type(cache).__name__}, expected the {kind.__name__} of a forward pass"
        )
    for name, wanted in expected.items():
        held = getattr(cache, name)
        is_array = isinstance(held, np.ndarray)
        if is_array and dtype is not None and held.dtype != dtype:
            other = f"{name} of dtype {held.dtype}, expected {dtype}"
        elif (held.shape[-1] if is_array else held) != wanted:
            got = f"of width {held.shape[-1]}" if is_array else held
            other = f"{name} {got}, expected {wanted}"
        else:
            continue
        raise LoraRefError(f"{what} holds {other}: it comes from a forward pass of another layer")


# ---------------------------------------------------------------------- what is no array


def check_generator(what: str, rng: object) -> None:
    """Raise `LoraRefError` unless `rng` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise LoraRefError(
            f"{what} is {rng!r}, expected a numpy.random.Generator such as np.random.default_rng(0)"
        )


def as_count(what: str, value: object, at_least: int = 1) -> int:
    """Return `value` as a Python int, or say why it is not a whole number >= `at_least`.

    Examples
    --------
    >>> as_count("r", 0)
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: r is 0, expected a whole number of at least 1
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool | np.timedelta64):
        raise LoraRefError(f"{what} is {value!r}, expected a whole number of at least {at_least}")
    if value < at_least:
        raise LoraRefError(f"{what} is {value}, expected a whole number of at least {at_least}")
    return int(value)


def as_finite(what: str, value: object, dtype: AnyDType | None = None) -> float:
    """Return `value` as a Python float, or say why it is not a number that `dtype` can hold.

    A `numpy.float64` scalar would turn float32 arrays into float64 ones; a Python float does not.

    Examples
    --------
    >>> as_finite("alpha", 1e39, np.dtype(np.float32))
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: alpha is 1e+39, expected a number that is finite in float32
    """
    target = np.dtype(np.float64) if dtype is None else dtype
    if not isinstance(value, _REAL) or isinstance(value, bool | np.timedelta64):
        raise LoraRefError(f"{what} is {value!r}, expected a number that is finite in {target}")
    try:
        number = float(value)
    except OverflowError:
        raise LoraRefError(
            f"{what} is larger than any float64, expected a number that is finite in {target}"
        ) from None
    if not isfinite(number) or abs(number) > _largest(target):
        raise LoraRefError(f"{what} is {number}, expected a number that is finite in {target}")
    return number


def as_positive(what: str, value: object, dtype: AnyDType | None = None) -> float:
    """Return a number above 0 that `dtype` can hold, or say why it is none."""
    number = as_finite(what, value, dtype)
    if not number > 0:
        raise LoraRefError(f"{what} is {number}, expected a positive number")
    return number


def as_fraction(what: str, value: float) -> float:
    """Return a number of at least 0 and below 1, or say why it is none."""
    number = as_finite(what, value)
    if not 0 <= number < 1:
        raise LoraRefError(f"{what} is {number}, expected a number of at least 0 and below 1")
    return number


def as_flag(what: str, value: object) -> bool:
    """Return `value` as a Python bool, or say that it is not one: ``"no"`` would count as true."""
    if not isinstance(value, bool | np.bool):
        raise LoraRefError(f"{what} is {value!r}, expected True or False")
    return bool(value)


def at_least_float32(dtype: AnyDType) -> AnyDType:
    """Return the dtype to add up and to square in: squares leave float16 above 255 and below 2e-4.

    Examples
    --------
    >>> at_least_float32(np.dtype(np.float16))
    dtype('float32')
    """
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


def frozen(array: NDArray[Number]) -> NDArray[Number]:
    """Return a read-only view, so that NumPy itself refuses to train it.

    The view protects what is reached through it; whoever made the array can still write to it.
    """
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@cache
def _largest(dtype: AnyDType) -> float:
    return float(np.finfo(dtype).max)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    for got, want in zip(shape, wanted, strict=True):  # a generator would take twice as long
        if want is not None and got != want:
            return False
    return True


def _axes_text(axes: Mapping[str, int | None]) -> str:
    named = [name if size is None else f"{name}={size}" for name, size in axes.items()]
    return f"({', '.join(named)}{',' if len(named) == 1 else ''})"
