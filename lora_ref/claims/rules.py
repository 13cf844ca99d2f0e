"""Rules under which a printed number agrees, beside the counting rules of `counting`.

A reading takes the printed number in another way. Every other rule gives the quantity other inputs,
which stand in the file. A file may name rules of its own in its table ``[rules]``.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from math import ceil
from types import MappingProxyType

from lora_ref import counting
from lora_ref.claims.printed import read_printed

NAMED: Mapping[str, str] = MappingProxyType(
    {
        **{name: unit.text for name, unit in counting.UNITS.items() if name},
        "doubled-after-cutting": "the number is twice another printed one that had been cut",
        "file-listing": "the size as GNU ls -h lists it: powers of 1,024, rounded up to a tenth",
        "fitted-width": "the width is printed nowhere and was chosen so that the number comes out",
        "nominal-size": "the model has as many parameters as its name says",
    }
)

RULES: Mapping[str, str] = MappingProxyType({**counting.RULES, **NAMED})
"""Every rule that a file may name without saying what it means."""


def _in_unit(name: str, printed: str, value: Fraction) -> Fraction:
    power = read_printed(printed).power
    return value * Fraction(1000**power, counting.UNITS[name].bytes_of(power))


def _listed(printed: str, value: Fraction) -> Fraction:
    power = read_printed(printed).power
    return Fraction(ceil(10 * value / 1024**power) * 1000**power, 10)


def _doubled(printed: str, value: Fraction) -> Fraction:
    unit = read_printed(printed).unit
    return 2 * (value / 2 // unit * unit)


READINGS: Mapping[str, Callable[[str, Fraction], Fraction]] = MappingProxyType(
    {
        **{name: partial(_in_unit, name) for name in counting.UNITS if name},
        "doubled-after-cutting": _doubled,
        "file-listing": _listed,
    }
)
"""What a value is under a reading, to be compared with the printed number as it stands."""
