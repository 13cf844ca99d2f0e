"""Printed numbers such as "4.7M" or "0.83 %": read, compared with a value, imitated in writing.

A printed number promises that the value rounds to it: half a unit of its last digit, inclusive.
Everything is exact; a float counts as the shortest decimal that stands for it.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from lora_ref.claims.file_errors import kind_of
from lora_ref.claims.values import exact
from lora_ref.errors import LoraRefError

Agreement = Literal["exact", "rounded", "about", "truncated"]
"""How a value agrees with what is printed, best first."""

Printed: TypeAlias = str | tuple[str, ...] | tuple[tuple[str, ...], ...]
"""A printed number, a vector of them, or a matrix."""

# limits of what is read
LONGEST = 60  # characters of a number: a longer one is probably a typing error
LARGEST_POWER = 60  # of ten, either way, in a number with an exponent
LARGEST_SIZE = 10**9  # rows or columns of a shape that is only named

_POWERS = {"K": 1, "k": 1, "M": 2, "B": 3, "G": 3, "T": 4}
_PRINTED = re.compile(
    r"(?:~ ?)?(?P<sign>-?)(?=[\d,]*\.?\d)(?P<whole>[\d,]*)(?:\.(?P<behind>\d*))?"
    r"(?: ?(?P<percent>%)| ?(?P<suffix>[KkMGT])B?| ?(?P<billion>B)"
    r"|[eE](?P<ten>[-+]?\d{1,3})| ?(?P<times>[x×]))?"
)
_DECIMAL = re.compile(
    r"[-+]?(?=\.?\d)(?P<whole>\d+(?:,\d+)*)?(?:\.\d*)?(?:[eE](?P<power>[-+]?\d+))?"
)
_FRACTION = re.compile(r"(?P<top>[-+]?\d+)/(?P<bottom>\d+)")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})*")
_SHAPE = re.compile(r"\d+(?: ?[x×] ?\d+)?")


class Reading(NamedTuple):
    """A printed number: its value, one unit of its last digit, and how it is written."""

    number: Fraction
    unit: Fraction
    decimals: int
    percent: bool
    power: int  # of a thousand: 2 in 4.7M


# reading


@lru_cache(4096)  # one text stands in many claims
def read_printed(text: str) -> Reading:
    """Read a printed number; K, M, B (or G) and T are powers of a thousand, and so are KB ... TB.

    ``10,000x`` is a number of times, and ``1e4`` has one digit: 5,000 to 15,000 round to it.

    Examples
    --------
    >>> [int(read_printed(text).number) for text in ("4.7M", "350 GB", "1,048,576", "10,000x")]
    [4700000, 350000000000, 1048576, 10000]
    >>> print(read_printed("1.5e-3").number, read_printed("1.5e-3").unit)
    3/2000 1/10000
    >>> print(read_printed("1.56 %").unit)
    1/10000
    """
    text = " ".join(_cleaned(text).split())
    match = _PRINTED.fullmatch(text) if text.replace("×", "x").isascii() else None
    if match is None:
        raise LoraRefError(
            f"{text!r} is not a printed number, expected digits such as 0.59, 1.56 % or 4.7M"
        )
    whole, behind = match["whole"], match["behind"] or ""
    _check_commas(text, whole)
    power = _POWERS.get(match["suffix"] or match["billion"] or "", 0)
    size = Fraction(1, 100) if match["percent"] else Fraction(1000**power)
    ten = int(match["ten"] or 0)
    if abs(ten) > LARGEST_POWER:
        raise LoraRefError(
            f"{text!r} has the power {ten} of ten, expected at most {LARGEST_POWER} either way"
        )
    size *= Fraction(10) ** ten
    digits = int(match["sign"] + whole.replace(",", "") + behind)
    unit = size / 10 ** len(behind)
    decimals = max(0, len(behind) - ten)
    return Reading(digits * unit, unit, decimals, bool(match["percent"]), power)


@lru_cache(4096)
def read_given(text: str) -> Fraction:
    """Read a number that a file gives: a decimal, a fraction, or anything printed.

    Examples
    --------
    >>> print(read_given("0.10"), read_given("-1/3"), read_given("2e-2"), read_given("125M"))
    1/10 -1/3 1/50 125000000
    """
    text = _cleaned(text)
    if not text.isascii():
        raise LoraRefError(f"{text!r} is not a number, expected digits such as 0.25")
    if quotient := _FRACTION.fullmatch(text):
        if not int(quotient["bottom"]):
            raise LoraRefError(f"{text!r} divides by zero")
        return Fraction(int(quotient["top"]), int(quotient["bottom"]))
    if text.lstrip("+-").lower() in ("inf", "nan", "infinity"):
        raise LoraRefError(f"{text!r} is not finite, expected a number such as 0.25")
    found = _DECIMAL.fullmatch(text)
    if not found:
        if _PRINTED.fullmatch(text):
            return read_printed(text).number
        raise LoraRefError(f"{text!r} is not a number, expected such as 0.25, -2 or 1/3")
    _check_commas(text, found["whole"] or "")
    power = int(found["power"] or 0)
    if abs(power) > LARGEST_POWER:
        raise LoraRefError(
            f"{text!r} has the power {power} of ten, expected at most {LARGEST_POWER} either way"
        )
    return Fraction(text.replace(",", ""))


def number_of(value: Any) -> Fraction:
    """Return a number that a file gives, written with quotes or without."""
    if isinstance(value, str):
        return read_given(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**LONGEST:
            raise LoraRefError(f"a number of more than {LONGEST} digits")
        return Fraction(value)
    raise LoraRefError(f"got {kind_of(value)}, expected a number")


def read_shape(text: str) -> tuple[int, ...]:
    """Return the shape that a text such as ``"4 x 2"`` names; ``"number"`` has no axes.

    Examples
    --------
    >>> read_shape("4 x 2"), read_shape("4"), read_shape("number")
    ((4, 2), (4,), ())
    """
    text = text.strip()
    if text == "number":
        return ()
    if len(text) > LONGEST or not text.isprintable() or not _SHAPE.fullmatch(text):
        raise LoraRefError(
            f'{text[:LONGEST]!r} is not a shape, expected such as "4 x 2", "4" for a vector, or '
            '"number"'
        )
    sizes = tuple(int(size) for size in re.findall(r"\d+", text))
    if not all(1 <= size <= LARGEST_SIZE for size in sizes):
        raise LoraRefError(f"{text!r} is not a shape, expected sizes from 1 to {LARGEST_SIZE:,}")
    return sizes


def split_rows(text: str) -> list[list[str]]:
    """Return the numbers of a text that has a row on each line, or between slashes.

    Examples
    --------
    >>> split_rows("1 2 / 3 4"), split_rows("8, 16"), split_rows("1.56 %")
    ([['1', '2'], ['3', '4']], [['8', '16']], [['1.56 %']])
    """
    lines = [line for line in text.replace(" / ", "\n").splitlines() if line.strip()]
    return [
        [
            re.sub(r"(%|[KkMGT]B?|B)$", r" \1", token.removesuffix(",")).replace("  ", " ")
            for token in re.sub(r"(?<=\d) (%|[KkMGT]B?\b|B\b)", r"\1", line).split()
        ]
        for line in lines
    ]


def printed_texts(printed: Printed) -> Iterable[str]:
    """Return every printed number of a number, a vector or a matrix."""
    return (str(text) for text in np.array(printed, dtype=object).flat)


def joined(texts: Any) -> str:
    """Return an array of texts in one line, with a slash between the rows of a matrix."""
    array = np.array(texts, dtype=object)
    if array.ndim == 2:
        return " / ".join(" ".join(row) for row in array)
    return ", ".join(array.flat)


# comparing


def agreement(printed: str, value: Any, about: Fraction | None = None) -> Agreement | None:
    """Return how a value agrees with a printed number, or None where it does not.

    The value is in whole units, a share of 1. `about` is a relative tolerance, where the source
    itself says "about".

    Examples
    --------
    >>> agreement("0.50", 0.505), agreement("0.50", 0.506), agreement("1.56 %", Fraction(1, 64))
    ('rounded', 'truncated', 'rounded')
    >>> agreement("603.9M", 603_979_776), agreement("56,164", 56_164), agreement("0.8M", 10**6)
    ('truncated', 'exact', None)
    """
    reading = read_printed(printed)
    number, unit = reading.number, reading.unit
    gap = exact(value) - number
    if gap == 0:
        return "exact"
    if abs(gap) <= unit / 2:
        return "rounded"
    if 0 < (gap if number >= 0 else -gap) < unit:
        return "truncated"
    if about is not None and abs(gap) <= about * abs(number):
        return "about"
    return None


def agreement_of_all(
    printed: Printed, values: Any, about: Fraction | None = None
) -> Agreement | None:
    """Return the weakest agreement among the entries of two arrays of one shape."""
    found = {
        agreement(text, value, about)
        for text, value in zip(printed_texts(printed), np.ravel(values), strict=True)
    }
    if None in found:
        return None
    return next(how for how in reversed(get_args(Agreement)) if how in found)


# writing


def decimal_text(value: Fraction, digits: int) -> str:
    """Write a fraction with so many decimals, rounded once and exactly.

    Examples
    --------
    >>> decimal_text(Fraction(1, 3), 20), decimal_text(Fraction(9007199515875289), 0)
    ('0.33333333333333333333', '9,007,199,515,875,289')
    """
    scaled = round(value * 10**digits)
    whole, behind = divmod(abs(scaled), 10**digits)
    text = f"{whole:,}" + (f".{behind:0{digits}d}" if digits else "")
    return f"-{text}" if scaled < 0 else text


def like_printed(value: Any, printed: str) -> str:
    """Write a value in the manner of a printed number, and two digits further.

    A value that ends within six decimals is written whole, one with a suffix in whole units. Where
    two digits more would hide how it differs from what is printed, more are written.

    Examples
    --------
    >>> like_printed(Fraction(2_359_296), "4.7M"), like_printed(Fraction(41, 198), "20.7 %")
    ('2,359,296', '20.707 %')
    >>> like_printed(0.1500001, "0.1")
    '0.1500001'
    """
    reading, number = read_printed(printed), exact(value)
    scaled, sign = (number * 100, " %") if reading.percent else (number, "")
    large = not reading.decimals and abs(scaled) >= 10**4
    if not reading.percent and (reading.power or large):
        digits = 0 if scaled.denominator == 1 or abs(scaled) >= 10**4 else reading.decimals + 2
    else:
        places = range(reading.decimals, max(7, reading.decimals + 1))
        ends = (k for k in places if (scaled * 10**k).denominator == 1)
        digits = next(ends, reading.decimals + 2)
    wanted = agreement(printed, number)
    for more in range(digits, digits + LONGEST):
        shown = round(scaled * 10**more) / Fraction(10**more) / (100 if reading.percent else 1)
        if agreement(printed, shown) == wanted or (wanted == "rounded" and shown == reading.number):
            return decimal_text(scaled, more) + sign
    return decimal_text(scaled, digits) + sign


def plain_text(value: Any, percent: bool = False) -> str:
    """Write a value with no printed one beside it: whole, or to four digits.

    Examples
    --------
    >>> plain_text(16384), plain_text(2 / 3), plain_text(Fraction(1, 64), percent=True)
    ('16,384', '0.6667', '1.562 %')
    """
    array = np.asarray(value, dtype=object)
    if array.ndim:
        texts = [plain_text(entry, percent) for entry in array.flat]
        return joined(np.array(texts, dtype=object).reshape(array.shape))
    number, sign = exact(array.item()), ""
    if percent:
        number, sign = number * 100, " %"
    if number.denominator == 1 or abs(number) >= 10**4:
        return f"{round(number):,}{sign}"
    return f"{float(number):.4g}{sign}"


def _cleaned(text: str) -> str:
    """Return a text with an ASCII minus sign and no blanks around it, or refuse a long one."""
    text = text.replace("−", "-").strip()
    if len(text) > LONGEST:
        raise LoraRefError(
            f"a number of {len(text)} characters ({text[:12]}...), expected at most {LONGEST}"
        )
    return text


def _check_commas(text: str, whole: str) -> None:
    if "," in whole and not _THOUSANDS.fullmatch(whole):
        raise LoraRefError(
            f"{text!r} has a comma that separates no thousands; the decimal sign is a point"
        )
