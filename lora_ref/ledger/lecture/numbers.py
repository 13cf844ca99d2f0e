"""Numbers as a lecture's file writes them, read without rounding and within bounds."""

import re
from fractions import Fraction

from lora_ref.errors import LoraRefError
from lora_ref.ledger.claim import read_number

LONGEST = 60
"""The most characters of a number: beyond it a slip of the keyboard is likelier than a lecture."""

LARGEST_POWER = 60
"""The largest power of ten, either way, that a number with an exponent may have."""

LARGEST_COUNT = 10**12
"""The largest whole number that a quantity takes, such as a width."""

LARGEST_SIZE = 10**9
"""The largest row or column of a shape that is only named."""

_DECIMAL = re.compile(r"[-+]?(?P<whole>\d+(?:,\d+)*)?(?P<point>\.\d*)?(?:[eE](?P<power>[-+]?\d+))?")
_FRACTION = re.compile(r"(?P<top>[-+]?\d+)/(?P<bottom>\d+)")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})*")
_SHAPE = re.compile(r"\d+(?: ?[x×] ?\d+)?")


class BareNumber(str):
    """A number that the file writes without quotes: `tomllib` hands over its text."""

    __slots__ = ()


def given(text: str) -> Fraction:
    """Return a number that a file gives: a decimal, perhaps with an exponent, or a fraction.

    Raises
    ------
    LoraRefError
        For anything else, and for numbers that are too long.

    Examples
    --------
    >>> print(given("0.10"), given("-1/3"), given("2e-2"))
    1/10 -1/3 1/50
    """
    text = _short(text.replace("−", "-").strip())
    if not text.isascii():
        raise LoraRefError(f"{text!r} is not a number, expected digits such as 0.25")
    quotient = _FRACTION.fullmatch(text)
    if quotient:
        if not int(quotient["bottom"]):
            raise LoraRefError(f"{text!r} divides by zero")
        return Fraction(int(quotient["top"]), int(quotient["bottom"]))
    if text.lstrip("+-").lower() in ("inf", "nan", "infinity"):
        raise LoraRefError(f"{text!r} is not finite, expected a number such as 0.25")
    found = _DECIMAL.fullmatch(text)
    if not found or not any(c.isdigit() for c in text.lower().partition("e")[0]):
        raise LoraRefError(f"{text!r} is not a number, expected such as 0.25, -2 or 1/3")
    _check_commas(text, found["whole"])
    if found["power"] and abs(int(found["power"])) > LARGEST_POWER:
        raise LoraRefError(
            f"{text!r} has the power {int(found['power'])} of ten, expected at most "
            f"{LARGEST_POWER} either way"
        )
    return Fraction(text.replace(",", ""))


def printed(text: str) -> str:
    """Return a printed number as the ledger reads it, or say what is wrong with it."""
    text = " ".join(_short(text.replace("−", "-").strip()).split())
    read_number(text)
    _check_commas(text, text.lstrip("-").partition(".")[0].rstrip("% "))
    if "," in text.partition(".")[2]:
        raise LoraRefError(f"{text!r} has a comma behind the point")
    return text


def digits(text: str) -> int:
    """Return how many digits a printed number has from its first that is not zero."""
    return len(re.sub(r"\D", "", text).lstrip("0"))


def shape(text: str) -> tuple[int, ...]:
    """Return the shape that a text such as ``"4 x 2"`` names; ``"number"`` has no axes.

    Examples
    --------
    >>> shape("4 x 2"), shape("4"), shape("number")
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


def _short(text: str) -> str:
    if len(text) > LONGEST:
        raise LoraRefError(
            f"a number of {len(text)} characters ({text[:12]}...), expected at most {LONGEST}"
        )
    return text


def _check_commas(text: str, whole: str | None) -> None:
    if whole and "," in whole and not _THOUSANDS.fullmatch(whole):
        raise LoraRefError(
            f"{text!r} has a comma that separates no thousands; the decimal sign is a point"
        )
