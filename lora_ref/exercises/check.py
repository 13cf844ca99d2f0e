"""The check: what is right or wrong about a student's function, in a sentence with a name."""

import inspect
import warnings
from collections.abc import Sequence
from types import CodeType
from typing import Any

import numpy as np

from lora_ref.checks import as_count
from lora_ref.exercises.attempt import Trial, a_type, call, trial, trials
from lora_ref.exercises.diagnostics import LOOKS, Diagnosis, is_nothing, is_right
from lora_ref.exercises.exercise import Answer, Arguments, Exercise
from lora_ref.exercises.feedback import NOT_ATTEMPTED, RIGHT, Feedback


def checked(exercise: Exercise, function: Answer, seed: int = 0) -> Feedback:
    """Call a function with drawn arguments, and say what is right or wrong about it.

    Parameters
    ----------
    exercise : Exercise
        What it should compute.
    function : callable
        A student's. It gets copies; what it raises is reported, an interruption from the keyboard
        passes.
    seed : int
        Of the arguments that are drawn.
    """
    seed = as_count("seed in check", seed, 0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the settings of whoever calls are not the exercise's
        try:
            return Feedback(exercise.id, *_said(exercise, function, seed))
        except Exception as error:  # a value can fail at whatever is asked of it
            kind = type(error).__name__
            return Feedback(exercise.id, "kind", f"what it returns cannot be looked at: {kind}.")


def _said(exercise: Exercise, function: Answer, seed: int) -> Diagnosis:
    fault = _not_callable(exercise, function)
    if fault:
        return fault
    made = trials(exercise, function, seed)
    if _not_attempted(made):
        return NOT_ATTEMPTED, "not attempted yet."
    found = next((said for look in LOOKS if (said := look(exercise, made)) is not None), None)
    if found is None or found[0] in ("value", "sometimes-right"):
        again, _, _ = call(function, made[0].arguments)
        if not _alike(again, made[0].got):
            return "not-repeatable", (
                "another answer when called again with the same arguments. A result may depend on "
                "nothing else."
            )
    if found is not None:
        return found
    other = trial(function, _enlarged(made[0].arguments), exercise, made[0].n)
    if other.error is not None or not is_right(exercise, other.got, other, tolerance=1e-4):
        return "not-repeatable", (
            "right at first, and wrong for other numbers of the same shapes. Is something kept "
            "from one call to the next?"
        )
    if _is_the_specification(exercise, function):
        return "the-specification", (
            "this is the specification itself, right and slow. What do its loops come to?"
        )
    return RIGHT, f"right, for {len(made)} draws of sizes and numbers."


def _not_callable(exercise: Exercise, function: object) -> Diagnosis | None:
    if not callable(function):
        return "no-function", (
            f"this is {a_type(function)}, expected the function itself: its name, without a call."
        )
    try:
        takes = inspect.signature(function)
    except Exception:  # some callables do not say, or fail to
        return None
    wanted = inspect.signature(exercise.spec).parameters
    try:
        takes.bind(*wanted)
    except TypeError:
        empty = inspect.Parameter.empty
        names = [one.replace(annotation=empty, default=empty) for one in takes.parameters.values()]
        how = takes.replace(parameters=names, return_annotation=empty)  # with its * and /
        return "signature", f"it takes {how}, and is called with ({', '.join(wanted)}) in order."
    return None


def _is_the_specification(exercise: Exercise, function: Answer) -> bool:
    """Return whether a right answer is a copy of the loops: the same names and numbers in order."""
    theirs = getattr(function, "__code__", None)
    if not isinstance(theirs, CodeType) or function is exercise.spec:
        return False
    (ours,) = (
        one
        for one in compile(exercise.loops, "loops", "exec").co_consts
        if isinstance(one, CodeType)
    )
    return _words(theirs) == _words(ours)


def _words(code: CodeType) -> tuple[Any, ...]:
    inner = (_words(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.co_names, code.co_varnames, code.co_cellvars, tuple(inner)


def _not_attempted(made: Sequence[Trial]) -> bool:
    """Return whether nothing was written: a body that only returns nothing, or says so.

    Such a body takes whatever it is given. One that names anything, or does something with its
    arguments, has been begun.
    """
    if all(isinstance(one.error, NotImplementedError) for one in made):
        return True
    if not all(one.error is None and is_nothing(one.got) for one in made):
        return False
    function = made[0].function
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and code.co_names:
        return False
    got, error, _ = call(function, {name: object() for name in made[0].arguments})
    return error is None and is_nothing(got)


def _alike(one: Any, other: Any) -> bool:
    """Return whether two answers of one function are the same to rounding, right or wrong."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    try:
        return np.shape(one) == np.shape(other) and bool(np.allclose(one, other, rtol=1e-9, atol=0))
    except (TypeError, ValueError):  # one of them is no number
        return False


def _enlarged(arguments: Arguments) -> Arguments:
    """Return other numbers of the same shapes: every matrix of floats half as large again."""

    def larger(value: Any) -> Any:
        if isinstance(value, list):
            return [larger(one) for one in value]
        is_matrix = isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f"
        return 1.5 * value if is_matrix else value

    return {name: larger(value) for name, value in arguments.items()}
