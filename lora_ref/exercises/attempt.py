"""One call of a student's function with random arguments, beside what the specification returns."""

import copy
import io
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.exercises.comparison import (
    FLOAT32,
    close,
    fault_of_type,
    in_float32,
    in_form,
    type_name,
)
from lora_ref.exercises.exercise import Answer, Arguments, Exercise

LONGEST_MESSAGE = 160
"""Characters of a student's error message that are quoted."""


class Part(NamedTuple):
    """One value of an answer: what was returned, and what the specification returns."""

    prefix: str  # the beginning of a message about this value
    got: Any
    expected: Any
    tolerance: float

    @property
    def right(self) -> bool:
        """Whether the value is the expected one."""
        return close(self.got, self.expected, self.tolerance)


@dataclass(frozen=True, eq=False)
class Case:
    """Arguments of an exercise; nobody writes to them, for a call gets copies."""

    exercise: Exercise
    arguments: Arguments
    n: int  # the batch size

    @cached_property
    def specified(self) -> Any:
        """What the specification returns, kept: its loops are slow."""
        return call(self.exercise.spec, self.arguments)[0]

    @cached_property
    def square(self) -> "Case | None":
        """The same with all sides cut to the length 2, where no product is undefined.

        None without matrices, for a single row, and where a rank could be above the new sides.
        """
        arrays = [v for v in self.arguments.values() if isinstance(v, np.ndarray) and v.ndim == 2]
        if not arrays or self.n == 1 or "r" in self.arguments:
            return None
        if all(array.shape == (2, 2) for array in arrays):
            return None  # it is one of these cases itself
        cut = map_arrays(self.arguments, lambda array: array[(slice(2),) * array.ndim])
        return Case(self.exercise, cut, self.n)


@dataclass(frozen=True, eq=False)
class Attempt:
    """One call of a function, and how its answer compares with the specification's."""

    case: Case
    function: Answer
    got: Any  # None where it raised
    error: BaseException | None
    given: Arguments  # the copies of the arguments, as the call left them

    @property
    def exercise(self) -> Exercise:
        """The exercise that is attempted."""
        return self.case.exercise

    @property
    def arguments(self) -> Arguments:
        """The arguments as they were before the call."""
        return self.case.arguments

    @property
    def n(self) -> int:
        """The batch size."""
        return self.case.n

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """The arguments that the call wrote to."""
        return tuple(
            name
            for name, value in self.arguments.items()
            if not isinstance(value, np.random.Generator) and not _same(value, self.given[name])
        )

    @property
    def where(self) -> str:
        """The arguments in words: shapes of arrays, values of numbers."""
        return ", ".join(f"{name} {_describe(value)}" for name, value in self.arguments.items())

    @cached_property
    def _in_form(self) -> Any:
        return in_form(self.got, self.case.specified)

    @cached_property
    def value(self) -> Any:
        """The answer in its canonical form; LoraRefError where it has none."""
        return self.exercise.canonical(self._in_form)

    @cached_property
    def tolerance(self) -> float:
        """How far the answer may be off: further in float32."""
        least = FLOAT32 if in_float32(self._in_form) else 0.0
        return max(self.exercise.tolerance, least)

    @cached_property
    def _parts_and_fault(self) -> tuple[tuple[Part, ...], str]:
        expected = self.exercise.canonical(self.case.specified)
        try:
            got = self.value
        except LoraRefError as error:
            return (), str(error)
        names: Sequence[str] = self.exercise.values or [self.exercise.canonical_name]
        if not isinstance(expected, tuple):
            got, expected = (got,), (expected,)
        elif not isinstance(got, tuple) or len(got) != len(expected):
            number = f" of {len(got)}" if isinstance(got, tuple | list) else ""
            fault = f"it returns {type_name(got)}{number}, expected {len(expected)} values"
            return (), f"{fault}: return {', '.join(names)}"
        parts = tuple(
            Part(f"{name}: " if name else "", mine, right, self.tolerance)
            for name, mine, right in zip(names, got, expected, strict=True)
        )
        faults = (fault_of_type(part.got, part.expected) for part in parts)
        return parts, next((fault for fault in faults if fault), "")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The values that are compared; none where the answer is of another form."""
        return self._parts_and_fault[0]

    @property
    def fault(self) -> str:
        """What is wrong with the type of the answer, or an empty text."""
        return self._parts_and_fault[1]

    @property
    def right(self) -> bool:
        """Whether the answer is that of the specification."""
        return not self.fault and all(part.right for part in self.parts)

    @cached_property
    def square(self) -> "Attempt | None":
        """The same function at the case with sides of the length 2, or None without one."""
        return attempt(self.function, self.case.square) if self.case.square else None


def attempts(exercise: Exercise, function: Answer, seed: int) -> list[Attempt]:
    """Call a function once for each batch size, with other random arguments each time."""
    cases = _cases(exercise, seed)
    return [attempt(function, case, quiet=case is not cases[0]) for case in cases]


@lru_cache(maxsize=64)
def _cases(exercise: Exercise, seed: int) -> list[Case]:
    return [
        Case(exercise, exercise.draw(np.random.default_rng([seed, i]), n), n)
        for i, n in enumerate(exercise.batch_sizes)
    ]


def attempt(function: Answer, case: Case, *, quiet: bool = True) -> Attempt:
    """Call a function once."""
    return Attempt(case, function, *call(function, case.arguments, quiet=quiet))


def call(
    function: Answer, arguments: Arguments, *, quiet: bool = True
) -> tuple[Any, BaseException | None, Arguments]:
    """Return what a function returns or raises for copies of arguments, and those copies.

    What it prints is lost where `quiet` is true: a student wants to see one call, not all of them.
    """
    given = {name: _copied(value) for name, value in arguments.items()}
    silence = redirect_stdout(io.StringIO()) if quiet else nullcontext()
    with warnings.catch_warnings(), np.errstate(all="ignore"), silence:
        warnings.simplefilter("ignore")  # a division by zero shows in what is returned
        try:
            return function(*given.values()), None, given
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the student's, whatever it is
            return None, error, given


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return [*map(_copied, value)] if type(value) is list else copy.deepcopy(value)


def map_arrays(arguments: Arguments, change: Callable[[Any], Any]) -> Arguments:
    """Return arguments with every array changed, those in lists too."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(entry) for entry in value]
        return change(value) if isinstance(value, np.ndarray) else value

    return {name: changed(value) for name, value in arguments.items()}


def message_of(error: BaseException) -> str:
    """Return type and text of an error on one line, cut to `LONGEST_MESSAGE`."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # __str__ can be the student's too
        text = ""
    sizes = re.search(r"matmul: .*\(size (\d+) is different from (\d+)\)", text)
    if sizes:  # NumPy's own sentence speaks of operands and core dimensions
        text = f"in a product (@), {sizes[2]} columns meet {sizes[1]} rows"
    if len(text) > LONGEST_MESSAGE:
        text = text[:LONGEST_MESSAGE] + " ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        short = value.ndim == 1 and value.size <= 4
        return np.array2string(value) if short else str(value.shape).replace(" ", "")
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        return f"[{', '.join(map(_describe, value))}]"
    if isinstance(value, np.random.Generator):
        return "a generator"
    return f"{value:g}" if isinstance(value, float) else str(value)
