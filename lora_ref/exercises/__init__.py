"""Exercises that grade themselves, offline, and name the mistake in a wrong answer.

``check("grad-A", my_function)`` calls a function with random arguments, no two sides of which are
equal, and compares the result with a specification in plain loops. The feedback names the mistake:
a missing factor, a transpose, a changed input, or a wrong answer that the exercise knows. In a
script it takes ``print(check(...))`` to see it. The right answers are in the tests, where students
do not see them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.exercises.exercise import Answer, Exercise, WrongAnswer, wrapped
from lora_ref.exercises.feedback import Feedback, diagnose
from lora_ref.exercises.topics import ALL
from lora_ref.suggestions import nearest_or_all

__all__ = ["EXERCISES", "Exercise", "Feedback", "WrongAnswer", "check", "exercise", "hint", "show"]

EXERCISES: Mapping[str, Exercise] = MappingProxyType({one.id: one for one in ALL})
"""Every exercise by its id, in the order of the notebooks."""


def exercise(id: str) -> Exercise:
    """Return the exercise of that id; an unknown one raises LoraRefError with the nearest ids."""
    if id in EXERCISES:
        return EXERCISES[id]
    raise LoraRefError(f"there is no exercise {id!r}{nearest_or_all(id, EXERCISES, cutoff=0.5)}")


def check(id: str, function: Answer, *, seed: int = 0) -> Feedback:
    """Return what is right or wrong about a function, called with what `seed` draws.

    It takes the arguments that `show` prints, in that order; an error that it raises is reported.
    An unknown exercise raises LoraRefError.

    Examples
    --------
    >>> check("delta-w", lambda A, B, alpha: B @ A)
    delta-w: right up to the factor alpha/r: the right answer is alpha/r times yours.
    >>> check("delta-w", lambda A, B, alpha: A @ B).result
    'A-B'
    """
    return diagnose(exercise(id), function, seed)


def show(id: str, *, loops: bool = False) -> str:
    """Return the task of an exercise and its specification in plain loops, to be printed.

    Loops that would give a formula away are left out, unless `loops` is true.
    """
    return exercise(id).text(loops=loops)


def hint(id: str, step: int = 1) -> str:
    """Return a hint for an exercise, to be printed: step 1, 2 or 3, none of them the answer."""
    hints = exercise(id).hints
    step = as_count("step in hint", step)
    if step > len(hints):
        raise LoraRefError(f"step in hint is {step}, expected 1 to {len(hints)} for {id}")
    return wrapped(f"{id}, hint {step} of {len(hints)}: {hints[step - 1]}")
