"""NF4 in bitsandbytes: the sixteen levels, how they come about, and what is said about them."""

from collections.abc import Iterator
from fractions import Fraction
from math import erf, log2, pi, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lora_ref.arrays import Array
from lora_ref.ledger.literature.figure import Figure, Rule, Source
from lora_ref.quantize import NF4_BLOCK, NF4_OFFSET, nf4_levels

BITSANDBYTES = Source("bitsandbytes", "bitsandbytes 0.50.2")
QLORA = Source("qlora", "QLoRA: Dettmers et al., 2023, arXiv 2305.14314")

_TABLE = "bitsandbytes/functional.py, get_4bit_type"
_MAP = "bitsandbytes/functional.py, docstring of create_normal_map"

_PRINTED = (
    "-1.0",
    "-0.6961928009986877",
    "-0.5250730514526367",
    "-0.39491748809814453",
    "-0.28444138169288635",
    "-0.18477343022823334",
    "-0.09105003625154495",
    "0.0",
    "0.07958029955625534",
    "0.16093020141124725",
    "0.24611230194568634",
    "0.33791524171829224",
    "0.44070982933044434",
    "0.5626170039176941",
    "0.7229568362236023",
    "1.0",
)


def _level(code: int, offset: float) -> float:
    return float(nf4_levels(offset)[code])


def _signs(offset: float) -> tuple[int, int, int]:
    """Return how many levels are negative, zero and positive."""
    levels = nf4_levels(offset)
    return int((levels < 0).sum()), int((levels == 0).sum()), int((levels > 0).sum())


def _edges(levels: Array) -> NDArray[np.float64]:
    """Return where one level's bin ends and the next one's begins, from -inf to inf."""
    middle = (levels[1:].astype(float) + levels[:-1]) / 2
    return np.concatenate([[-np.inf], middle, [np.inf]])


def normal_areas(offset: float) -> NDArray[np.float64]:
    """Return the area under N(0, 1) of each bin, the largest level at the offset's quantile."""
    edges = _edges(nf4_levels(offset)) * NormalDist().inv_cdf(offset)
    return np.diff([NormalDist().cdf(float(edge)) for edge in edges])


def usage(offset: float, block: int) -> NDArray[np.float64]:
    """Return how often each code is used, in blocks of normal values that share an absmax.

    With m the largest of the block's magnitudes, the others are normal within (-m, m), and m has
    the density ``block * P(m)**(block - 1) * 2 * phi(m)``, P(m) being ``erf(m / sqrt(2))``. The
    integral over m is a sum of 600 steps; m itself falls on either end alike.
    """
    edges = np.clip(_edges(nf4_levels(offset)), -1, 1)
    m = np.linspace(0.005, 8, 600)
    within = np.array([erf(value / sqrt(2)) for value in m])
    density = 2 * np.exp(-(m**2) / 2) / sqrt(2 * pi) * within ** (block - 2)
    below = np.array([[erf(edge * value / sqrt(2)) / 2 for value in m] for edge in edges])
    shares = (block - 1) * np.diff(below, axis=0) @ density * (m[1] - m[0])
    shares[[0, -1]] += 1 / (2 * block)
    return np.asarray(shares)


def _levels() -> Iterator[Figure]:
    for code, printed in enumerate(_PRINTED):
        yield Figure(
            id=f"nf4-level-{code}",
            source=BITSANDBYTES,
            where=_TABLE,
            says=f"level {code} of the sixteen levels of NF4",
            printed=printed,
            formula="quantiles of N(0, 1) at even steps from the offset to 1/2, eight positive and "
            "seven negative, divided by the largest; all of it in float32",
            given={"code": code, "offset": NF4_OFFSET},
            value=_level,
        )


def _smallest(offset: float) -> float:
    return float(normal_areas(offset).min())


def _rarest(offset: float, block: int) -> float:
    return float(usage(offset, block).min())


_EVEN = usage(NF4_OFFSET, NF4_BLOCK)
_BITS = -sum(share * log2(share) for share in _EVEN)

FIGURES: tuple[Figure, ...] = (
    *_levels(),
    Figure(
        id="nf4-offset",
        source=BITSANDBYTES,
        where="bitsandbytes/functional.py, default of create_normal_map",
        says="probability of the largest level",
        printed="0.9677083",
        formula="1 - (1/32 + 1/30) / 2: halfway between leaving out half a bin of 16 and of 15",
        given={"bins": (16, 15)},
        value=lambda bins: 1 - sum(Fraction(1, 2 * n) for n in bins) / 2,
    ),
    Figure(
        id="nf4-largest-quantile",
        source=BITSANDBYTES,
        where=_MAP,
        says="standard deviations that the offset covers",
        printed="1.845",
        formula="the quantile of N(0, 1) at the offset",
        given={"offset": NF4_OFFSET},
        value=lambda offset: NormalDist().inv_cdf(offset),
        why="The quantile is {value:.4f}; the last printed digit is off by three.",
    ),
    Figure(
        id="nf4-negative",
        source=BITSANDBYTES,
        where=_MAP,
        says="levels on the negative side",
        printed="8",
        formula="levels below zero",
        given={"offset": NF4_OFFSET},
        value=lambda offset: _signs(offset)[0],
        rule=Rule("zero-on-both-sides", lambda offset: sum(_signs(offset)[:2])),
        why="The table has {value} negative levels; {by_rule} only with zero among them. Zero is "
        "counted on both sides, so the two sides make 17 of 16 levels.",
    ),
    Figure(
        id="nf4-positive",
        source=BITSANDBYTES,
        where=_MAP,
        says="levels on the positive side",
        printed="9",
        formula="levels above zero",
        given={"offset": NF4_OFFSET},
        value=lambda offset: _signs(offset)[2],
        rule=Rule("zero-on-both-sides", lambda offset: sum(_signs(offset)[1:])),
        why="The table has {value} positive levels; {by_rule} with zero among them.",
    ),
    Figure(
        id="nf4-non-zero",
        source=BITSANDBYTES,
        where=_MAP,
        says="levels other than zero",
        printed="15",
        formula="levels below zero and above",
        given={"offset": NF4_OFFSET},
        value=lambda offset: _signs(offset)[0] + _signs(offset)[2],
    ),
    Figure(
        id="nf4-equal-area",
        source=BITSANDBYTES,
        where="bitsandbytes/nn/modules.py, docstring of LinearNF4; functional.py, get_4bit_type",
        says="area of every bin under N(0, 1), which is said to be equal: 1 of 16",
        printed="6.25 %",
        formula="area between the midpoints beside a level, for the bin with the smallest",
        given={"offset": NF4_OFFSET},
        value=_smallest,
        why=f"With the largest level at its own quantile the bins hold {{value:.2%}} to "
        f"{normal_areas(NF4_OFFSET).max():.2%}: nearly equal, as another docstring of the same "
        "file says, and no more.",
    ),
    Figure(
        id="nf4-equal-numbers",
        source=QLORA,
        where="section 3",
        says="share of values in every bin, the expected number being said to be equal: 1 of 16",
        printed="6.25 %",
        formula="share of normal values nearest to a level, in blocks divided by their absmax, for "
        "the rarest level",
        given={"offset": NF4_OFFSET, "block": NF4_BLOCK},
        value=_rarest,
        why=f"In blocks of {{block}} the codes are used from {{value:.2%}} to {_EVEN.max():.2%} of "
        f"the time, {_BITS:.2f} bits of the 4: dividing by a block's largest magnitude leaves few "
        "values near the ends. arXiv 2306.06965 argues the same.",
    ),
)
"""The levels of NF4 and the statements about them."""
