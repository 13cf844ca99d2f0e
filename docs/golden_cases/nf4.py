"""NF4: its levels, codes and constants of blocks, and the constants quantised in turn."""

from statistics import NormalDist
from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw
from lora_ref.quantize import NF4_BLOCK, NF4_OFFSET, QuantizedArray, nf4_levels, quantize
from lora_ref.quantize.levels import levels_of

LEVELS = levels_of("nf4")


def of_offset(offset: float) -> Values:
    """Return the levels."""
    return {"levels": nf4_levels(offset)}


def nf4(values: Any, block_size: int | None, **how: Any) -> Values:
    """Return codes, constants, and what is read back."""
    return _of_array(quantize(values, block_size=block_size, **how))


def _of_array(q: QuantizedArray) -> Values:
    found = {"codes": q.indices, "bytes": q.codes, "absmax": q.absmax}
    if isinstance(q.absmax, QuantizedArray):
        del found["absmax"]
        found["mean"], found["integers"] = q.mean, q.absmax.indices.astype(int) - 127
        found["scale"], found["absmax"] = q.absmax.absmax[0], q.block_absmax
    return {**found, "dequantized": q.dequantize()}


def double(values: Any, block_size: int) -> Values:
    """Return the same where the constants of the blocks are quantised too."""
    return nf4(values, block_size, double=True)


def scaled(seed: int, largest: tuple[float, ...], block_size: int, *shape: int) -> Any:
    """Return values whose blocks have the largest magnitudes, each at a place of its own."""
    flat = draw(seed, int(np.prod(shape)), step=1 / 8, most=1.5)
    for b, size in enumerate(largest):
        block = flat[b * block_size : (b + 1) * block_size]
        block *= size / 2  # at most 3/4 of the largest
        block[(5 * b + 1) % len(block)] = (-size, size)[b % 2]
    return flat.reshape(shape)


def _blocks_of_rows(values: Any, block_size: int) -> Values:
    rows = [nf4(row, block_size) for row in values]
    return {name: np.array([row[name] for row in rows]) for name in ("codes", "dequantized")}


def _with_codes(codes: Any, absmax: Any, values: Any, block_size: int) -> Values:
    each = np.repeat(absmax, block_size)[: values.size].reshape(values.shape)
    return {"codes": codes, "dequantized": LEVELS[codes] * each}


def _rounded_down(values: Any, block_size: int) -> Values:
    absmax = nf4(values, block_size)["absmax"]
    each = np.repeat(absmax, block_size)[: values.size].reshape(values.shape)
    codes = np.searchsorted(LEVELS, values / each, side="right") - 1
    return _with_codes(codes, absmax, values, block_size)


def _largest_not_magnitude(values: Any, block_size: int) -> Values:
    flat = values.ravel()
    blocks = [flat[i : i + block_size] for i in range(0, len(flat), block_size)]
    absmax = np.array([block.max() for block in blocks])
    each = np.repeat(absmax, block_size)[: values.size].reshape(values.shape)
    codes = np.abs((values / each)[..., None] - LEVELS).argmin(axis=-1)
    return {"absmax": absmax, **_with_codes(codes, absmax, values, block_size)}


