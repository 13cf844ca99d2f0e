"""What a student is told about a function: right, or a mistake by its name."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import CodeType
from typing import Any

import numpy as np

from lora_ref.checks import as_count
from lora_ref.exercises.attempt import Attempt, Case, attempt, attempts, call, map_arrays
from lora_ref.exercises.comparison import type_name
from lora_ref.exercises.diagnostics import DIAGNOSES, Diagnosis, returned_nothing
from lora_ref.exercises.exercise import Answer, Exercise
from lora_ref.exercises.restrictions import forms, sentence, used

RIGHT = "right"
NOT_ATTEMPTED = "not-attempted"


@dataclass(frozen=True)
class Feedback:
    """The result of a check; the last line of a notebook cell shows its message."""

    exercise: str  # its id
    result: str  # "right", "not-attempted", or the name of what is wrong
    message: str  # one or two sentences for the student

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.result == RIGHT

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.message}"


def diagnose(exercise: Exercise, function: Answer, seed: int = 0) -> Feedback:
    """Call a student's function with random arguments, and return what is right or wrong about it.

    The function gets copies of the arguments. What it raises is reported, except for
    KeyboardInterrupt, which passes.
    """
    seed = as_count("seed in check", seed, 0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the caller's settings do not change a result
        try:
            return Feedback(exercise.id, *_diagnosis(exercise, function, seed))
        except Exception as error:  # an odd value can raise whatever is done with it
            message = f"what it returns cannot be compared: {type(error).__name__}."
            return Feedback(exercise.id, "kind", message)


def _diagnosis(exercise: Exercise, function: Answer, seed: int) -> Diagnosis:
    fault = _not_callable(exercise, function)
    if fault:
        return fault
    if found_in_it := used(function, exercise.without):
        return "ruled-out", sentence(found_in_it, exercise.without)
    made = attempts(exercise, function, seed)
    if _not_attempted(made):
        return NOT_ATTEMPTED, "not attempted yet."
    found = next((found for find in DIAGNOSES if (found := find(made)) is not None), None)
    first = made[0]
    failing = next((one for one in made if one.error is not None or not one.right), first)
    if found is not None and failing is not first:
        call(function, failing.arguments, quiet=False)  # what it prints there is wanted too
    if found is not None and (given := _in_another_order(exercise, function)):
        wanted = ", ".join(first.arguments)
        return "signature", f"your parameters are ({given}); it is called with ({wanted})."
    if found is None or found[0] in ("constant", "value", "sometimes-right"):
        again, _, _ = call(function, first.arguments)
        if not _alike(again, first.got):
            return "not-repeatable", (
                "another answer when called again with the same arguments. A result may depend on "
                "nothing else."
            )
    if found is not None:
        return found
    larger = map_arrays(first.arguments, lambda array: 1.5 * array if _is_matrix(array) else array)
    other = attempt(function, Case(exercise, larger, first.n))
    if other.fault or not all(part._replace(tolerance=1e-4).right for part in other.parts):
        return "not-repeatable", (
            "right at first, and wrong for other numbers of the same shapes. Is something kept "
            "from one call to the next?"
        )
    if exercise.not_formed and forms(function, first.arguments, exercise.not_formed):
        return "ruled-out", (
            f"right, but it forms {exercise.not_formed}, a matrix of the shape of W0, which the "
            "task rules out."
        )
    if _is_the_specification(exercise, function):
        return "the-specification", (
            "this is the specification itself, and right. What does it come to, written shortly?"
        )
    return RIGHT, f"right, for {len(made)} inputs of random sizes and values."


def _is_matrix(array: Any) -> bool:
    return bool(array.ndim == 2 and array.dtype.kind == "f")


def _not_callable(exercise: Exercise, function: object) -> Diagnosis | None:
    if not callable(function):
        return "no-function", (
            f"this is {type_name(function)}, expected the function itself: its name, without a "
            "call."
        )
    try:
        takes = inspect.signature(function)
    except Exception:  # some callables have no signature, or raise where they are asked for it
        return None
    wanted = inspect.signature(exercise.spec).parameters
    try:
        takes.bind(*wanted)
    except TypeError:
        empty = inspect.Parameter.empty
        names = [one.replace(annotation=empty, default=empty) for one in takes.parameters.values()]
        bare = takes.replace(parameters=names, return_annotation=empty)  # with its * and /
        return "signature", f"it takes {bare}, and is called with ({', '.join(wanted)}) in order."
    return None


def _in_another_order(exercise: Exercise, function: Answer) -> str:
    """Return a function's parameters where they are those of the exercise in another order."""
    try:
        given = [*inspect.signature(function).parameters]
    except Exception:  # as above
        return ""
    wanted = [*inspect.signature(exercise.spec).parameters]
    return ", ".join(given) if sorted(given) == sorted(wanted) and given != wanted else ""


def _is_the_specification(exercise: Exercise, function: Answer) -> bool:
    """Return whether a right answer is a copy of the loops: the same names in the same order."""
    theirs = getattr(function, "__code__", None)
    if not isinstance(theirs, CodeType) or function is exercise.spec:
        return False
    module = compile(exercise.loops, "loops", "exec")
    ours = next(one for one in module.co_consts if isinstance(one, CodeType))
    return _names_of(theirs) == _names_of(ours)


def _names_of(code: CodeType) -> tuple[Any, ...]:
    inner = (_names_of(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.co_names, code.co_varnames, code.co_cellvars, tuple(inner)


def _not_attempted(made: Sequence[Attempt]) -> bool:
    """Return whether the body is empty or raises NotImplementedError.

    A body without names that accepts any object as an argument is taken to be empty.
    """
    if all(isinstance(one.error, NotImplementedError) for one in made):
        return True
    if not all(one.error is None and returned_nothing(one.got) for one in made):
        return False
    function = made[0].function
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and code.co_names:
        return False
    got, error, _ = call(function, {name: object() for name in made[0].arguments})
    return error is None and returned_nothing(got)


def _alike(one: Any, other: Any) -> bool:
    """Return whether two answers of one function, right or wrong, are equal to rounding."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_alike, one, other))
    try:
        return np.shape(one) == np.shape(other) and bool(np.allclose(one, other, rtol=1e-9, atol=0))
    except (TypeError, ValueError):  # one of them is no number to NumPy
        return isinstance(one, Fraction) and bool(one == other)
