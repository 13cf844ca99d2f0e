"""Quantities of NF4: its levels, how often they are used, and the bits of block constants."""

from fractions import Fraction
from math import erf, log2, pi, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lora_ref.claims.quantity import Count, Matrix, Names, Number, Numbers, OneNumber, Whole
from lora_ref.claims.values import rounded
from lora_ref.errors import LoraRefError
from lora_ref.quantize import ABSMAX_BLOCK, NF4_BLOCK, NF4_OFFSET, nf4_levels

TOPIC = "NF4"

LARGEST_BLOCK = 4096  # whose usage floating point gives to `FLOAT_DIGITS` digits

_SIGNS = {"negative": -1, "zero": 0, "positive": 1}


def nf4_level(code: Whole) -> OneNumber:
    """Return one of the 16 levels, in float32: quantiles of N(0, 1) divided by the largest.

    They stand at even steps of probability from the offset to 1/2: eight positive, seven negative,
    and 0.
    """
    levels = nf4_levels()
    if code >= len(levels):
        raise LoraRefError(f"code is {code}, expected 0 to {len(levels) - 1}")
    return float(levels[code])


def nf4_levels_with_sign(signs: Names) -> OneNumber:
    """Return how many levels have one of the signs: negative, zero, positive."""
    unknown = [sign for sign in signs if sign not in _SIGNS]
    if unknown:
        raise LoraRefError(f"a sign is {unknown[0]!r:.40}, expected one of: {', '.join(_SIGNS)}")
    wanted = {_SIGNS[sign] for sign in signs}
    return sum(int(np.sign(level)) in wanted for level in nf4_levels())


def nf4_offset() -> OneNumber:
    """Return 1 - (1/32 + 1/30) / 2, the probability of the largest level.

    Halfway between leaving out half a bin of 16 and half a bin of 15.
    """
    return 1 - (Fraction(1, 32) + Fraction(1, 30)) / 2


def normal_quantile(probability: Number) -> OneNumber:
    """Return the quantile of N(0, 1) at a probability."""
    if not 0 < float(probability) < 1:
        raise LoraRefError("probability is not between 0 and 1")
    quantile = NormalDist().inv_cdf(float(probability))
    return rounded(quantile, max(1.0, abs(quantile)))


def nf4_areas() -> Numbers:
    """Return the area under N(0, 1) of the bin of each level, the largest at its own quantile."""
    edges = _edges() * NormalDist().inv_cdf(NF4_OFFSET)
    return rounded(np.diff([NormalDist().cdf(float(edge)) for edge in edges]), 1.0)


def nf4_usage(block: Count = NF4_BLOCK) -> Numbers:
    """Return how often each level is used, in blocks of normal values divided by their absmax.

    With m the largest of the block's magnitudes, the others are normal within (-m, m), and m has
    the density block P(m)^(block - 1) 2 phi(m), P(m) being erf(m / sqrt(2)). The integral over m
    is a Gauss-Legendre sum up to 9; m itself falls on either end alike.
    """
    if not 2 <= block <= LARGEST_BLOCK:
        raise LoraRefError(f"block is {block}, expected 2 to {LARGEST_BLOCK:,}")
    edges = np.clip(_edges(), -1, 1)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    m = 4.5 * (nodes + 1)
    within = np.array([erf(value / sqrt(2)) for value in m])
    density = 2 * np.exp(-(m**2) / 2) / sqrt(2 * pi) * within ** (block - 2)
    below = np.array([[erf(edge * value / sqrt(2)) / 2 for value in m] for edge in edges])
    shares = (block - 1) * np.diff(below, axis=0) @ (4.5 * weights * density)
    shares[[0, -1]] += 1 / (2 * block)
    return rounded(shares, 1.0)


def entropy_bits(of: Matrix) -> OneNumber:
    """Return the entropy of shares in bits: minus the sum of share times log2(share)."""
    if min(of.flat) < 0:
        raise LoraRefError("of has a number below 0, expected shares")
    return rounded(-sum(float(share) * log2(share) for share in of.flat if share), 1.0)


def constant_bits(block: Count = NF4_BLOCK, second_block: Count | None = None) -> OneNumber:
    """Return the bits a value that the block constants take: 32 / block.

    After double quantisation 8 / block + 32 / (block second-block).
    """
    if second_block is None:
        return Fraction(32, block)
    return Fraction(8, block) + Fraction(32, block * second_block)


def double_quantization_saving(
    block: Count = NF4_BLOCK, second_block: Count = ABSMAX_BLOCK
) -> OneNumber:
    """Return constant-bits without a second block, less constant-bits with it."""
    return constant_bits(block) - constant_bits(block, second_block)


def _edges() -> NDArray[np.float64]:
    """Return where one level's bin ends and the next one's begins, from -inf to inf."""
    levels = nf4_levels().astype(float)
    return np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
