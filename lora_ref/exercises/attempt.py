"""One call of a student's function: what it was given, what came out, and how near that is."""

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_ref.exercises.exercise import Answer, Arguments, Exercise

_MET = re.compile(r"matmul: .*\(size (\d+) is different from (\d+)\)")

LONGEST_MESSAGE = 160
"""Characters of an error that are passed on."""


@dataclass(frozen=True)
class Trial:
    """What one call gave.

    Parameters
    ----------
    function : callable
        The student's.
    arguments : dict
        As they were drawn.
    expected : object
        What the specification gives.
    got : object
        What the function returned; None if it raised.
    error : BaseException or None
        What it raised.
    changed : tuple of str
        The arguments that it wrote to.
    n : int
        Rows of the batch.
    square : Trial or None
        Where it raised with matrices: the same call with all sides cut to one length.
    """

    function: Answer
    arguments: Arguments
    expected: Any
    got: Any
    error: BaseException | None
    changed: tuple[str, ...]
    n: int
    square: "Trial | None" = None

    @property
    def where(self) -> str:
        """The arguments in words: shapes of arrays, values of numbers."""
        return ", ".join(f"{name} {_size(value)}" for name, value in self.arguments.items())


def trials(exercise: Exercise, function: Answer, seed: int) -> list[Trial]:
    """Call a function with arguments that are drawn anew each time."""
    return [
        trial(function, exercise.draw(np.random.default_rng([seed, i]), n), exercise, n)
        for i, n in enumerate(exercise.rows)
    ]


def trial(
    function: Answer, arguments: Arguments, exercise: Exercise, n: int, *, is_square: bool = False
) -> Trial:
    """Call a function once, and look afterwards whether its arguments are still the same."""
    expected, _, _ = call(exercise.spec, arguments)
    got, error, given = call(function, arguments)
    changed = tuple(
        name
        for name, value in arguments.items()
        if not isinstance(value, np.random.Generator) and not _same(value, given[name])
    )
    square = None
    if error is not None and n > 1 and not is_square and _has_matrices(arguments):
        square = trial(function, squared(arguments), exercise, n, is_square=True)
    return Trial(function, arguments, expected, got, error, changed, n, square)


def _has_matrices(arguments: Arguments) -> bool:
    """Return whether there is something to cut, and no rank that the cut sides may not have."""
    matrices = [v for v in arguments.values() if isinstance(v, np.ndarray) and v.ndim == 2]
    return bool(matrices) and "r" not in arguments


def call(
    function: Answer, arguments: Arguments
) -> tuple[Any, BaseException | None, Mapping[str, Any]]:
    """Return what a function returns or raises for copies of arguments, and those copies."""
    given = copy.deepcopy(arguments)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a division by zero shows in what is returned
        try:
            return function(*given.values()), None, given
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, it is the student's
            return None, error, given


def squared(arguments: Arguments, side: int = 2) -> Arguments:
    """Return the arguments with every axis cut to one length: here no product is undefined."""

    def cut(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[(slice(side),) * value.ndim]
        return [cut(one) for one in value] if isinstance(value, list) else value

    return {name: cut(value) for name, value in arguments.items()}


def message_of(error: BaseException) -> str:
    """Return kind and text of an error, on one line and not too long."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # a text that raises is a student's too
        text = ""
    met = _MET.search(text)
    if met:  # NumPy's own sentence speaks of operands and core dimensions
        text = f"in a product (@), {met[2]} columns meet {met[1]} rows"
    if len(text) > LONGEST_MESSAGE:
        text = text[:LONGEST_MESSAGE] + " ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def close(got: Any, expected: Any, tolerance: float) -> bool:
    """Return whether an answer is the expected one, of its kind and shape and to the tolerance."""
    if isinstance(expected, tuple):
        return (
            isinstance(got, tuple)
            and len(got) == len(expected)
            and all(close(a, b, tolerance) for a, b in zip(got, expected, strict=True))
        )
    if fault_of_kind(got, expected):
        return False
    a, b = np.asarray(got), np.asarray(expected)
    if a.shape != b.shape:
        return False
    if b.dtype.kind in "bi" or not b.any():  # what should be zero has no size to be relative to
        return bool(np.array_equal(a, b))
    return bool(error_of(a, b) <= tolerance)


def error_of(got: Any, expected: Any) -> float:
    """Return the distance of an answer, relative to the size of the expected one."""
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / (size or 1.0)


def fault_of_kind(got: Any, expected: Any) -> str:
    """Return what is wrong with the type of an answer, or an empty text."""
    if isinstance(expected, np.ndarray):
        if type(got) is not np.ndarray:
            return f"it returns {_kind(got)}, expected an array of shape {expected.shape}"
        wanted = {"f": "f", "i": "iu"}[expected.dtype.kind]
        if got.dtype.kind not in wanted:
            name = "whole numbers" if wanted == "iu" else "floating-point numbers"
            return f"it returns an array of dtype {got.dtype}, expected {name}"
        return ""
    if isinstance(got, np.ndarray) and got.ndim == 0:
        if got.dtype.kind == "O":
            return "it returns an array of dtype object, expected a plain value"
        got = got[()]
    if isinstance(expected, bool):
        return (
            "" if isinstance(got, bool | np.bool) else f"it returns {_kind(got)}, expected a bool"
        )
    if isinstance(got, bool | np.bool):
        return "it returns a bool, expected a number"
    if isinstance(got, int) and got.bit_length() > 62:
        return f"it returns a whole number of {got.bit_length()} bits"
    if isinstance(got, np.timedelta64):
        return "it returns a timedelta64, expected a number"
    if isinstance(expected, int):
        if isinstance(got, float | np.floating):
            return f"it returns the float {got:g}, expected a whole number, an int"
        return (
            "" if isinstance(got, int | np.integer) else f"it returns {_kind(got)}, expected an int"
        )
    real = int | float | np.integer | np.floating
    return "" if isinstance(got, real) else f"it returns {_kind(got)}, expected a float"


def _kind(value: Any) -> str:
    return f"an array of shape {value.shape}" if type(value) is np.ndarray else a_type(value)


def a_type(value: object) -> str:
    """Return the name of a value's type with its article."""
    name = type(value).__name__
    vowel = name == "ndarray" or name[0].lower() in "aeiou"
    return f"{'an' if vowel else 'a'} {name}"


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _size(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.shape).replace(" ", "") if value.size > 4 else np.array2string(value)
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        return f"{len(value)} arrays"
    if isinstance(value, np.random.Generator):
        return "a generator"
    return f"{value:g}" if isinstance(value, float) else str(value)
