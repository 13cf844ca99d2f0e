"""A quantity with its inputs, computed when it is first asked for, and once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from lora_ref.claims.values import Rounded, exact, shape_text, within_limits
from lora_ref.errors import LoraRefError


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
