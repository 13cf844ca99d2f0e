"""The exercise of notebook 13: whether a printed number is the computed one."""

from fractions import Fraction

import numpy as np

from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer


def _agrees(printed: str, value: Fraction) -> bool:
    decimals = 0
    for position, sign in enumerate(printed):
        if sign == ".":
            decimals = len(printed) - position - 1
    unit = Fraction(1)
    for _ in range(decimals):
        unit = unit / 10
    return abs(Fraction(printed) - value) <= unit / 2


CASES = (
    (2, "1/2", "++"), (2, "-1/2", "++"), (1, "-1/2", "--"), (1, "1/2", "++"), (0, "1/2", "--"),
    (3, "-1/2", "++"), (6, "1/2", "--"), (2, "0", "++"), (1, "1/2000", "++"), (0, "-1/10", "--"),
    (1, "3/20", "++"), (1, "3/10", "--"), (3, "-3/10", "++"), (6, "2/5", "--"), (3, "11/20", "++"),
    (6, "-3/5", "--"), (2, "7/10", "++"), (1, "-7/10", "--"), (3, "9", "++"), (2, "-9", "--"),
    (2, "0", "--"), (1, "0", "-+"), (2, "0", "+-"), (3, "1/4", "-+"),
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
        if in_floats == {0: False, 1: True}.get(n, in_floats) and (
            off == "0" or number % 2 == n % 2
        ):
            return {"printed": printed, "value": value}


def _unit(printed: str) -> Fraction:
    return Fraction(1, 10 ** len(printed.partition(".")[2]))


def _in_floats(printed: str, value: Fraction) -> bool:
    return abs(float(printed) - float(value)) <= 0.5 * float(_unit(printed))


def _distance(printed: str, value: Fraction) -> Fraction:
    return abs(Fraction(printed) - value)


AGREES = Exercise(
    "13",
    "whether a printed number is the computed one",
    "printed is a number as a text prints it, such as '0.50' or '3'; value is the computed\n"
    "one, a fractions.Fraction. Return whether value lies within half a unit of the last\n"
    "printed digit, both ends included. A Fraction can be made of a text: Fraction('0.50').",
    _agrees,
    _draw_printed,
    {
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
            "a whole unit of the last digit is allowed; rounding changes at most half of one.",
            lambda printed, value: _distance(printed, value) <= _unit(printed),
        ),
        "0.005-always": WrongAnswer(
            "0.005 is for two decimals; a text may print fewer or more.",
            lambda printed, value: _distance(printed, value) <= Fraction(1, 200),
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
            "this is always false; for some inputs, the numbers are equal.",
            lambda printed, value: False,
        ),
    },
    batch_sizes=tuple(range(len(CASES))),
    imports=("from fractions import Fraction",),
)

ALL = (AGREES,)
