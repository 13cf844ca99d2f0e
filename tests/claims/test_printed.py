"""Printed numbers: a value agrees to the printed digits or does not, and is shown as it is."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from cases import over
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lora_ref.claims import judge, parse
from lora_ref.claims.printed import (
    agreement,
    agreement_of_all,
    decimal_text,
    joined,
    like_printed,
    plain_text,
    read_given,
    read_printed,
    read_shape,
    split_rows,
)
from lora_ref.errors import LoraRefError

# ---------------- reading

READ = {
    "1,048,576": (1048576, 1, 0),
    "4.7M": (4_700_000, 10**5, 2),
    "350 GB": (350 * 10**9, 10**9, 3),
    "9KB": (9000, 1000, 1),
    "18 K": (18_000, 1000, 1),
    "35 TB": (35 * 10**12, 10**12, 4),
    "1.5B": (15 * 10**8, 10**8, 3),
    "1.56 %": ("0.0156", "0.0001", 0),
    "~ 30  %": ("0.3", "0.01", 0),
    "~1.845": ("1.845", "0.001", 0),
    "−0.5": ("-0.5", "0.1", 0),
    ".5": ("0.5", "0.1", 0),
    "0.10": ("0.1", "0.01", 0),
}


@over({text: (text, *wanted) for text, wanted in READ.items()})
def test_a_printed_number_has_a_value_a_unit_and_a_power_of_a_thousand(case):
    text, number, unit, power = case
    reading = read_printed(text)
    assert (reading.number, reading.unit, reading.power) == (
        Fraction(number),
        Fraction(unit),
        power,
    )
    assert reading.percent is text.endswith("%")


@over({repr(text): text for text in (
    "", "M", "abc", "four", "4.7X", "4..7", "1.2.3", "4 MiB", "4 BB", "½", "0x10", "--1",
    "%", ".", "1 2", "5 %%", "１",
)})  # fmt: skip
def test_what_is_no_printed_number_is_refused(text):
    with pytest.raises(LoraRefError, match="is not a printed number"):
        read_printed(text)


GIVEN = {
    "0.10": "1/10", "-1/3": "-1/3", "+2": "2", "2e-2": "1/50", "1E3": "1000", "125M": "125000000",
    "-1,000.5": "-2001/2", "1 %": "1/100", "−2": "-2", "7.": "7",
}  # fmt: skip


@over({text: (text, wanted) for text, wanted in GIVEN.items()})
def test_a_given_number_is_read_exactly(case):
    assert read_given(case[0]) == Fraction(case[1])


@over({repr(case): case for case in {
    "1/0": "divides by zero", "inf": "is not finite", "-nan": "is not finite",
    "x": "is not a number", "": "is not a number", "e5": "is not a number", "½": "is not a number",
    "1e61": "the power 61 of ten, expected at most 60", "1,00": "a comma that separates no",
    "1" * 61: r"a number of 61 characters \(111111111111\.\.\.\)",
}.items()})  # fmt: skip
def test_what_is_no_given_number_is_refused_with_a_sentence(case):
    with pytest.raises(LoraRefError, match=case[1]):
        read_given(case[0])


def test_a_shape_has_two_sizes_or_one_or_none():
    texts = ("4 x 2", "4x2", "4 × 2", " 7 ", "number")
    assert [read_shape(text) for text in texts] == [(4, 2), (4, 2), (4, 2), (7,), ()]
    for text in ("", "0 x 3", "4 by 2", "1 x 2 x 3", "-1", "1000000001", "x" * 70):
        with pytest.raises(LoraRefError, match="is not a shape"):
            read_shape(text)


SPLIT = {
    "1 2\n3 4": [["1", "2"], ["3", "4"]],
    "1 2 / 3 4": [["1", "2"], ["3", "4"]],
    "\n 1 \n\n 2 \n": [["1"], ["2"]],
    "8, 16": [["8", "16"]],
    "1.56 %": [["1.56 %"]],
    "99.5 %, 1%": [["99.5 %", "1 %"]],
    "4.7M 2.4 M": [["4.7 M", "2.4 M"]],
    "1 KB 2 / 4 B 3": [["1 KB", "2"], ["4 B", "3"]],
    "1/2 1/3": [["1/2", "1/3"]],
    "1,048,576 2": [["1,048,576", "2"]],
    "": [],
}


@over({repr(text): (text, rows) for text, rows in SPLIT.items()})
def test_a_text_is_split_into_rows_of_numbers(case):
    assert split_rows(case[0]) == case[1]


def test_an_array_of_texts_is_joined_into_one_line():
    assert joined("1") == "1"
    assert joined(("1", "2")) == "1, 2"
    assert joined((("1", "2"), ("3", "4"))) == "1 2 / 3 4"


# ---------------- comparing

AGREES = (
    ("56,164", 56_164, "exact"),
    ("56,164", 56_165, None),
    ("4.7M", 4_718_592, "rounded"),
    ("4.7M", 4_750_000, "rounded"),  # half a unit, inclusive
    ("4.7M", 4_650_000, "rounded"),
    ("4.7M", 4_750_001, "truncated"),
    ("4.7M", 4_799_999, "truncated"),
    ("4.7M", 4_800_000, None),
    ("4.7M", 4_649_999, None),
    ("0.83 %", Fraction(8256, 10**6), "rounded"),
    ("18 K", 18_456, "rounded"),
    ("1.5 MB", 1_572_864, "truncated"),
    ("35 TB", 35 * 10**12, "exact"),
    ("1.5B", 1_544_000_000, "rounded"),
    ("-0.5", Fraction(-1, 2), "exact"),
    ("-0.5", Fraction(-59, 100), "truncated"),
    ("-0.5", Fraction(-41, 100), None),
    ("0.50", 0.505, "rounded"),  # a float is the decimal that it stands for
    ("0.50", np.float64(0.495), "rounded"),
    ("0.50", 0.5051, "truncated"),
    ("0.50", np.int64(1), None),
)


@over({f"{printed} {value}": (printed, value, wanted) for printed, value, wanted in AGREES})
def test_a_value_agrees_to_the_digits_that_are_printed(case):
    printed, value, wanted = case
    assert agreement(printed, value) == wanted


def test_a_tolerance_counts_only_where_the_digits_do_not_agree():
    value = 37_748_736
    assert agreement("35M", value) is None
    assert agreement("35M", value, Fraction(1, 10)) == "about"
    assert agreement("35M", value, Fraction(5, 100)) is None
    assert agreement("38M", value, Fraction(1, 10)) == "rounded"
    assert agreement("37M", value, Fraction(1, 10)) == "truncated"


@given(st.integers(-(10**6), 10**6), st.integers(0, 5), st.integers(-1200, 1200))
@settings(max_examples=40, deadline=None)
def test_half_a_unit_of_the_last_digit_is_inclusive_and_a_whole_one_is_not(mantissa, places, part):
    unit = Fraction(1, 10**places)
    text = decimal_text(mantissa * unit, places)
    away = part if mantissa >= 0 else -part
    wanted = "exact" if part == 0 else "rounded" if abs(part) <= 500 else None
    if 500 < away < 1000:
        wanted = "truncated"
    assert agreement(text, mantissa * unit + unit * Fraction(part, 1000)) == wanted


def test_the_weakest_agreement_among_the_entries_counts():
    printed = (("0.5", "1"), ("2", "3"))
    for last, wanted in ((3, "exact"), (3.4, "rounded"), (3.7, "truncated"), (4, None)):
        assert agreement_of_all(printed, np.array([[0.5, 1], [2, last]])) == wanted
    assert agreement_of_all(("10", "7"), (10.9, 8), Fraction(1, 5)) == "truncated"


def test_what_is_not_finite_is_not_compared():
    for value in (float("nan"), float("inf")):
        with pytest.raises(LoraRefError, match="expected a finite number"):
            agreement("1", value)


# ---------------- writing


@given(st.integers(-(10**25), 10**25), st.integers(1, 10**12), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_decimal_text_is_the_value_rounded_once(top, bottom, digits):
    value = Fraction(top, bottom)
    text = decimal_text(value, digits)
    assert abs(Fraction(text.replace(",", "")) - value) <= Fraction(1, 2 * 10**digits)
    assert len(text.partition(".")[2]) == digits
    assert read_printed(text[:60]).number is not None  # its commas separate thousands


def shown_for(quantity, keys, printed):
    """Return what a report shows beside a printed number of a quantity."""
    (claim,) = parse(
        f'[lecture]\ntitle = "t"\n[matrices]\nones = [[1, 1]]\n[[claim]]\nid = "it"\ntext = "s"\n'
        f'quantity = "{quantity}"\n{keys}\nprinted = "{printed}"\n'
    ).claims
    j = judge(claim)
    assert j.problems == ()
    return j.verdict, j.recomputed


THIRD = "0." + 20 * "3"
DIGITS = str(isqrt(2 * 10**64))  # of the root of 2
ROOT = decimal_text(Fraction(int(DIGITS), 10**32), 30)


def test_a_report_does_not_contradict_itself_by_rounding_what_it_shows():
    """A float would show 9,007,199,515,875,288: what is printed, beside a slip."""
    keys = "in = 94906267\nout = 94906267"
    exact = "9,007,199,515,875,289"
    assert int(exact.replace(",", "")) == 94906267**2
    assert shown_for("full-count", keys, "9007199515875288") == ("slip", exact)
    assert shown_for("full-count", keys, exact) == ("confirmed", exact)


def test_more_digits_than_a_float_has_are_shown_exactly():
    keys = 'numerator = 1\ndenominator = "3"'
    assert shown_for("ratio", keys, THIRD) == ("confirmed", THIRD + "33")
    assert shown_for("ratio", keys, THIRD[:-1] + "5") == ("slip", THIRD + "33")
    verdict, shown = shown_for("frobenius-norm", 'of = "ones"', ROOT)
    assert verdict == "confirmed"
    assert abs(Fraction(shown) * 10**32 - int(DIGITS)) <= 1
    assert len(shown) == 34
    wrong = ROOT[:-1] + str((int(ROOT[-1]) + 5) % 10)
    assert shown_for("frobenius-norm", 'of = "ones"', wrong) == ("slip", shown)


def test_a_large_power_of_ten_is_shown_exactly():
    shown = f"{10**60:,}"
    assert shown_for("stated", 'number = "1e60"', "9") == ("slip", shown)
    assert shown_for("product", 'of = "ones"', "1 1") == ("shape", "1 1 (1 x 2, not a vector of 2)")
    assert plain_text(10**60) == shown


def test_how_a_value_differs_from_what_is_printed_is_not_hidden():
    assert like_printed(0.1500001, "0.1") == "0.1500001"  # not 0.150, which rounds to 0.1 or 0.2
    assert like_printed(Fraction(15, 10) + Fraction(1, 10**50), "1") == f"1.5{48 * '0'}1"
    assert like_printed(Fraction(1234567, 100), "12345.60") == "12,345.67"
    assert like_printed(4_750_001, "4.7M") == "4,750,001"


@over({f"{value} like {printed}": (value, printed, wanted) for value, printed, wanted in (
    (2_359_296, "4.7M", "2,359,296"), (Fraction(41, 198), "20.7 %", "20.707 %"),
    (Fraction(1, 2), "0.59", "0.50"), (Fraction(1, 64), "1.56 %", "1.5625 %"),
    (Fraction(2, 3), "0.7", "0.667"), (0.30000001, "0.3", "0.300"), (-5, "-5", "-5"),
    (Fraction(1, 3), "0.5K", "0.333"), (16384, "16", "16,384"), (0, "0.00", "0.00"),
    (1, f"1.{20 * '0'}", f"1.{20 * '0'}"),
)})  # fmt: skip
def test_a_value_is_written_in_the_manner_of_what_is_printed(case):
    value, printed, wanted = case
    assert like_printed(value, printed) == wanted


@given(
    st.integers(-(10**7), 10**7), st.integers(0, 9), st.integers(0, 7),
    st.integers(-1200, 1200), st.sampled_from(["", " %", "K", "M"]),
)  # fmt: skip
@example(15, 1, 0, 1, "")
@settings(max_examples=100, deadline=None)
def test_what_is_shown_agrees_with_what_is_printed_as_the_value_does(
    mantissa, finer, places, part, suffix
):
    """And where it has enough digits it is the value."""
    printed = decimal_text(Fraction(mantissa, 10**places), places) + suffix
    reading = read_printed(printed)
    value = reading.number + reading.unit * Fraction(part, 1000 * 10**finer)
    shown = like_printed(value, printed)
    back = read_printed(shown).number
    before, after = agreement(printed, value), agreement(printed, back)
    assert after == before or (before, after) == ("rounded", "exact")
    scaled = value * 100 if reading.percent else value
    whole = reading.power or (places == 0 and abs(value) >= 10**4 and not reading.percent)
    enough = 0 if whole else max(places + 2, 6)
    if (scaled * 10**enough).denominator == 1:
        assert back == value


@over({str(wanted): (value, percent, wanted) for value, percent, wanted in (
    (16384, False, "16,384"), (2 / 3, False, "0.6667"), (Fraction(1, 64), True, "1.562 %"),
    (12345.6, False, "12,346"), (-0.00001, False, "-1e-05"), (0, True, "0 %"),
    (((1, 2), (3, 4)), False, "1 2 / 3 4"), ((1, 0.5), True, "100 %, 50 %"),
)})  # fmt: skip
def test_a_value_alone_is_written_whole_or_to_four_digits(case):
    value, percent, wanted = case
    assert plain_text(value, percent) == wanted
