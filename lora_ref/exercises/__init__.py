"""Exercises that grade themselves, offline, and say what is wrong with an answer.

``check("grad-A", my_function)`` calls a function with drawn arguments, no two sides of which are
alike, and compares it with a specification in plain loops. What comes back names the mistake: a
missing factor, a transpose, a changed input, or one of the wrong answers that the exercise knows.
The right answers are in the tests, out of a student's sight.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.errors import LoraRefError
from lora_ref.exercises.check import checked
from lora_ref.exercises.exercise import Answer, Exercise, Slip
from lora_ref.exercises.feedback import Feedback
from lora_ref.exercises.topics import (
    adapter_and_dora,
    counts,
    gradients,
    init_and_step,
    multitask,
    quantization,
    rank,
    rounding,
    update,
)
from lora_ref.suggestions import nearest_or_all

__all__ = ["EXERCISES", "Exercise", "Feedback", "Slip", "check", "exercise", "show"]

TOPICS = (
    rank,
    update,
    gradients,
    init_and_step,
    adapter_and_dora,
    multitask,
    quantization,
    counts,
    rounding,
)
"""In the order of the notebooks."""

EXERCISES: Mapping[str, Exercise] = MappingProxyType(
    {one.id: one for topic in TOPICS for one in topic.ALL}
)
"""Every exercise by its id."""


def exercise(id: str) -> Exercise:
    """Return the exercise of that id.

    Raises
    ------
    LoraRefError
        For an unknown id, with the nearest ones.
    """
    if id in EXERCISES:
        return EXERCISES[id]
    hint = nearest_or_all(id, EXERCISES, cutoff=0.5)
    raise LoraRefError(f"there is no exercise {id!r}{hint}")


def check(id: str, function: Answer, *, seed: int = 0) -> Feedback:
    """Say what is right or wrong about a function.

    Parameters
    ----------
    id : str
        The exercise, such as ``"grad-A"``.
    function : callable
        Yours; it takes what `show` says, in that order.
    seed : int
        Of the sizes and numbers that are drawn; another seed draws others.

    Raises
    ------
    LoraRefError
        For an unknown id. What the function raises is no error of the check, and reported.

    Examples
    --------
    >>> check("delta-w", lambda A, B, alpha: B @ A)
    delta-w: right up to the factor alpha/r: the right answer is alpha/r times yours.
    >>> check("delta-w", lambda A, B, alpha: A @ B).result
    'A-B'
    """
    return checked(exercise(id), function, seed)


def show(id: str) -> str:
    """Return the task of an exercise and its specification in plain loops, to be printed."""
    return exercise(id).text()
