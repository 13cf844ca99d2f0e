"""A quantity with its inputs, computed once; and the limits of a value that can be judged.

A value is exact, or rounded to the digits that can be trusted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.exact import ExactArray, product

# limits of what is computed
LARGEST = 10**100  # the size of a number
MOST_BITS = 4000  # of a numerator or denominator; a product of eight 60-digit numbers has fewer
LARGEST_SIDE = 64  # rows or columns

FLOAT_DIGITS = 12
"""Digits to which a singular value is given, counted from the first digit of the largest one."""


class Rounded(NamedTuple):
    """What went through floating point: decimals, and the unit to which they can be trusted."""

    value: Any
    unit: Fraction


def rounded(values: Any, largest: float) -> Rounded:
    """Return floating-point numbers as decimals, `FLOAT_DIGITS` digits of the largest one."""
    places = FLOAT_DIGITS - 1 - (floor(log10(largest)) if largest > 0 else 0)
    unit = Fraction(10) ** -places
    array = np.asarray(values)
    decimals = np.empty(array.size, dtype=object)
    decimals[:] = [unit * round(Fraction(value) / unit) for value in array.ravel().tolist()]
    return Rounded(decimals.reshape(array.shape), unit)


def settled(error: float) -> float:
    """Return a relative error, or 0 where it is only rounding."""
    return 0.0 if abs(error) < 1e-12 else float(error)


def exact(value: Any) -> Fraction:
    """Return a finite number as a fraction, a float by the shortest decimal that stands for it."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int | np.integer):
        return Fraction(int(value))
    number = float(value)
    if not np.isfinite(number):
        raise LoraRefError(f"recomputing gave {number}, expected a finite number")
    return Fraction(repr(number))


def within_limits(value: Any) -> Any:
    """Return a value as an array, or refuse what is too large to be judged and shown."""
    if hasattr(value, "finding"):  # of the study, not a number
        return value
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    if array.dtype == np.bool_:  # a shape without entries
        return array
    if max(array.shape, default=1) > LARGEST_SIDE:
        raise LoraRefError(
            f"the result is {shape_text(array.shape)}, expected at most {LARGEST_SIDE} rows and "
            "columns"
        )
    for number in array.flat:
        if number != number:
            raise LoraRefError("the result is not a number: 0 by 0, or the like")
        if abs(number) > LARGEST:
            raise LoraRefError("the result is beyond 1e100 in size, expected a printable number")
        if (
            isinstance(number, Fraction)
            and max(number.numerator.bit_length(), number.denominator.bit_length()) > MOST_BITS
        ):
            raise LoraRefError(f"the result is a fraction of more than {MOST_BITS} bits")
    return array


def chain(factors: Sequence[ExactArray]) -> ExactArray:
    """Multiply from left to right; a last vector is a column, a single number multiplies all."""
    result = factors[0]
    for factor in factors[1:]:
        has_number = result.ndim == 0 or factor.ndim == 0
        result = within_limits(result * factor if has_number else product(result, factor))
    return result


def matrix_of(name: str, array: ExactArray) -> ExactArray:
    """Return an array that is a matrix."""
    if array.ndim != 2:
        hint = "; a matrix of one row is written [[1, 2]]" if array.ndim == 1 else ""
        raise ShapeError(f"{name} is {shape_text(array.shape)}, expected a matrix{hint}")
    return array


def shape_text(shape: tuple[int, ...]) -> str:
    """Return ``4 x 2``, or what a shape with fewer axes is called."""
    if len(shape) == 0:
        return "a single number"
    if len(shape) == 1:
        return f"a vector of {shape[0]}"
    return " x ".join(map(str, shape))


# a quantity with its inputs


class Sweep(NamedTuple):
    """Several values of one input: the quantity is computed for each."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class AsNumber:
    """A computed value where a quantity takes a number and no array."""

    source: "Computed"

    def __call__(self) -> Any:
        """Return the value, or raise as it does."""
        return self.source()


@dataclass(eq=False)
class Computed:
    """A quantity with its inputs; a call computes it once."""

    compute: Callable[..., Any]
    inputs: Mapping[str, Any]  # plain values, other `Computed` ones, or a `Sweep` of either
    unit: Fraction = Fraction(0)  # to which the value can be trusted; 0 where it is exact
    _result: Any = None

    def __call__(self) -> Any:
        """Return the value, or raise what its inputs do not allow: `ShapeError` for shapes."""
        if self._result is None:
            try:
                with np.errstate(all="ignore"):  # a value that is not finite is refused
                    self._result = within_limits(self._value())
            except LoraRefError as error:
                self._result = error
        if isinstance(self._result, LoraRefError):
            raise self._result
        return self._result

    def _value(self) -> Any:
        sweeps = {name: v.values for name, v in self.inputs.items() if isinstance(v, Sweep)}
        if not sweeps:
            return self._once(self.inputs)
        lengths = {len(values) for values in sweeps.values()}
        if len(lengths) > 1:
            found = " and ".join(map(str, sorted(lengths)))
            raise LoraRefError(f"the lists have {found} entries, expected lists of one length")
        rows = zip(*sweeps.values(), strict=True)
        values = [
            self._once({**self.inputs, **dict(zip(sweeps, row, strict=True))}) for row in rows
        ]
        return np.array(values, dtype=object)

    def _once(self, inputs: Mapping[str, Any]) -> Any:
        resolved = {name: _resolved(value) for name, value in inputs.items()}
        value = self.compute(**{name: argument for name, (argument, _) in resolved.items()})
        if isinstance(value, Rounded):
            self.unit = max(self.unit, value.unit)
            value = value.value
        if relative := sum(error for _, error in resolved.values()):
            self.unit = max(self.unit, relative * _size(value))
        return value


def _resolved(value: Any) -> tuple[Any, Fraction]:
    """Return an input's value, and its uncertainty relative to its size."""
    if isinstance(value, tuple):
        pairs = [_resolved(entry) for entry in value]
        return tuple(entry for entry, _ in pairs), sum((error for _, error in pairs), Fraction(0))
    if isinstance(value, AsNumber):
        number, error = _resolved(value.source)
        if number.ndim:
            raise LoraRefError(f"got {shape_text(number.shape)}, expected a single number")
        return number.item(), error
    if not isinstance(value, Computed):
        return value, Fraction(0)
    array = value()
    size = _size(array) if value.unit else Fraction(1)
    return array, value.unit / size if size else value.unit


def _size(value: Any) -> Fraction:
    """Return the largest entry, signs left out."""
    return max((abs(exact(entry)) for entry in np.ravel(np.asarray(value))), default=Fraction(0))
