"""Answers that are right but for one change: of an argument before, or of the result afterwards.

Nobody has to foresee such a mistake in an exercise: the specification itself says what comes out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from itertools import permutations
from math import sqrt
from typing import Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.exercises.attempt import Attempt, Case, Part
from lora_ref.exercises.comparison import close
from lora_ref.exercises.exercise import Arguments

Change = Callable[[Any], Any]

OF_NUMBERS: Mapping[str, Change] = {
    "int({})": int,
    "abs({})": abs,
    "-{}": lambda number: -number,
    "1": lambda number: type(number)(1),
    "0": lambda number: type(number)(0),
    "{}**2": lambda number: number**2,
    "sqrt({})": sqrt,
    "1/{}": lambda number: 1 / number,
    "min({}, 1)": lambda number: min(number, 1),
    "max({}, 1)": lambda number: max(number, 1),
    "{} - 1": lambda number: number - 1,
    "{} + 1": lambda number: number + 1,
}
OF_ARRAYS: Mapping[str, Change] = {
    "abs({})": np.abs,
    "-{}": np.negative,
    "1 - {}": lambda array: 1 - array,
    "{}**2": np.square,
    "1/{}": lambda array: 1 / array,
    "the positive entries of {}": lambda array: np.maximum(array, 0),
    "{} in whole numbers": np.trunc,
    "zeros": np.zeros_like,
    "ones": np.ones_like,
    "{} less its mean over the rows": lambda array: array - array.mean(axis=0),
    "{} less the mean of each row": lambda array: array - array.mean(axis=-1, keepdims=True),
    "{}[::-1]": lambda array: array[::-1],
}
OF_TRUTH_VALUES: Mapping[str, Change] = {
    "~{}": np.logical_not,
    "True": lambda values: np.full(np.shape(values), True)[()],
    "False": lambda values: np.full(np.shape(values), False)[()],
}
OF_LISTS: Mapping[str, Change] = {
    "{}[:1]": lambda values: values[:1],
    "{}[:2]": lambda values: values[:2],
    "{}[1:]": lambda values: values[1:],
    "{}[:-1]": lambda values: values[:-1],
    "{}[::-1]": lambda values: values[::-1],
    "{}[0] for all": lambda values: values[:1] * len(values),
}
OF_ENTRIES: Mapping[str, Change] = {
    "abs() of {}": np.abs,
    "int() of {}": int,
    "ones": lambda entry: 1.0,
    "out_features for in_features": lambda sides: (sides[0], sides[0]),
    "in_features for out_features": lambda sides: (sides[1], sides[1]),
}
OF_TEXTS: Mapping[str, Change] = {
    "{} without its sign": lambda text: text.lstrip("-"),
    "{} without the zeros at its end": lambda text: text.rstrip("0"),
}

OF_RESULTS: Mapping[str, Change] = {
    "the absolute value of the right answer": np.abs,
    "the square of the right answer": np.square,
    "the root of the right answer": np.sqrt,
    "1 over the right answer": np.reciprocal,
    "the logarithm of the right answer": np.log,
    "the right answer, cut to whole numbers": np.trunc,
    "the right answer, rounded to two decimals": lambda right: np.round(right, 2),
    "the right answer less its mean": lambda right: right - np.mean(right),
    "the opposite of the right answer": np.logical_not,
    "one more than the right answer": lambda right: right + 1,
    "one less than the right answer": lambda right: right - 1,
}


def of_arguments(arguments: Arguments) -> Iterator[tuple[str, Arguments]]:
    """Yield arguments with one change each, and the change in words."""
    for name, value in arguments.items():
        for phrase, change in _changes_of(value):
            changed = _tried(change, value)
            if changed is not None:
                yield f"{phrase.format(name)} in the place of {name}", {**arguments, name: changed}
    lists = {name: value for name, value in arguments.items() if isinstance(value, list)}
    if len(lists) > 1:
        names = list(lists)
        together = f"{', '.join(names[:-1])} and {names[-1]}"
        for phrase, change in OF_LISTS.items():
            words = ", ".join(phrase.format(name) for name in names)
            changed_lists = {name: change(value) for name, value in lists.items()}
            yield f"{words} in the place of {together}", arguments | changed_lists
    for name, other in permutations(arguments, 2):
        if _alike(arguments[name], arguments[other]):
            yield f"{other} in the place of {name}", {**arguments, name: arguments[other]}
            if name < other:
                exchanged = {name: arguments[other], other: arguments[name]}
                yield f"{name} and {other} exchanged", arguments | exchanged


def _changes_of(value: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(value, bool) or (isinstance(value, np.ndarray) and value.dtype.kind == "b"):
        yield from OF_TRUTH_VALUES.items()
    elif isinstance(value, int | float | Fraction):
        yield from OF_NUMBERS.items()
    elif isinstance(value, np.ndarray):
        yield from OF_ARRAYS.items()
    elif isinstance(value, str):
        yield from OF_TEXTS.items()
    elif isinstance(value, list):
        yield from OF_LISTS.items()
        for phrase, change in OF_ENTRIES.items():
            yield phrase, partial(_each, change)


def _each(change: Change, values: list[Any]) -> list[Any]:
    return [change(entry) for entry in values]


def _tried(change: Change, value: Any) -> Any:
    try:
        return change(value)
    except (ArithmeticError, ValueError, TypeError, IndexError):
        return None


def _alike(one: Any, other: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    if not numbers and type(one) is not type(other):
        return False
    return isinstance(one, int | float | np.ndarray) and np.shape(one) == np.shape(other)


def argument_changed(attempts: Sequence[Attempt]) -> str:
    """Return the change of an argument that makes a wrong answer right, in words, if there is one.

    The change is the same in all attempts, and all values of the answer come out.
    """
    first, *others = attempts
    for words, case in _varied(first.case).items():
        if _comes_out(first, case) and all(
            words in _varied(one.case) and _comes_out(one, _varied(one.case)[words])
            for one in others
        ):
            return words
    return ""


@lru_cache(maxsize=256)
def _varied(case: Case) -> dict[str, Case]:
    """Return the cases with one change each, kept: the specification takes them one by one."""
    return {
        words: Case(case.exercise, arguments, case.n)
        for words, arguments in of_arguments(case.arguments)
    }


def _comes_out(one: Attempt, case: Case) -> bool:
    try:
        value = one.exercise.canonical(case.specified)
    except LoraRefError:
        return False
    return case.specified is not None and close(one.value, value, one.tolerance)


def always_the_same(attempts: Sequence[Attempt]) -> Any:
    """Return the number that every answer consists of, or None where there is no such number."""
    values = [np.asarray(one.value).ravel() for one in attempts if not isinstance(one.value, tuple)]
    if len(values) < len(attempts) or any(one.dtype.kind not in "biuf" for one in values):
        return None
    numbers = np.concatenate(values)
    return numbers[0] if numbers.size and (numbers == numbers[0]).all() else None


def result_changed(parts: Sequence[Part]) -> str:
    """Return what was done to a right value, in all attempts, in words, or an empty text."""
    for words, change in OF_RESULTS.items():
        changed = [_tried(change, part.expected) for part in parts]
        if all(
            value is not None and _same(part, value)
            for part, value in zip(parts, changed, strict=True)
        ):
            return words
    return ""


def _same(part: Part, value: Any) -> bool:
    got, value = np.asarray(part.got), np.asarray(value)
    if got.shape != value.shape or (got.dtype.kind == "b") != (value.dtype.kind == "b"):
        return False
    if got.dtype.kind == "b":
        return bool(np.array_equal(got, value))
    scale = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
    return bool(np.allclose(got, value, rtol=0, atol=1e-9 * scale, equal_nan=True))


def added(attempts: Sequence[Attempt], parts: Sequence[Part]) -> str:
    """Return which argument is added to a right value, with its factor in words, if one is.

    A vector is added to each row.
    """
    for name, value in attempts[0].arguments.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.ndarray):
            continue
        if isinstance(parts[0].expected, bool):
            return ""
        factors = []
        for one, part in zip(attempts, parts, strict=True):
            argument = np.asarray(one.arguments[name])
            rest = np.asarray(part.got) - np.asarray(part.expected, np.float64)
            if argument.dtype.kind not in "if" or argument.shape != rest.shape[-argument.ndim :]:
                break
            if argument.ndim == 0 and rest.ndim:
                break
            argument = np.broadcast_to(argument, rest.shape)
            square = float(np.vdot(argument, argument))
            factor = float(np.vdot(rest, argument)) / square if square else 0.0
            if not factor or not np.allclose(rest, factor * argument, rtol=0, atol=1e-8):
                break
            factors.append(factor)
        if len(factors) == len(attempts):
            how = "plus" if factors[0] > 0 else "minus"
            size = formula_of(attempts, np.abs(factors))
            if size:
                return f"{how} {name}" if size == "1" else f"{how} {size} times {name}"
    return ""


def quantities(one: Attempt) -> dict[str, float]:
    """Return the numbers that a factor may be made of: sides, numbers, norms, by their names."""
    found: dict[str, float] = {}
    norms: dict[str, float] = {}
    for name, value in one.arguments.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            found[name] = float(value)
        elif isinstance(value, list):
            found[f"len({name})"] = float(len(value))
        elif isinstance(value, np.ndarray):
            found[f"len({name})"] = float(len(value))
            if value.ndim == 2:
                found[f"{name}.shape[1]"] = float(value.shape[1])
            norms[f"norm({name})"] = float(np.linalg.norm(value))
    named = {
        name: value for name, value in one.exercise.factors(one.arguments).items() if value > 0
    }
    return found | named | norms


def formula_of(attempts: Sequence[Attempt], ratios: Any) -> str:
    """Return a formula for a positive number of each attempt, or an empty text."""
    if np.allclose(ratios, ratios[0], rtol=1e-9, atol=0):
        return f"{ratios[0]:.6g}"
    each = [quantities(one) for one in attempts]
    table = {name: np.array([found.get(name, np.nan) for found in each]) for name in each[0]}
    for name, q in table.items():
        forms = {
            "{}": q, "1/{}": 1 / q, "sqrt({})": q**0.5, "1/sqrt({})": q**-0.5, "{}**2": q**2,
            "{}/({} - 1)": q / (q - 1), "({} - 1)/{}": (q - 1) / q,
        }  # fmt: skip
        for form, values in forms.items():
            if np.allclose(ratios, values, rtol=1e-7, atol=0):
                return form.replace("{}", name)
    for (name, p), (other, q) in permutations(table.items(), 2):
        if np.allclose(ratios, p / q, rtol=1e-7, atol=0):
            return f"{name}/{other}"
        if np.allclose(ratios, np.sqrt(p / q), rtol=1e-7, atol=0):
            return f"sqrt({name}/{other})"
    for name, q in table.items():  # a constant and a power of one quantity
        for form, values in {"{:.6g} times {}": q, "{:.6g} times sqrt({})": q**0.5,
                             "{:.6g}/{}": 1 / q, "{:.6g}/sqrt({})": q**-0.5}.items():  # fmt: skip
            constant = ratios / values
            enough = len(np.unique(values)) > 2  # two sizes may go with anything
            if enough and np.allclose(constant, constant[0], rtol=1e-7, atol=0):
                return form.format(constant[0], name)
    return ""
