"""Exercises of notebook 13: whether a printed number is right, and which rank it belongs to."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import ceil, floor

import numpy as np

from lora_ref.exercises.exercise import Answer, Arguments, Exercise, WrongAnswer

Shapes = list[tuple[int, int]]


def _agrees(printed: str, value: Fraction) -> bool:
    decimals = 0
    for position, character in enumerate(printed):
        if character == ".":
            decimals = len(printed) - position - 1
    unit = Fraction(1)
    for _ in range(decimals):
        unit = unit / 10
    # no neighbour with as many decimals lies nearer to the value
    distances = []
    for k in (-1, 0, 1):
        distances.append(abs(Fraction(printed) + k * unit - value))
    return distances[1] == min(distances)


CASES = (
    (2, "1/2", "++"), (2, "-1/2", "++"), (1, "-1/2", "--"), (1, "1/2", "++"), (0, "1/2", "--"),
    (3, "-1/2", "++"), (6, "1/2", "--"), (2, "0", "++"), (1, "1/2000", "++"), (0, "-1/10", "--"),
    (1, "3/20", "++"), (1, "3/10", "--"), (3, "-3/10", "++"), (6, "2/5", "--"), (3, "11/20", "++"),
    (6, "-3/5", "--"), (2, "7/10", "++"), (1, "-7/10", "--"), (3, "9", "++"), (2, "-9", "--"),
    (2, "0", "--"), (1, "0", "-+"), (2, "0", "+-"), (3, "1/4", "-+"),
    (0, "0", "++"), (1, "0", "--"), (3, "0", "++"), (0, "1/2", "++"),
)  # fmt: skip
"""For each call: the decimals, how many units of the last one the value is off, both signs."""


def _draw_printed(rng: np.random.Generator, n: int) -> Arguments:
    decimals, off, signs = CASES[n]
    unit = Fraction(1, 10**decimals)
    while True:
        number = int(rng.integers(2 * 10**decimals, 5 * 10**decimals))
        value = (number + Fraction(off)) * unit * int(f"{signs[1]}1")
        printed = f"{number // 10**decimals}"
        if decimals:
            printed += f".{number % 10**decimals:0{decimals}}"
        printed = printed if signs[0] == "+" else f"-{printed}"
        in_floats = _in_floats(printed, value)
        # at an end of the interval floats may go either way, and rounding half to even accepts
        # one end in two; so both outcomes are among the calls
        if n == 16 and number % 10:  # a zero at the end is a digit too
            continue
        if in_floats == {0: False, 1: True}.get(n, in_floats) and (
            off == "0" or number % 2 == n % 2
        ):
            return {"printed": printed, "value": value}


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _unit(printed: str) -> Fraction:
    return Fraction(1, 10 ** _decimals(printed))


def _in_floats(printed: str, value: Fraction) -> bool:
    return abs(float(printed) - float(value)) <= 0.5 * float(_unit(printed))


def _distance(printed: str, value: Fraction) -> Fraction:
    return abs(Fraction(printed) - value)


def _cut(printed: str, value: Fraction) -> bool:
    return int(value / _unit(printed)) * _unit(printed) == Fraction(printed)


def _with_two_decimals(printed: str, value: Fraction) -> bool:
    return _decimals(printed) == 2 and round(value, 2) == Fraction(printed)


def _with_decimals(decimals: Callable[[str], int]) -> Answer:
    """Return the right answer, but for the number of decimals."""
    return lambda printed, value: (
        2 * _distance(printed, value) <= Fraction(1, 10 ** decimals(printed))
    )


TIES = (
    "Python rounds a tie to the even digit, and so refuses a value exactly half a unit away in one "
    "case of two. A text may round it either way."
)
TWO = (
    "this writes two decimals whatever the text has. Its own digits say how exact it means to be, "
    "and a tie may be rounded either way."
)


def _about_a_tie(arguments: Arguments) -> list[str]:
    """Return what may decide about a printed number and a value."""
    printed, value = arguments["printed"], arguments["value"]
    off = value - Fraction(printed)
    side = f"half a unit {'above' if off > 0 else 'below'} the printed number"
    ends = [f"value is exactly {side}"] * (2 * abs(off) == _unit(printed))
    return [*ends, *["printed has no point"] * ("." not in printed)]


AGREES = Exercise(
    "13",
    "whether a printed number is the computed one",
    "printed is a number as a text prints it, such as '0.50', '-2.5' or '3'; value is the\n"
    "computed one, a Fraction. Return whether value lies within half a unit of the last printed\n"
    "digit, both ends included. Fraction('0.50') is 1/2, exactly.",
    _agrees,
    _draw_printed,
    {
        "half-to-even": WrongAnswer(
            TIES,
            lambda printed, value: round(value, _decimals(printed)) == Fraction(printed),
        ),
        "half-to-even-in-floats": WrongAnswer(
            f"{TIES} And in floats a tie may not be one.",
            lambda printed, value: round(float(value), _decimals(printed)) == float(printed),
        ),
        "formatted-to-two": WrongAnswer(TWO, _with_two_decimals),
        "formatted-to-two-in-floats": WrongAnswer(
            TWO, lambda printed, value: f"{float(value):.2f}" == printed
        ),
        "rounded-to-two": WrongAnswer(
            TWO, lambda printed, value: round(value, 2) == Fraction(printed)
        ),
        "rounded-to-two-in-floats": WrongAnswer(
            TWO, lambda printed, value: round(float(value), 2) == float(printed)
        ),
        "rounded-to-two-against-a-float": WrongAnswer(
            f"{TWO} And a Fraction is seldom equal to a float.",
            lambda printed, value: round(value, 2) == float(printed),
        ),
        "ends-excluded-in-floats": WrongAnswer(
            "a value exactly half a unit away should be accepted, and in floats the ends are not "
            "exactly where they should be.",
            lambda printed, value: (
                abs(float(printed) - float(value)) < 0.5 * 10.0 ** -_decimals(printed)
            ),
        ),
        "rounded-fraction-against-a-float": WrongAnswer(
            "a Fraction is compared with a float here: Fraction(1, 10) == 0.1 is False, because "
            "the float is not exactly one tenth. Make a Fraction of the text.",
            lambda printed, value: round(value, _decimals(printed)) == float(printed),
        ),
        "cut": WrongAnswer("the digits are cut off here, and not rounded.", _cut),
        "rounded-down": WrongAnswer(
            "the digits are cut off here, and not rounded.",
            lambda printed, value: value // _unit(printed) * _unit(printed) == Fraction(printed),
        ),
        "upper-end-excluded": WrongAnswer(
            "one of the two ends is refused: a value half a unit above, where a tie is rounded up.",
            lambda printed, value: (
                -_unit(printed) <= 2 * (value - Fraction(printed)) < _unit(printed)
            ),
        ),
        "lower-end-excluded": WrongAnswer(
            "one of the two ends is refused: a value half a unit below.",
            lambda printed, value: (
                -_unit(printed) < 2 * (value - Fraction(printed)) <= _unit(printed)
            ),
        ),
        "below-alone": WrongAnswer(
            "however far above the printed number, a value is accepted: the distance has a sign.",
            lambda printed, value: 2 * (Fraction(printed) - value) <= _unit(printed),
        ),
        "above-alone": WrongAnswer(
            "however far below the printed number, a value is accepted: the distance has a sign.",
            lambda printed, value: 2 * (value - Fraction(printed)) <= _unit(printed),
        ),
        "signs-lost": WrongAnswer(
            "-4.4 and 4.4 agree here: the signs of the two numbers are lost.",
            lambda printed, value: _distance(printed.lstrip("-"), abs(value)) <= _unit(printed) / 2,
        ),
        "point-counted": WrongAnswer(
            "the point is counted as a digit behind itself.",
            _with_decimals(
                lambda printed: len(printed) - printed.index(".") if "." in printed else 0
            ),
        ),
        "find-without-a-point": WrongAnswer(
            "a text without a point has no decimals, and here it gets some. (find gives -1 there.)",
            _with_decimals(lambda printed: len(printed) - printed.find(".") - 1),
        ),
        "all-digits": WrongAnswer(
            "far less than half a unit is allowed. Are all digits counted, or those behind the "
            "point alone?",
            _with_decimals(lambda printed: len(printed.replace(".", ""))),
        ),
        "zeros-lost": WrongAnswer(
            "the zeros at the end are lost, as by float(): 2.50 has two decimals, and 2.5 one.",
            _with_decimals(lambda printed: _decimals(str(float(printed)).rstrip("0"))),
        ),
        "decimals-of-the-float": WrongAnswer(
            "the decimals are those of a float: float('2.80') is 2.8, and float('3') is 3.0. Count "
            "them in the text, where a last zero is a digit.",
            _with_decimals(lambda printed: _decimals(str(float(printed)))),
        ),
        "half-a-unit-in-floats": WrongAnswer(
            "half a unit is a float somewhere, and 0.05 is no exact float.",
            lambda printed, value: (
                _distance(printed, value) <= Fraction(0.5 * 10 ** -_decimals(printed))
            ),
        ),
        "distance": WrongAnswer(
            "this is a number, the distance; expected True or False.", _distance
        ),
        "in-floats": WrongAnswer(
            "this compares floats, in which the ends are not exactly where they should be.",
            _in_floats,
        ),
        "ends-excluded": WrongAnswer(
            "a value exactly half a unit away is refused; it should be accepted, for a text may "
            "round it either way.",
            lambda printed, value: _distance(printed, value) < _unit(printed) / 2,
        ),
        "whole-unit": WrongAnswer(
            "a whole unit of the last digit is allowed, or more; rounding changes at most half of "
            "one.",
            lambda printed, value: _distance(printed, value) <= _unit(printed),
        ),
        "0.005-always": WrongAnswer(
            "0.005 is for two decimals; a text may print fewer or more.",
            lambda printed, value: _distance(printed, value) <= Fraction(1, 200),
        ),
        "0.005-always-in-floats": WrongAnswer(
            "0.005 is for two decimals; a text may print fewer or more. And in floats the ends are "
            "not exactly where they should be.",
            lambda printed, value: abs(float(printed) - float(value)) <= 0.005,
        ),
        "exactly-equal": WrongAnswer(
            "this asks for equality. 1.56 stands for 1.5625 too.",
            lambda printed, value: Fraction(printed) == value,
        ),
        "one-per-cent": WrongAnswer(
            "one per cent is a matter of taste; the printed digits say how exact the text is.",
            lambda printed, value: _distance(printed, value) <= abs(Fraction(printed)) / 100,
        ),
        "always": WrongAnswer(
            "this is always true; for some inputs, the numbers are far apart.",
            lambda printed, value: True,
        ),
        "never": WrongAnswer(
            "this is always false; for some inputs, the numbers are equal. Is a number compared "
            "with a text, or a Fraction with a float?",
            lambda printed, value: False,
        ),
    },
    special=_about_a_tie,
    batch_sizes=tuple(range(len(CASES))),
    folded=True,
    without=("for", "while"),
    question="for which values is '3' right, and for which is '3.00' right?",
    hints=(
        "How many digits stand behind the point? The text may have no point at all.",
        "Make fractions of the printed number and of half a unit of its last digit. Fractions are "
        "exact, and floats are not.",
        "The distance of two fractions is compared with another fraction; round nothing.",
    ),
    imports=("from fractions import Fraction",),
)


def _which_rank(printed: str, shapes: Shapes) -> int:
    unit, millions = Fraction(1), Fraction(0)
    for _ in printed.partition(".")[2]:
        unit = unit / 10
    r = 0
    while millions <= Fraction(printed):
        r += 1
        for out_features, in_features in shapes:
            millions += Fraction(in_features, 1_000_000)  # one more row of A
            millions += Fraction(out_features, 1_000_000)  # one more column of B
        distances = []
        for k in (-1, 0, 1):
            distances.append(abs(Fraction(printed) + k * unit - millions))
        if distances[1] == min(distances):
            return r
    return 0


def _draw_count(rng: np.random.Generator, n: int) -> Arguments:
    if n == 10:  # a rank is at least 1
        return {"printed": "0.00", "shapes": [(64, int(rng.integers(20, 40)))]}
    if n == 9:  # several ranks are right, and the first is not the one nearest to the number
        while True:
            shapes = [(int(rng.integers(600, 900)), int(rng.integers(600, 900)))] * 24
            printed = f"0.{rng.integers(3, 7)}"
            nearest = _nearest_rank(printed, _each(shapes))
            if _first_rank(shapes, partial(_near, printed)) < nearest < _last_rank(printed, shapes):
                return {"printed": printed, "shapes": shapes}
    if n in (4, 5):  # a tie, printed either way: 25,000 parameters at each rank
        return {"printed": {4: "0.12", 5: "0.13"}[n], "shapes": [(5000, 7500), (6000, 6500)]}
    decimals = {2: 1, 6: 3, 8: 0}.get(n, 2)
    unit = 10 ** (6 - decimals)
    while True:
        sides = rng.permutation(np.arange(24, 100))[:6] * {1: 1280, 0: 12_800}.get(decimals, 128)
        shapes = [(int(sides[i]), int(sides[i + 1])) for i in (0, 2, 4)]
        rank = int(rng.integers(3, 11)) if decimals else int(rng.integers(65, 90))
        count = Fraction(rank * _each(shapes), unit)
        off = count - round(count)
        # far enough apart that no printed number is right at two ranks
        if _each(shapes) > 4 * unit and Fraction(1, 10) < abs(off) < Fraction(2, 5):
            break
    value = round(count)
    if n == 3:  # half way between two ranks
        value = round(count + Fraction(_each(shapes), 2 * unit))
    if n == 7:  # on the other side: off by less than a unit, and more than half of one
        value += 1 if off > 0 else -1
    whole, behind = divmod(value, 10**decimals)
    printed = f"{whole}.{behind:0{decimals}}" if decimals else f"{whole}"
    return {"printed": printed, "shapes": shapes}


def _nearest_rank(printed: str, each: int) -> int:
    return round(Fraction(printed) * 1_000_000 / each)


def _each(shapes: Shapes) -> int:
    return sum(map(sum, shapes))


def _first_rank(shapes: Shapes, accepts: Callable[[Fraction], bool]) -> int:
    counts = ((r, Fraction(r * _each(shapes), 1_000_000)) for r in range(1, 99))
    return next((r for r, count in counts if accepts(count)), 0)


def _last_rank(printed: str, shapes: Shapes) -> int:
    return floor((Fraction(printed) + _unit(printed) / 2) * 1_000_000 / _each(shapes))


def _lowest(printed: str, shapes: Shapes) -> int:
    return ceil((Fraction(printed) - _unit(printed) / 2) * 1_000_000 / _each(shapes))


def _quotient(printed: str, shapes: Shapes) -> Fraction:
    return Fraction(printed) * 1_000_000 / _each(shapes)


def _near(printed: str, count: Fraction) -> bool:
    return 2 * _distance(printed, count) <= _unit(printed)


def _checked(printed: str, shapes: Shapes, r: int) -> int:
    """Return a rank where the printed number is right at it, and 0 elsewhere."""
    return r * _near(printed, Fraction(r * _each(shapes), 1_000_000))


WHICH_RANK = Exercise(
    "13",
    "the rank that a printed count belongs to",
    "A text says that LoRA on weights of these shapes, (out_features, in_features) each, trains\n"
    "`printed` million parameters, such as '0.39'. Return the smallest rank, from 1 on, at which\n"
    "it is right to half a unit of its last digit, both ends included: there may be several.\n"
    "Return 0 where it is right at no rank.",
    _which_rank,
    _draw_count,
    {
        "nearest": WrongAnswer(
            "this is the nearest rank; at that rank the printed number may be wrong. Then the "
            "answer is 0.",
            lambda printed, shapes: _nearest_rank(printed, _each(shapes)),
        ),
        "nearest-from-1": WrongAnswer(
            "this is the nearest rank; at that rank the printed number may be wrong. Then the "
            "answer is 0.",
            lambda printed, shapes: max(1, _nearest_rank(printed, _each(shapes))),
        ),
        "nearest-and-right": WrongAnswer(
            "where several ranks are right, this is the one nearest to the printed number; the "
            "smallest is asked for.",
            lambda printed, shapes: _checked(
                printed, shapes, _nearest_rank(printed, _each(shapes))
            ),
        ),
        "largest": WrongAnswer(
            "where several ranks are right, this is the largest of them; the smallest is asked "
            "for.",
            lambda printed, shapes: _checked(printed, shapes, _last_rank(printed, shapes)),
        ),
        "below-1": WrongAnswer(
            "this is a rank below 1 where the printed number is 0.00. Ranks start at 1.",
            lambda printed, shapes: _lowest(printed, shapes) if _which_rank(printed, shapes) else 0,
        ),
        "rank-below": WrongAnswer(
            "this rounds down; the text may have rounded its number down, too.",
            lambda printed, shapes: int(Fraction(printed) * 1_000_000 // _each(shapes)),
        ),
        "half-to-even": WrongAnswer(
            TIES,
            lambda printed, shapes: _first_rank(
                shapes, lambda count: round(count, _decimals(printed)) == Fraction(printed)
            ),
        ),
        "whole-unit": WrongAnswer(
            "a whole unit of the last digit is allowed; rounding changes at most half of one.",
            lambda printed, shapes: _first_rank(
                shapes, lambda count: _distance(printed, count) <= _unit(printed)
            ),
        ),
        "two-decimals-always": WrongAnswer(
            "0.005 is for two decimals; a text may print fewer or more.",
            lambda printed, shapes: _first_rank(
                shapes, lambda count: _distance(printed, count) <= Fraction(1, 200)
            ),
        ),
        "always-0": WrongAnswer(
            "this finds no rank, and for some inputs there is one. Each rank counts both sides of "
            "each weight once, it need not be a power of 2, and a million is 1,000,000. A text "
            "rounds, so its number is seldom exactly the count.",
            lambda printed, shapes: _first_rank(shapes, lambda count: count == Fraction(printed)),
        ),
        "one-weight": WrongAnswer(
            "only the first weight is counted.",
            lambda printed, shapes: _nearest_rank(printed, sum(shapes[0])),
        ),
        "not-divided": WrongAnswer(
            "this is the printed count in whole parameters, and not a rank.",
            lambda printed, shapes: int(Fraction(printed) * 1_000_000),
        ),
        "one-too-small": WrongAnswer(
            "every rank is one too small: ranks are counted from 1.",
            lambda printed, shapes: (
                _which_rank(printed, shapes) - (_which_rank(printed, shapes) > 0)
            ),
        ),
        "rounded-down": WrongAnswer(
            "the quotient is cut off; the nearest rank may be the one above.",
            lambda printed, shapes: _checked(printed, shapes, int(_quotient(printed, shapes))),
        ),
        "rounded-up": WrongAnswer(
            "the quotient is rounded up; the nearest rank may be the one below.",
            lambda printed, shapes: _checked(printed, shapes, ceil(_quotient(printed, shapes))),
        ),
        "mebi": WrongAnswer(
            "a million is 1,000,000, not 2**20.",
            lambda printed, shapes: _first_rank(
                shapes, lambda count: _near(printed, count * 10**6 / 2**20)
            ),
        ),
        "A-alone": WrongAnswer(
            "only A is counted.",
            lambda printed, shapes: _which_rank(printed, [(0, in_) for _, in_ in shapes]),
        ),
        "not-above-64": WrongAnswer(
            "ranks are looked for up to 64; a text may have a larger one.",
            lambda printed, shapes: (r := _which_rank(printed, shapes)) * (r <= 64),
        ),
        "point-expected": WrongAnswer(
            "a text may have no point, and then nothing stands behind it.",
            lambda printed, shapes: printed.split(".")[1] and _which_rank(printed, shapes),
        ),
        "ends-excluded": WrongAnswer(
            "a count exactly half a unit away is refused; it should be accepted, for a text "
            "may round it either way.",
            lambda printed, shapes: _first_rank(
                shapes, lambda count: 2 * _distance(printed, count) < _unit(printed)
            ),
        ),
        "rounded-up-at-a-tie": WrongAnswer(
            "a tie is always rounded up here. A text may round it either way.",
            lambda printed, shapes: _first_rank(
                shapes,
                lambda count: (
                    (count / _unit(printed) + Fraction(1, 2)) // 1 * _unit(printed)
                    == Fraction(printed)
                ),
            ),
        ),
    },
    batch_sizes=(3, 1, 4, 2, 5, 6, 7, 8, 9, 10),
    folded=True,
    without=("while",),
    question="how far apart are the counts of two ranks that follow each other, in parameters and "
    "in units of the last printed digit?",
    imports=("from fractions import Fraction",),
    hints=(
        "The count is a rank times a whole number that depends on the shapes alone.",
        "Between which two counts does the printed number hold? A division tells how many ranks "
        "fit into a count.",
        "The first rank, from 1 on, that reaches the lower count is the only candidate. Is its "
        "count still within the upper one?",
    ),
)

ALL = (AGREES, WHICH_RANK)
