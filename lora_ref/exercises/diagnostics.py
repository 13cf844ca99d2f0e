"""What can be wrong with an answer: one look after another, each with a name and a sentence."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.exercises.attempt import (
    Trial,
    a_type,
    call,
    close,
    error_of,
    fault_of_kind,
    message_of,
    trial,
)
from lora_ref.exercises.exercise import Answer, Exercise

Diagnosis = tuple[str, str]
"""The name of what is wrong, and what is said."""


def is_nothing(value: object) -> bool:
    """Return whether a function returned nothing, or the three dots of its body."""
    return value is None or value is Ellipsis


def _raises(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    failed = [(one, one.error) for one in made if one.error is not None]
    if not failed:
        return None
    slip = _slip(exercise, made)
    if slip is not None:
        return slip
    one, error = failed[0]
    raised = f"it raises {message_of(error)}{_some(failed, made)}, with {one.where}"
    squares = [each.square for each, _ in failed if each.square is not None]
    if squares and all(is_right(exercise, square.got, square) for square in squares):
        return "square-only", f"{raised}. Where all sides are equal, it would be right."
    return "raises", f"{raised}."


def _changes_input(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    for one in made:
        if one.changed:
            names = " and ".join(one.changed)
            return (
                "changed-input",
                f"you changed the input {names}: whoever calls you still needs it. "
                "Make something new, without +=, pop, sort or assigning to entries.",
            )
    return None


def _is_another_kind(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    nothing = [one for one in made if is_nothing(one.got)]
    if nothing:
        some = _some(nothing, made)
        return "returns-nothing", (
            f"it returns nothing{some}, with {nothing[0].where}: a return is missing."
        )
    faults = [(one, _fault(exercise, one)) for one in made]
    faulty = [(one, fault) for one, fault in faults if fault]
    if faulty:
        one, fault = faulty[0]
        some = _some(faulty, made)
        return "kind", f"{fault}{some}, with {one.where}." if some else f"{fault}."
    for one in made:
        got, expected, _ = _seen(exercise, one)
        for _, part, wanted in _parts(exercise, got, expected):
            values = np.asarray(part)
            if values.shape != np.shape(wanted) or values.dtype.kind != "f":
                continue  # a shape of its own is told further down, and may be huge
            if not np.isfinite(values).all():
                at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                place = f" at {at}" if at else ""
                return "not-finite", f"it gives {values[at]}{place}, with {one.where}."
    return None


def _some(few: Sequence[object], all_of_them: Sequence[object]) -> str:
    """Return `` in 2 of 6 draws``, or nothing where it is all of them."""
    return "" if len(few) == len(all_of_them) else f" in {len(few)} of {len(all_of_them)} draws"


def _fault(exercise: Exercise, one: Trial) -> str:
    got, expected, fault = _seen(exercise, one)
    return fault or _fault_of_parts(got, expected)


def _is_known(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    if all(is_right(exercise, one.got, one) for one in made):
        return None
    return _slip(exercise, made)


def _has_another_shape(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    for one in made:
        got, expected, _ = _seen(exercise, one)
        for name, a, b in _parts(exercise, got, expected):
            if np.shape(a) == np.shape(b):
                continue
            if np.ndim(a) == 2 and np.shape(a) == np.shape(b)[::-1]:
                if all(_is_transposed(exercise, each) for each in made):
                    return "transpose", f"{name}this is the transpose of the right answer."
                return (
                    "shape-transposed",
                    f"{name}shape {np.shape(a)}, expected {np.shape(b)}: the axes are exchanged, "
                    "and that is not all.",
                )
            return (
                "shape",
                f"{name}shape {np.shape(a)}, expected {np.shape(b)}, with {one.where}. "
                "Nothing is broadcast here.",
            )
    return None


def _is_transposed(exercise: Exercise, one: Trial) -> bool:
    got, expected, _ = _seen(exercise, one)
    return all(
        close(np.asarray(a).T if np.ndim(a) == 2 and np.shape(a) != np.shape(b) else a, b,
              exercise.tolerance)
        for _, a, b in _parts(exercise, got, expected)
    )  # fmt: skip


def _is_off_by_a_factor(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    for index, name in _wrong_parts(exercise, made):
        ratios = [_ratio(exercise, one, index) for one in made]
        known = [ratio for ratio in ratios if ratio is not None]
        if len(known) < len(ratios) or not known or np.allclose(known, 1, rtol=1e-6):
            continue
        for factor in _factors(exercise, made[0]):
            values = [_factors(exercise, one)[factor] for one in made]
            slug = factor.replace(" ", "")
            if np.allclose(known, values, rtol=1e-7):
                if factor == "-1":
                    return "sign", f"{name}right but for the sign."
                return (
                    f"times-{slug}",
                    f"{name}right up to the factor {factor}: yours is {factor} times the right "
                    "answer.",
                )
            if np.allclose(known, 1 / np.asarray(values), rtol=1e-7):
                return (
                    f"over-{slug}",
                    f"{name}right up to the factor {factor}: the right answer is {factor} times "
                    "yours.",
                )
        if np.allclose(known, known[0], rtol=1e-7):
            return "factor", f"{name}right up to a factor: yours is {known[0]:.6g} times as large."
        if np.size(_part(exercise, made[0], index)[1]) > 1:
            some = ", ".join(f"{ratio:.4g}" for ratio in known[:3])
            return (
                "factor-varies",
                f"{name}right up to a factor that differs from draw to draw: {some} ...",
            )
    return None


def _is_right_for_one_row(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    if not exercise.batched:
        return None
    single = [is_right(exercise, one.got, one) for one in made if one.n == 1]
    several = [is_right(exercise, one.got, one) for one in made if one.n > 1]
    if all(single) and not any(several) and _is_right_row_by_row(exercise, made[0]):
        return "batch-of-one", "right only for batch size 1; with more rows it is not."
    return None


def _is_right_row_by_row(exercise: Exercise, one: Trial) -> bool:
    """Return whether the answer is right for each row of a batch, given alone."""
    batch = [name for name in ("x", "grad_y", "task") if name in one.arguments]
    for n in range(one.n):
        arguments = dict(one.arguments)
        for name in batch:
            arguments[name] = arguments[name][n : n + 1]
        alone = trial(one.function, arguments, exercise, 1)
        if alone.error is not None or not is_right(exercise, alone.got, alone):
            return False
    return True


def _is_rounded(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    errors = []
    for one in made:
        got, expected, _ = _seen(exercise, one)
        for _, a, b in _parts(exercise, got, expected):
            if np.asarray(b).dtype.kind != "f" or (np.any(a) and not np.any(b)):
                return None  # what should be zero, and is not, is no matter of digits
            errors.append(error_of(a, b))
    if exercise.tolerance < max(errors) < 1e-4:
        return (
            "precision",
            f"right to {-np.log10(max(errors)):.0f} digits only, with float64 numbers. "
            "Is something rounded, in float32, or a difference quotient?",
        )
    return None


def _is_wrong(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    wrong = [one for one in made if not is_right(exercise, one.got, one)]
    if not wrong:
        return None
    one = wrong[0]
    got, expected, _ = _seen(exercise, one)
    right = len(made) - len(wrong)
    some = f"right in {right} of {len(made)} draws; " if right else ""
    for name, a, b in _parts(exercise, got, expected):
        if close(a, b, exercise.tolerance):
            continue
        a, b = np.asarray(a), np.asarray(b)
        at = np.unravel_index(int(np.argmax(np.abs(a - b * 1.0))), b.shape)
        place = f"at {tuple(int(i) for i in at)} " if b.ndim else ""
        return (
            "sometimes-right" if some else "value",
            f"{some}{name}{place}you have {_text(a[at])}, the specification {_text(b[at])}, "
            f"with {one.where}.",
        )
    return "value", f"{some}another value than the specification's, with {one.where}."


LOOKS: tuple[Callable[[Exercise, Sequence[Trial]], Diagnosis | None], ...] = (
    _raises,
    _changes_input,
    _is_known,
    _is_another_kind,
    _has_another_shape,
    _is_off_by_a_factor,
    _is_right_for_one_row,
    _is_rounded,
    _is_wrong,
)
"""In the order in which they speak: the first that finds something is heard."""


# -------------------------------------------------------------------------------------- the parts


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool):
        return str(bool(value))
    return str(int(value)) if isinstance(value, int | np.integer) else f"{value:.6g}"


def _slip(exercise: Exercise, made: Sequence[Trial]) -> Diagnosis | None:
    """Return the known wrong answer that does, in every draw, what the function does."""
    for slip in exercise.slips:
        if all(_does_the_same(exercise, slip.answer, one) for one in made):
            return slip.name, slip.says
    return None


def _does_the_same(exercise: Exercise, wrong: Answer, one: Trial) -> bool:
    value, error, _ = call(wrong, one.arguments)
    if error is not None or one.error is not None:
        if error is None or one.error is None or message_of(error) != message_of(one.error):
            return False
        # many mistakes raise the same error; where all sides are equal, they differ
        return one.square is None or _does_the_same(exercise, wrong, one.square)
    try:
        seen, got = exercise.view(value), exercise.view(one.got)
    except LoraRefError:
        return False
    return close(got, seen, exercise.tolerance)


def _seen(exercise: Exercise, one: Trial) -> tuple[Any, Any, str]:
    """Return what is compared of an answer and of the specification's, and a fault of the first."""
    try:
        return exercise.view(one.got), exercise.view(one.expected), ""
    except LoraRefError as error:
        return one.got, one.expected, str(error)


