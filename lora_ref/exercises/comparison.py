"""An answer beside the expected one: its form, its type, and whether the two are equal."""

from fractions import Fraction
from typing import Any

import numpy as np

FLOAT32 = 1e-6
"""To what numbers in float32 can be trusted, relative to their norm, a few roundings included."""


def in_form(got: Any, expected: Any) -> Any:
    """Return a value in the form of the expected one where it says the same, or as it is.

    A list is a tuple or an array, a whole float is an int, an int is a float, and 1 is True. Order
    and shapes stay what they are.
    """
    if isinstance(expected, tuple):
        if not isinstance(got, list | tuple | np.ndarray) or len(got) != len(expected):
            return got
        return tuple(in_form(*pair) for pair in zip(got, expected, strict=True))
    if isinstance(got, Fraction):
        got = got.numerator if got.denominator == 1 else float(got)
    if isinstance(expected, np.ndarray) and isinstance(got, list | tuple):
        got = as_array(got)
    if type(got) is np.ndarray and np.ndim(expected) == got.ndim == 0 and got.dtype.kind in "biuf":
        got = got[()]
    kind = np.asarray(expected).dtype.kind
    values = np.asarray(got) if isinstance(got, int | float | np.number | np.ndarray) else None
    if values is None or values.dtype.kind not in "iuf" or type(got) is np.matrix:
        return got
    if kind == "f" and values.dtype.kind in "iu":
        return values.astype(np.float64)[()] if values.ndim == 0 else values.astype(np.float64)
    if kind == "i" and values.dtype.kind == "f" and _whole(values):
        return int(values) if values.ndim == 0 else values.astype(np.int64)
    if kind == "b" and values.ndim == 0 and values in (0, 1):
        return bool(values)
    return got


def as_array(value: Any) -> Any:
    """Return a list of numbers, however deep, as an array; any other value as it is."""
    if not isinstance(value, list | tuple):
        return value
    try:
        array = np.array([as_array(one) for one in value])
    except (TypeError, ValueError, RecursionError):  # ragged, or no numbers
        return value
    return array if array.dtype.kind in "iuf" else value


def _whole(values: np.ndarray[Any, Any]) -> bool:
    return bool((np.abs(values) < 2.0**62).all() and (values == np.rint(values)).all())


def close(got: Any, expected: Any, tolerance: float) -> bool:
    """Return whether a value has the expected type and shape, and is equal to the tolerance.

    A value all of whose numbers fit into float32 has been in float32, and may have lost digits.
    """
    if isinstance(expected, tuple):
        return (
            isinstance(got, tuple)
            and len(got) == len(expected)
            and all(close(a, b, tolerance) for a, b in zip(got, expected, strict=True))
        )
    if fault_of_type(got, expected):
        return False
    a, b = np.asarray(got), np.asarray(expected)
    if a.shape != b.shape:
        return False
    if b.dtype.kind in "bi" or not b.any():  # zeros have no norm to be relative to
        return bool(np.array_equal(a, b))
    return relative_error(a, b) <= (max(tolerance, FLOAT32) if in_float32(a) else tolerance)


def in_float32(value: Any) -> bool:
    """Return whether all numbers of a value fit into float32."""
    if isinstance(value, tuple | list):
        return all(map(in_float32, value))
    numbers = np.asarray(value)
    return numbers.dtype.kind in "iuf" and np.array_equal(numbers, numbers.astype(np.float32))


def relative_error(got: Any, expected: Any) -> float:
    """Return the norm of the difference, relative to the norm of the expected value."""
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(a - b)) / (float(np.linalg.norm(b)) or 1.0)


def fault_of_type(got: Any, expected: Any) -> str:
    """Return what is wrong with the type of a value, or an empty text."""
    if isinstance(expected, np.ndarray):
        if type(got) is not np.ndarray:
            what = _type_and_shape(got)
            if isinstance(got, list) and not any(isinstance(one, np.ndarray) for one in got):
                what += f" that is no array of numbers, {str(got)[:30]} ..."
            return f"it returns {what}, expected an array of shape {expected.shape}"
        is_float = expected.dtype.kind == "f"
        if got.dtype.kind not in ("f" if is_float else "iu"):
            numbers = "floating-point numbers" if is_float else "whole numbers"
            return f"it returns an array of dtype {got.dtype}, expected {numbers}"
        return ""
    if isinstance(got, np.ndarray) and got.ndim == 0:
        if got.dtype.kind == "O":
            return "it returns an array of dtype object, expected a plain value"
        got = got[()]
    if isinstance(expected, bool):
        right, wanted = isinstance(got, bool | np.bool), "a bool"
    elif isinstance(got, bool | np.bool | np.timedelta64):
        right, wanted = False, "a number"
    elif isinstance(got, int) and got.bit_length() > 62:
        return f"it returns a whole number of {got.bit_length()} bits"
    elif not isinstance(expected, int):
        right, wanted = isinstance(got, int | float | np.integer | np.floating), "a float"
    elif isinstance(got, float | np.floating):
        return f"it returns the float {got:g}, expected a whole number, an int"
    else:
        right, wanted = isinstance(got, int | np.integer), "an int"
    return "" if right else f"it returns {_type_and_shape(got)}, expected {wanted}"


def _type_and_shape(value: Any) -> str:
    return f"an array of shape {value.shape}" if type(value) is np.ndarray else type_name(value)


def type_name(value: object) -> str:
    """Return the name of a value's type with its article."""
    name = type(value).__name__
    vowel = name == "ndarray" or name[0].lower() in "aeiou"
    return f"{'an' if vowel else 'a'} {name}"
