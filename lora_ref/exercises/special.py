"""What is special about the inputs for which an answer is right."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from lora_ref.exercises.attempt import Attempt


def in_common(right: Sequence[Attempt], wrong: Sequence[Attempt]) -> str:
    """Return what is true of all inputs of one kind and of none of the other, or an empty text.

    The plainest such sentence is returned: signs and sides come before values.
    """
    known = [set(_sentences(one)) for one in right]
    elsewhere = {said for one in wrong for said in _sentences(one)}
    found = (said for said in _sentences(right[0]) if all(said in each for each in known))
    return next((said for said in found if said not in elsewhere), "")


def _sentences(one: Attempt) -> Iterator[str]:
    """Yield what is true of an input, the plainest first."""
    arguments = one.arguments
    if one.exercise.batched:
        yield "there is one row" if one.n == 1 else "there are several rows"
    for name, value in arguments.items():
        yield from _of_value(name, value)
    counts = {name: value for name, value in arguments.items() if type(value) is int}
    for (name, value), (other, another) in combinations(counts.items(), 2):
        if value != another:
            yield f"{name} is {'below' if value < another else 'above'} {other}"
        if value >= another:
            yield f"{name} is at least {other}"
        if value <= another:
            yield f"{name} is at most {other}"
    for name, value in counts.items():
        yield f"{name} is {value}"


def _of_value(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool | np.bool):
        yield f"{name} is {bool(value)}"
    elif isinstance(value, int | float | Fraction):
        yield f"{name} is {'negative' if value < 0 else 'zero' if value == 0 else 'positive'}"
        if isinstance(value, Fraction):
            yield f"{name} is {'a whole number' if value == int(value) else 'no whole number'}"
    elif isinstance(value, str):
        yield f"{name} begins with {value[:1]!r}"
    elif isinstance(value, list):
        yield f"{name} has {len(value)} entries"
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size:
        if value.ndim == 2:
            rows, columns = value.shape
            sign = "as many" if rows == columns else "fewer" if rows < columns else "more"
            yield f"{name} has {sign} rows {'as' if rows == columns else 'than'} columns"
        largest = value.ravel()[np.abs(value).argmax()]
        yield f"the largest entry of {name}, by size, is {'below' if largest < 0 else 'above'} zero"
