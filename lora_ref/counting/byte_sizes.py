"""A printed size such as 32.8 MB: which count has it, in which dtype, and what MB means there.

A printed size has few digits, so much would fit it: the units and one counting rule are tried, and
the answers with the fewest departures from a plain count in powers of a thousand are given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from lora_ref.counting.explain import Explanation, candidates
from lora_ref.counting.methods.base import Method
from lora_ref.counting.model import Model
from lora_ref.counting.parameters import itemsize


class Unit(NamedTuple):
    """What the letters K, M, G and T of bytes stand for."""

    text: str  # in one sentence
    bytes_of: Callable[[int], int]  # by the power of a thousand that the letter is


DECIMAL = ""
"""The name of the plain unit, which needs no rule."""

DTYPES = ("float32", "bfloat16")
"""Types in which adapters and models are stored."""

UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        DECIMAL: Unit("K, M, G and T are powers of a thousand", lambda power: 1000**power),
        "binary-units": Unit(
            "K, M, G and T of bytes are powers of 1,024, though KB, MB, GB stand there",
            lambda power: 1024**power,
        ),
        "thousand-kib": Unit(
            "K of bytes is 1,024, M a thousand K and G a thousand M: KiB by 1,000, printed as MB",
            lambda power: 1024 * 1000 ** (power - 1) if power else 1,
        ),
    }
)
"""What a letter before B may stand for, by the name of the rule."""


class Size(NamedTuple):
    """A printed size, such as 32.8 MB."""

    text: str
    number: Fraction  # 32.8
    digit: Fraction  # one unit of the last digit printed, 0.1
    power: int  # of a thousand, 2


@dataclass(frozen=True)
class SizeExplanation:
    """A count, and what its bytes come to."""

    counted: Explanation
    dtype: str  # of each number
    unit: str  # a name of `UNITS`
    value: Fraction  # in that unit

    def agrees(self, size: Size) -> bool:
        """Whether it rounds to a printed size in its unit."""
        return abs(self.value - size.number) <= size.digit / 2

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it takes, of counting and of units."""
        return (*self.counted.rules, *((self.unit,) if self.unit != DECIMAL else ()))


def explain_size(
    size: Size,
    model: Model,
    method: Method,
    *,
    dtypes: Sequence[str] = DTYPES,
    modules_to_save: Sequence[str] = (),
    extra_rules: Sequence[str] = (),
) -> tuple[SizeExplanation, ...]:
    """Return every count whose bytes round to the printed size, by the fewest rules that do.

    Trainable and total, in each of `dtypes` and in each unit, are tried with no counting rule and
    with one. The other arguments are those of `explain`.
    """
    found: list[SizeExplanation] = []
    for counted in candidates(model, method, modules_to_save, extra_rules, most=1):
        found += [one for one in sizes_of(counted, size, dtypes) if one.agrees(size)]
    fewest = min((len(one.rules) for one in found), default=0)
    return tuple(one for one in found if len(one.rules) == fewest)


def sizes_of(
    counted: Explanation, size: Size, dtypes: Sequence[str] = DTYPES
) -> Iterator[SizeExplanation]:
    """Yield the bytes of a count in each dtype, in each unit that a printed size may be in."""
    for dtype in dtypes:
        for name, unit in UNITS.items():
            value = Fraction(counted.value * itemsize(dtype), unit.bytes_of(size.power))
            yield SizeExplanation(counted, dtype, name, value)