def is_right(exercise: Exercise, got: Any, one: Trial, *, tolerance: float | None = None) -> bool:
    """Return whether an answer is that of the specification for the arguments of a trial."""
    try:
        return close(
            exercise.view(got), exercise.view(one.expected), tolerance or exercise.tolerance
        )
    except LoraRefError:
        return False


def _fault_of_parts(got: Any, expected: Any) -> str:
    if not isinstance(expected, tuple):
        return fault_of_kind(got, expected)
    if not isinstance(got, tuple) or len(got) != len(expected):
        number = f" of {len(got)}" if isinstance(got, tuple) else ""
        return (
            f"it returns {a_type(got)}{number}, expected {len(expected)} values: return one, other"
        )
    faults = (fault_of_kind(a, b) for a, b in zip(got, expected, strict=True))
    return next((fault for fault in faults if fault), "")


def _parts(exercise: Exercise, got: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the values that are compared, each with the beginning of a sentence about it."""
    if not isinstance(expected, tuple):
        yield exercise.viewed, got, expected
        return
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        yield f"value {i + 1} of {len(expected)}: ", a, b


def _part(exercise: Exercise, one: Trial, index: int) -> tuple[Any, Any]:
    got, expected, _ = _seen(exercise, one)
    _, a, b = list(_parts(exercise, got, expected))[index]
    return a, b


def _wrong_parts(exercise: Exercise, made: Sequence[Trial]) -> Iterator[tuple[int, str]]:
    got, expected, _ = _seen(exercise, made[0])
    for index, (name, _, _) in enumerate(_parts(exercise, got, expected)):
        pairs = [_part(exercise, one, index) for one in made]
        if not all(close(a, b, exercise.tolerance) for a, b in pairs):
            yield index, name


def _ratio(exercise: Exercise, one: Trial, index: int) -> float | None:
    """Return the number by which an answer is off, or None where it is off otherwise."""
    a, b = (np.asarray(part, np.float64) for part in _part(exercise, one, index))
    square = float(np.vdot(b, b))
    if square == 0 or isinstance(one.expected, bool):
        return None
    ratio = float(np.vdot(a, b)) / square
    return ratio if ratio and error_of(a, ratio * b) <= 1e-8 * abs(ratio) else None


def _factors(exercise: Exercise, one: Trial) -> dict[str, float]:
    batch = {"n": float(one.n)} if exercise.batched else {}
    return {**exercise.factors(one.arguments), **batch, "2": 2.0, "-1": -1.0}