def _low_nibble_first(**given: Any) -> Values:
    packed = nf4(**given)["bytes"].astype(int)
    return {"bytes": packed % 16 * 16 + packed // 16}


def _without_zero(offset: float) -> Values:
    even = [NormalDist().inv_cdf(p) for p in np.linspace(1 - offset, offset, 16)]
    return {"levels": np.array(even) / even[-1]}


def _mean_forgotten(**given: Any) -> Values:
    q = quantize(given["values"], block_size=given["block_size"], double=True)
    without = QuantizedArray(q.kind, q.codes, q.absmax, q.block_size, q.shape, q.dtype)
    found = _of_array(without)
    return {name: found[name] for name in ("absmax", "dequantized")}


def _mean_kept(**given: Any) -> Values:
    absmax = quantize(given["values"], block_size=given["block_size"]).absmax
    constants = quantize(np.asarray(absmax), "int8", block_size=256)
    integers = constants.indices.astype(int) - 127
    return {"integers": integers, "scale": constants.block_absmax[0]}


SMALL = (2.0, 0.5, 4.0, 0.25, 1.0)

ENCODED = (
    "# levels are those of the case nf4-levels",
    "flat = values.ravel()",
    "blocks = [flat[i : i + block_size] for i in range(0, len(flat), block_size)]",
    "absmax = [abs(block).max() for block in blocks]",
    "nearest = lambda x: argmin(abs(x - levels))",
    "codes = [nearest(x / c) for block, c in zip(blocks, absmax) for x in block]",
    "bytes = [16 * codes[i] + codes[i + 1] for i in range(0, len(codes), 2)]",
)
DECODED = (
    "dequantized = [levels[code] * absmax[i // block_size] for i, code in enumerate(codes)]",
    "codes, dequantized = reshape(codes, shape(values)), reshape(dequantized, shape(values))",
)

MISTAKES_OF_BLOCKS = {
    "one-absmax-for-all": Wrong(
        "All values share one absmax.",
        lambda values, block_size: nf4(values, None),
    ),
    "rounded-down": Wrong("The code is that of the next level below.", _rounded_down),
    "largest-not-magnitude": Wrong(
        "A block is divided by its largest value, not by its largest magnitude.",
        _largest_not_magnitude,
    ),
    "even-levels": Wrong(
        "The levels are those of int4, evenly spaced.",
        lambda **given: nf4(kind="int4", **given),
    ),
    "low-nibble-first": Wrong(
        "The first code of two is in the low half of the byte.", _low_nibble_first
    ),
}

CASES = (
    Case(
        "nf4-levels",
        "The 16 levels: quantiles of a normal distribution on each side of an exact zero.",
        "nf4-levels",
        (
            "positive = [inv_cdf(p) for p in linspace(offset, 0.5, 9)[:-1]]",
            "negative = [-inv_cdf(p) for p in linspace(offset, 0.5, 8)[:-1]]",
            "levels = sort([*negative, 0, *positive]) / positive[0]",
        ),
        {"offset": NF4_OFFSET},
        of_offset,
        {
            "no-zero": Wrong("The 16 quantiles are at even steps, and none is 0.", _without_zero),
            "even-levels": Wrong(
                "The levels are evenly spaced.",
                lambda offset: {"levels": np.linspace(-1, 1, 16)},
            ),
        },
        1e-6,
    ),
    Case(
        "nf4-small",
        "Codes, bytes, constants and what is read back, in blocks of 4 that run across the rows.",
        "nf4",
        (*ENCODED, *DECODED),
        {"values": scaled(1, SMALL, 4, 3, 6), "block_size": 4},
        nf4,
        {
            **MISTAKES_OF_BLOCKS,
            "blocks-of-rows": Wrong("Each row has blocks of its own.", _blocks_of_rows),
        },
    ),
    Case(
        "nf4-block-64",
        "The same in a block of 64, as in QLoRA, and a last one of 2.",
        "nf4",
        (*ENCODED, *DECODED),
        {
            "values": scaled(2, (4.0, 0.5), NF4_BLOCK, 2, 33),
            "block_size": NF4_BLOCK,
        },
        nf4,
        MISTAKES_OF_BLOCKS,
    ),
    Case(
        "nf4-double",
        "The constants of blocks in 8 bits too, after their mean is subtracted; float32 inside.",
        "nf4-double",
        (
            *ENCODED,
            "mean = sum(absmax) / len(absmax)",
            "scale = max(abs(c - mean) for c in absmax)",
            "integers = [rint((c - mean) / scale * 127) for c in absmax]",
            "absmax = [mean + i / 127 * scale for i in integers]",
            *DECODED,
        ),
        {
            "values": scaled(3, (2.0, 0.5, 4.0, 0.25, 1.0, 3.0, 0.75), 4, 2, 13),
            "block_size": 4,
        },
        double,
        {
            "mean-forgotten": Wrong(
                "The mean is not added again when the constants are read back.", _mean_forgotten
            ),
            "mean-not-subtracted": Wrong(
                "The constants are quantised with their mean.", _mean_kept
            ),
            "constants-not-rounded": Wrong(
                "The values are read back with the constants before they were quantised.",
                lambda **given: {"dequantized": nf4(**given)["dequantized"]},
            ),
        },
        1e-6,
    ),
)
