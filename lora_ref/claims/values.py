"""Values on their way to a verdict: a quantity with its inputs, computed once, and how exact it is.

A value is exact, or rounded to the digits that can be trusted. Numbers that no text prints are
refused before they can fill the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.exact import ExactArray, product

LARGEST = 10**100
"""The largest size of a number that comes out of a quantity."""

MOST_BITS = 4000
"""The most bits of a numerator or a denominator; a product of eight 60-digit numbers has fewer."""

LARGEST_SIDE = 64
"""The most rows or columns of what comes out of a quantity."""

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
    texts = [unit * round(Fraction(value) / unit) for value in array.ravel().tolist()]
    exact = np.empty(len(texts), dtype=object)
    exact[:] = texts
    return Rounded(exact.reshape(array.shape), unit)


def settled(error: float) -> float:
    """Return a relative error, or 0 where it is nothing but rounding."""
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
    """Return a value that can be judged and shown, as an array.

    Raises
    ------
    LoraRefError
        Where it has more than `LARGEST_SIDE` rows or columns, where a number is larger than
        `LARGEST` or is none, or a fraction longer than `MOST_BITS`.
    """
    if hasattr(value, "finding"):  # of the study, no number
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
        if isinstance(number, Fraction) and _bits(number) > MOST_BITS:
            raise LoraRefError(f"the result is a fraction of more than {MOST_BITS} bits")
    return array


def chain(factors: Sequence[ExactArray]) -> ExactArray:
    """Multiply from left to right; a last vector is a column, a single number multiplies all."""
    result = factors[0]
    for factor in factors[1:]:
        plain = result.ndim == 0 or factor.ndim == 0
        result = within_limits(result * factor if plain else product(result, factor))
    return result


def matrix_of(what: str, array: ExactArray) -> ExactArray:
    """Return an array that is a matrix."""
    if array.ndim != 2:
        hint = "; a matrix of one row is written [[1, 2]]" if array.ndim == 1 else ""
        raise ShapeError(f"{what} is {shape_text(array.shape)}, expected a matrix{hint}")
    return array


def shape_text(shape: tuple[int, ...]) -> str:
    """Return ``4 x 2``, or what a shape with fewer axes is called."""
    if len(shape) == 0:
        return "a single number"
    if len(shape) == 1:
        return f"a vector of {shape[0]}"
    return " x ".join(map(str, shape))


def _bits(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


# a quantity with its inputs


class Sweep(NamedTuple):
    """Several values of one input: the quantity is computed for each."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class AsNumber:
    """A named value where a quantity takes a number and no array."""

    source: "Computed"


@dataclass(eq=False)
class Computed:
    """A quantity with its inputs.

    Parameters
    ----------
    compute : callable
        The quantity's function.
    inputs : mapping
        Its arguments: plain values, other `Computed` ones, or a `Sweep` of either.

    Attributes
    ----------
    unit : Fraction
        To what the value can be trusted: 0 where it is exact.
    """

    compute: Callable[..., Any]
    inputs: Mapping[str, Any]
    unit: Fraction = Fraction(0)
    _done: list[Any] = field(default_factory=list)

    def __call__(self) -> Any:
        """Return the value, or raise what its inputs do not allow: `ShapeError` for shapes."""
        if not self._done:
            try:
                with np.errstate(all="ignore"):  # what is not finite is refused
                    self._done.append(within_limits(self._value()))
            except LoraRefError as error:
                self._done.append(error)
        if isinstance(self._done[0], LoraRefError):
            raise self._done[0]
        return self._done[0]

    def _value(self) -> Any:
        lengths = {len(given.values) for given in self.inputs.values() if isinstance(given, Sweep)}
        if not lengths:
            return self._once(self.inputs)
        if len(lengths) > 1:
            said = " and ".join(map(str, sorted(lengths)))
            raise LoraRefError(f"the lists have {said} entries, expected lists of one length")
        found = [
            self._once(
                {k: v.values[i] if isinstance(v, Sweep) else v for k, v in self.inputs.items()}
            )
            for i in range(lengths.pop())
        ]
        return np.array(found, dtype=object)

    def _once(self, inputs: Mapping[str, Any]) -> Any:
        relative = Fraction(0)
        given = {}
        for name, value in inputs.items():
            given[name], doubt = _resolved(value)
            relative += doubt
        found = self.compute(**given)
        if isinstance(found, Rounded):
            self.unit = max(self.unit, found.unit)
            found = found.value
        if relative:
            self.unit = max(self.unit, relative * _size(found))
        return found


def _resolved(given: Any) -> tuple[Any, Fraction]:
    """Return an input's value, and how far it can be trusted relative to its size."""
    if isinstance(given, tuple) and not hasattr(given, "_fields"):
        pairs = [_resolved(one) for one in given]
        return tuple(value for value, _ in pairs), sum((doubt for _, doubt in pairs), Fraction(0))
    if isinstance(given, AsNumber):
        number, doubt = _resolved(given.source)
        if number.ndim:
            raise LoraRefError(f"got {shape_text(number.shape)}, expected a single number")
        return number.item(), doubt
    if not isinstance(given, Computed):
        return given, Fraction(0)
    value = given()
    size = _size(value) if given.unit else Fraction(1)
    return value, given.unit / size if size else given.unit


def _size(value: Any) -> Fraction:
    return max((abs(exact(entry)) for entry in np.ravel(np.asarray(value))), default=Fraction(0))
