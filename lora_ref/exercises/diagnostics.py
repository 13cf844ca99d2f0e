"""Diagnoses: each looks for one kind of mistake in the attempts at an exercise, and names it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.exercises.attempt import (
    Attempt,
    Case,
    Part,
    attempt,
    message_of,
)
from lora_ref.exercises.comparison import close, relative_error
from lora_ref.exercises.exercise import Answer
from lora_ref.exercises.one_change import (
    added,
    always_the_same,
    argument_changed,
    formula_of,
    result_changed,
)
from lora_ref.exercises.where_right import in_common

Diagnosis = tuple[str, str]
"""The name of a result, and the message to the student."""


WHY_NAN = " The root of a negative number is nan, and so is 0/0; a division by 0 is an infinity."


def returned_nothing(value: object) -> bool:
    """Return whether a value is None, or the three dots of an empty body."""
    return value is None or value is Ellipsis


def _raises(attempts: Sequence[Attempt]) -> Diagnosis | None:
    failed = [(one, one.error) for one in attempts if one.error is not None]
    if not failed:
        return None
    known = _same_as_a_wrong_answer(attempts)
    if known is not None:
        return known
    one, error = failed[0]
    message = f"it raises {message_of(error)}{_how_many(failed, attempts)}, with {one.where}"
    squares = [each.square for each, _ in failed if each.square is not None]
    if squares and all(square.right for square in squares):
        return "square-only", f"{message}. Where all sides are equal, it would be right."
    return "raises", f"{message}."


def _changes_input(attempts: Sequence[Attempt]) -> Diagnosis | None:
    changed = next((one.changed for one in attempts if one.changed), ())
    if not changed:
        return None
    inputs, them = ("input", "it") if len(changed) == 1 else ("inputs", "them")
    return "changed-input", (
        f"you changed the {inputs} {' and '.join(changed)}: the caller still needs {them}. "
        "Make something new: +=, *=, sort and assigning to entries change what the caller has."
    )


def _is_known(attempts: Sequence[Attempt]) -> Diagnosis | None:
    return None if all(one.right for one in attempts) else _same_as_a_wrong_answer(attempts)


def _is_of_another_type(attempts: Sequence[Attempt]) -> Diagnosis | None:
    nothing = [one for one in attempts if returned_nothing(one.got)]
    if nothing:
        how_many = _how_many(nothing, attempts)
        return "returns-nothing", (
            f"it returns nothing{how_many}, with {nothing[0].where}: a return is missing."
        )
    faulty = [one for one in attempts if one.fault]
    if faulty:
        how_many = _how_many(faulty, attempts)
        where = f"{how_many}, with {faulty[0].where}" if how_many else ""
        return "kind", f"{faulty[0].fault}{where}."
    return None


def _is_not_finite(attempts: Sequence[Attempt]) -> Diagnosis | None:
    for one in attempts:
        for part in one.parts:
            values = np.asarray(part.got)
            if values.shape != np.shape(part.expected) or values.dtype.kind != "f":
                continue  # another shape has a diagnosis of its own, and may be huge
            if not np.isfinite(values).all():
                at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                place = f" at {at}" if at else ""
                return "not-finite", f"it gives {values[at]}{place}, with {one.where}.{WHY_NAN}"
    return None


def _has_another_shape(attempts: Sequence[Attempt]) -> Diagnosis | None:
    for one in attempts:
        for part in one.parts:
            got, expected = np.shape(part.got), np.shape(part.expected)
            if got == expected:
                continue
            shapes = f"{part.prefix}shape {got}, expected {expected}"
            if len(got) != 2 or got != expected[::-1]:
                return "shape", f"{shapes}, with {one.where}. Nothing is broadcast here."
            if all(_is_transposed(part) for each in attempts for part in each.parts):
                return "transpose", f"{part.prefix}this is the transpose of the right answer."
            message = f"{shapes}: the axes are exchanged, and that is not all."
            return "shape-transposed", message
    return None


def _is_transposed(part: Part) -> bool:
    """Return whether a part is right once a matrix of the wrong shape is transposed."""
    exchanged = np.ndim(part.got) == 2 and np.shape(part.got) != np.shape(part.expected)
    return part._replace(got=np.asarray(part.got).T).right if exchanged else part.right


def _is_off_by_a_factor(attempts: Sequence[Attempt]) -> Diagnosis | None:
    for parts in zip(*(one.parts for one in attempts), strict=True):  # one value in all attempts
        if found := _factor_of(parts, attempts):
            name, message = found
            return name, f"{parts[0].prefix}{message}{_also_wrong(parts, attempts)}"
    return None


def _factor_of(parts: Sequence[Part], attempts: Sequence[Attempt]) -> Diagnosis | None:
    ratios = [_ratio(part) for part in parts]
    known = [ratio for ratio in ratios if ratio is not None]
    if (
        all(part.right for part in parts)
        or len(known) < len(ratios)
        or np.allclose(known, 1, rtol=1e-6)
    ):
        return None
    for name in _factors(attempts[0]):
        factors = np.array([_factors(one)[name] for one in attempts])
        short = name.replace(" ", "")
        if np.allclose(known, factors, rtol=1e-7):
            if name == "-1":
                return "sign", "right but for the sign."
            return f"times-{short}", (
                f"right up to the factor {name}: yours is {name} times the right answer."
            )
        if np.allclose(known, 1 / factors, rtol=1e-7):
            return f"over-{short}", (
                f"right up to the factor {name}: the right answer is {name} times yours."
            )
    if np.allclose(known, known[0], rtol=1e-7):
        return "factor", f"right up to a factor: yours is {known[0]:.6g} times as large."
    if min(known) > 0 and (formula := formula_of(attempts, np.array(known))):
        return "named-factor", (f"right up to a factor: yours is {formula} times the right answer.")
    if np.size(parts[0].expected) > 1:
        some = ", ".join(f"{ratio:.4g}" for ratio in known[:3])
        return "factor-varies", (
            f"right up to a factor that differs from one input to the next: {some} ..."
        )
    return None


def _also_wrong(parts: Sequence[Part], attempts: Sequence[Attempt]) -> str:
    """Say which other values of the answer are wrong, if any."""
    wrong = {
        part.prefix.removesuffix(": ")
        for one in attempts
        for part in one.parts
        if not part.right and part.prefix != parts[0].prefix
    }
    return (
        f" ({' and '.join(sorted(wrong))} {'is' if len(wrong) == 1 else 'are'} wrong too.)"
        * bool(wrong)
    )


def _ratio(part: Part) -> float | None:
    """Return the factor by which a value is off, or None where it is off otherwise."""
    if isinstance(part.expected, bool):
        return None
    a, b = np.asarray(part.got, np.float64), np.asarray(part.expected, np.float64)
    square = float(np.vdot(b, b))
    ratio = float(np.vdot(a, b)) / square if square else 0.0
    return ratio if ratio and relative_error(a, ratio * b) <= 1e-8 * abs(ratio) else None


def _factors(one: Attempt) -> dict[str, float]:
    batch = {"n": float(one.n)} if one.exercise.batched else {}
    return {**one.exercise.factors(one.arguments), **batch, "2": 2.0, "-1": -1.0}


def _has_its_parts_exchanged(attempts: Sequence[Attempt]) -> Diagnosis | None:
    names = attempts[0].exercise.values
    for order in [*permutations(range(len(names)))][1:]:
        if all(
            close(
                tuple(one.parts[i].got for i in order), tuple(p.expected for p in one.parts), 1e-6
            )
            for one in attempts
            if one.parts
        ):
            given = [names[order.index(i)] for i in range(len(names))]
            return "order", f"this returns {', '.join(given)}; expected {', '.join(names)}."
    return None


def _is_right_but_for_one_change(attempts: Sequence[Attempt]) -> Diagnosis | None:
    if all(one.right for one in attempts):
        return None
    same = always_the_same(attempts)
    if same is not None:
        return "constant", f"it gives {_text(same)} throughout, whatever the arguments are."
    if words := argument_changed(attempts):
        return "other-argument", f"this is the right answer with {words}."
    for parts in zip(*(one.parts for one in attempts), strict=True):
        if all(part.right for part in parts):
            continue
        if words := result_changed(parts):
            return "changed-result", f"{parts[0].prefix}this is {words}."
        if words := added(attempts, parts):
            return "added", f"{parts[0].prefix}this is the right answer, {words}."
    return None


def _is_right_for_one_row(attempts: Sequence[Attempt]) -> Diagnosis | None:
    if not attempts[0].exercise.batched or any(one.right != (one.n == 1) for one in attempts):
        return None
    first = attempts[0]
    names = {"x", "mask", "grad_y", "task"} & first.arguments.keys()
    for row in range(first.n):
        alone = {name: first.arguments[name][row : row + 1] for name in names}
        if not attempt(first.function, Case(first.exercise, {**first.arguments, **alone}, 1)).right:
            return None  # it is not the batch that makes it wrong
    return "batch-of-one", "right only for batch size 1; with more rows it is not."


def _is_rounded(attempts: Sequence[Attempt]) -> Diagnosis | None:
    parts = [part for one in attempts for part in one.parts]
    for part in parts:
        is_float = np.asarray(part.expected).dtype.kind == "f"
        if not is_float or (np.any(part.got) and not np.any(part.expected)):
            return None  # what should be zero and is not has no right digits
    if all(part.right for part in parts):
        return None
    error = max(relative_error(part.got, part.expected) for part in parts)
    if not attempts[0].exercise.tolerance < error < 1e-4:
        return None
    return "precision", (
        f"right to {-np.log10(error):.0f} digits only, with float64 numbers. "
        "Is something rounded, in float32, or a difference quotient?"
    )


def _is_wrong(attempts: Sequence[Attempt]) -> Diagnosis | None:
    wrong = [one for one in attempts if not one.right]
    if not wrong:
        return None
    one, right = wrong[0], [each for each in attempts if each.right]
    part = next(part for part in one.parts if not part.right)
    a, b = np.asarray(part.got), np.asarray(part.expected)
    at = np.unravel_index(int(np.argmax(np.abs(a - b * 1.0))), b.shape)
    place = f"at {tuple(int(i) for i in at)} " if b.ndim else ""
    expected = "0 throughout" if b.ndim and not b.any() else _text(b[at])
    yours = f"{part.prefix}{place}you have {_text(a[at])}, the specification {expected}"
    if not right:
        return "value", f"{yours}, with {one.where}.{_also_wrong([part], wrong)}"
    common = in_common(right, wrong)
    special = f" {common}" if common else ""
    return "sometimes-right", (
        f"right for {len(right)} of {len(attempts)} inputs, such as {right[0].where}.{special} "
        f"With {one.where}, {yours}."
    )


DIAGNOSES: tuple[Callable[[Sequence[Attempt]], Diagnosis | None], ...] = (
    _raises,
    _changes_input,
    _is_known,
    _is_of_another_type,
    _is_not_finite,
    _has_its_parts_exchanged,
    _has_another_shape,
    _is_off_by_a_factor,
    _is_right_but_for_one_change,
    _is_right_for_one_row,
    _is_rounded,
    _is_wrong,
)
"""Tried in this order; the first diagnosis is reported."""


def _same_as_a_wrong_answer(attempts: Sequence[Attempt]) -> Diagnosis | None:
    """Return the known wrong answer that does the same for every input."""
    for name, wrong in attempts[0].exercise.wrong_answers.items():
        if all(_does_the_same(one, wrong.answer) for one in attempts):
            return name, wrong.message
    return None


def _does_the_same(one: Attempt, answer: Answer) -> bool:
    other = _of_a_wrong_answer(answer, one.case)
    if other.error is not None or one.error is not None:
        if other.error is None or one.error is None:
            return False
        if message_of(other.error) != message_of(one.error):
            return False
        # many mistakes raise the same error; where all sides are equal, they differ
        return one.square is None or _does_the_same(one.square, answer)
    try:
        return close(*_without_nan(one.value, other.value), one.tolerance)
    except LoraRefError:
        return False


@lru_cache(maxsize=1024)
def _of_a_wrong_answer(answer: Answer, case: Case) -> Attempt:
    """Return what a known wrong answer gives, kept for the next student's answer."""
    return attempt(answer, case)


def _without_nan(one: Any, other: Any) -> tuple[Any, Any]:
    """Return two numbers, both of them 0.0 where both are no numbers: then they are the same."""
    both = isinstance(one, float) and isinstance(other, float) and one != one and other != other
    return (0.0, 0.0) if both else (one, other)


def _how_many(few: Sequence[object], attempts: Sequence[Attempt]) -> str:
    """Return `` for 2 of 6 inputs``, or nothing where it is all of them."""
    return "" if len(few) == len(attempts) else f" for {len(few)} of {len(attempts)} inputs"


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool):
        return str(bool(value))
    return str(int(value)) if isinstance(value, int | np.integer) else f"{value:.6g}"
