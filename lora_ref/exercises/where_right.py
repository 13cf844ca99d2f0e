"""What is special about the inputs for which an answer is right, or about the others.

Only what a student can act on is said. What is so by its kind, such as one row, two equal sides or
an option, is said of a single input too; what may be chance has to be true of at least two inputs
and untrue of two.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from lora_ref.exercises.attempt import Attempt

Said = tuple[str, bool]
"""What is true of an input, and whether it may be chance."""


def in_common(right: Sequence[Attempt], wrong: Sequence[Attempt]) -> str:
    """Return a sentence on all inputs of one kind, untrue of all of the other, or an empty text.

    The plainest is returned: signs and sides come before values, and the right ones before the
    wrong.
    """
    for whose, few, others in (("these", right, wrong), ("the others", wrong, right)):
        each = [dict(_said(one)) for one in few]
        elsewhere = {sentence for one in others for sentence, _ in _said(one)}
        for sentence, chance in each[0].items():
            enough = not chance or (len(few) > 1 and len(others) > 1)
            if enough and sentence not in elsewhere and all(sentence in one for one in each):
                return f"Of {whose} alone it is true that {sentence}."
    return ""


def _said(one: Attempt) -> Iterator[Said]:
    """Yield what is true of an input, the plainest first."""
    arguments = one.arguments
    for sentence in one.exercise.special(arguments):
        yield sentence, False
    if one.exercise.batched:
        yield "there is one row" if one.n == 1 else "there are several rows", False
    for name, value in arguments.items():
        yield from _of_value(name, value)
    for (name, size), (other, another) in combinations(_sides(arguments).items(), 2):
        if size == another:
            yield f"{name} is {other}", False
    counts = {name: value for name, value in arguments.items() if type(value) is int}
    for (name, value), (other, another) in combinations(counts.items(), 2):
        if value != another:
            yield f"{name} is {'below' if value < another else 'above'} {other}", True
        if value >= another:
            yield f"{name} is at least {other}", True
        if value <= another:
            yield f"{name} is at most {other}", True
    for name, value in counts.items():
        yield f"{name} is {value}", value > 1


def _sides(arguments: dict[str, Any]) -> dict[str, int]:
    """Return the numbers of rows of all matrices, by name; no two of them need be equal."""
    return {
        f"len({name})": len(value)
        for name, value in arguments.items()
        if isinstance(value, np.ndarray) and value.ndim == 2
    }


def _of_value(name: str, value: Any) -> Iterator[Said]:
    if isinstance(value, bool | np.bool):
        yield f"{name} is {bool(value)}", False
    elif isinstance(value, int | float | Fraction):
        sign = "negative" if value < 0 else "zero" if value == 0 else "positive"
        yield f"{name} is {sign}", value != 0
        if isinstance(value, Fraction):
            yield (
                f"{name} is {'a whole number' if value == int(value) else 'no whole number'}",
                True,
            )
    elif isinstance(value, str):
        is_word = value.isalpha()
        yield f"{name} {f'is {value!r}' if is_word else f'begins with {value[:1]!r}'}", True
    elif isinstance(value, list):
        number = "1 entry" if len(value) == 1 else f"{len(value)} entries"
        yield f"{name} has {number}", len(value) > 2
    elif isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf":
        largest = value[np.abs(value).argmax()]
        side = "below" if largest < 0 else "above"
        yield f"the largest entry of {name}, by size, is {side} zero", True
