"""Levels: NF4 derived, the published values bit for bit, and what other ways to derive give."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError
from lora_ref.quantize import NF4_OFFSET, levels, levels_of, nf4_levels
from lora_ref.quantize.levels import even_steps, nf4_thresholds

# bitsandbytes `functional.py`, get_4bit_type("nf4"); QLoRA (arXiv 2305.14314), appendix E
PUBLISHED = np.float32(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ]
)
# bitsandbytes `csrc/kernels.cu`, dQuantizeNF4: x above one of these has at least the next code
PUBLISHED_THRESHOLDS = np.float32(
    [
        -0.8480964004993439,
        -0.6106329262256622,
        -0.4599952697753906,
        -0.33967943489551544,
        -0.23460740596055984,
        -0.13791173323988914,
        -0.045525018125772476,
        0.03979014977812767,
        0.1202552504837513,
        0.2035212516784668,
        0.2920137718319893,
        0.3893125355243683,
        0.5016634166240692,
        0.6427869200706482,
        0.8614784181118011,
    ]
)

ZERO = {"nf4": 7, "int4": 7, "int8": 127}


def test_derived_levels_are_the_published_float32_values_bit_for_bit() -> None:
    assert nf4_levels().dtype == np.float32
    assert_array_equal(nf4_levels().view(np.uint32), PUBLISHED.view(np.uint32))
    assert_array_equal(levels_of("nf4"), PUBLISHED)


def test_the_thresholds_are_the_published_ones_bit_for_bit() -> None:
    assert_array_equal(nf4_thresholds(), PUBLISHED_THRESHOLDS)


def one_sided(start: float, stop: float, count: int) -> Array:
    first, last = np.float32(start), np.float32(stop)
    return first + (last - first) / np.float32(count - 1) * np.arange(count, dtype=np.float32)


def rounded_from_float64(start: float, stop: float, count: int) -> Array:
    return np.linspace(start, stop, count, dtype=np.float32)


@pytest.mark.parametrize(
    ("steps", "matches"),
    [(even_steps, 16), (rounded_from_float64, 15), (one_sided, 13), (np.linspace, 8)],
    ids=["two-sided", "rounded", "one-sided", "float64"],
)
def test_other_steps_give_other_bits(
    steps: Callable[..., Array], matches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "even_steps", steps)
    assert np.count_nonzero(nf4_levels() == PUBLISHED) == matches
    assert_allclose(nf4_levels(), PUBLISHED, atol=2.5e-7)


def test_the_offset_before_it_was_rounded_gives_other_bits() -> None:
    exact = 1 - (1 / 64 + 1 / 60)
    assert round(exact, 7) == NF4_OFFSET
    assert np.count_nonzero(nf4_levels(exact) == PUBLISHED) == 4


@pytest.mark.parametrize("offset", [1.0, 0.5, 0.0, float("nan")])
def test_equation_4_of_the_paper_asks_for_infinite_levels_and_is_refused(offset: float) -> None:
    with pytest.raises(LoraRefError, match="offset in nf4_levels is"):
        nf4_levels(offset)


def test_seven_levels_are_negative_eight_positive_and_one_is_zero() -> None:
    assert [np.count_nonzero(s) for s in (PUBLISHED < 0, PUBLISHED == 0, PUBLISHED > 0)] == [
        7,
        1,
        8,
    ]


@pytest.mark.parametrize("kind", ZERO)
def test_levels_ascend_from_minus_one_to_one_through_zero_and_are_read_only(kind: str) -> None:
    found = levels_of(kind)
    assert (found[0], found[ZERO[kind]], found[-1]) == (-1, 0, 1)
    assert (np.diff(found) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_bins_of_nf4_have_not_the_equal_area_that_bitsandbytes_claims() -> None:
    # its docstring: each bin has equal area under N(0, 1); 1/16 is 6.25 %
    normal = NormalDist()
    scale = normal.inv_cdf(NF4_OFFSET)
    edges = [0.0, *(normal.cdf(scale * float(t)) for t in PUBLISHED_THRESHOLDS), 1.0]
    areas = np.diff(edges)
    assert f"{100 * areas.min():.1f} to {100 * areas.max():.1f} %" == "5.6 to 7.1 %"
