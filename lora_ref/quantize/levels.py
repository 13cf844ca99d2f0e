"""The levels of each kind of quantisation: NF4 derived, int4 and int8."""

from functools import cache
from typing import Literal, TypeAlias, get_args

import numpy as np

from lora_ref.checks import Array, as_finite, frozen
from lora_ref.errors import LoraRefError

Kind: TypeAlias = Literal["nf4", "int4", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NF4_OFFSET = 0.9677083
"""Probability of the largest level of NF4: 1 - (1/64 + 1/60), rounded as in bitsandbytes."""

NF4_BLOCK = 64
"""Values that share an absmax in QLoRA."""


def nf4_levels(offset: float = NF4_OFFSET) -> Array:
    """Return the 16 levels of NF4, derived: bit for bit the published float32 values, ascending.

    They are quantiles of N(0, 1) at even steps of probability from `offset` to 1/2: eight, without
    the 1/2 itself; seven more, negated; and zero; all divided by the largest. So zero is exact, 7
    levels are negative and 8 positive. (QLoRA's equation 4 asks for quantiles at 0 and 1, which are
    infinite; the offset is what the authors' code uses instead.)

    The bits depend on the order of operations. The steps are float32 and counted from the nearer
    end, the quantiles are rounded to float32 before the division, and the offset is the rounded
    one. An offset of 1/2 or less, or of 1 or more, is an error.

    Examples
    --------
    >>> nf4_levels()[[0, 7, 8, 15]].tolist()
    [-1.0, 0.0, 0.07958029955625534, 1.0]
    """
    offset = as_finite("offset in nf4_levels", offset)
    if not 0.5 < np.float32(offset) < 1.0:
        raise LoraRefError(f"offset in nf4_levels is {offset}, expected a number in (1/2, 1)")
    from statistics import NormalDist  # takes 10 ms, and only NF4 needs it

    quantile = NormalDist().inv_cdf
    positive = [quantile(float(p)) for p in even_steps(offset, 0.5, 9)[:-1]]
    negative = [-quantile(float(p)) for p in even_steps(offset, 0.5, 8)[:-1]]
    levels = np.array(sorted([*negative, 0.0, *positive]), np.float32)
    levels /= levels[-1]
    return levels


def even_steps(start: float, stop: float, count: int) -> Array:
    """Return `count` float32 values, each counted from the nearer end as torch.linspace does."""
    first, last = np.float32(start), np.float32(stop)
    step = (last - first) / np.float32(count - 1)
    up = np.arange(count, dtype=np.float32)
    down = up[::-1]
    return np.where(up < down, first + step * up, last - step * down)


@cache
def levels_of(kind: str) -> Array:
    """Return the levels of a kind: read-only float32, ascending from -1 to 1, with a zero."""
    if kind == "nf4":
        return frozen(nf4_levels())
    largest = {"int4": 7, "int8": 127}[kind]
    return frozen(np.arange(-largest, largest + 1, dtype=np.float32) / np.float32(largest))


@cache
def nf4_thresholds() -> Array:
    """Return the middles of neighbouring NF4 levels: above the k-th, the code is at least k + 1."""
    levels = levels_of("nf4")
    return frozen((levels[1:] + levels[:-1]) / 2)


def check_kind(what: str, kind: object) -> None:
    """Raise `LoraRefError` unless `kind` is one of `KINDS`."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise LoraRefError(f"{what} is {kind!r}, expected one of: {', '.join(KINDS)}")
