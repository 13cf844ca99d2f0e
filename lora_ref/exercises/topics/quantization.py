"""Exercises of notebook 11: the nearest level of NF4, and what a weight takes."""

from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer
from lora_ref.quantize import nf4_levels


def _nf4_codes(block: Array, levels: Array) -> Any:
    largest = 0.0
    for weight in block:
        largest = max(largest, abs(weight))
    codes = np.zeros(len(block), np.int64)
    for i, weight in enumerate(block):
        for code in range(len(levels)):
            now = abs(weight / largest - levels[codes[i]])
            if abs(weight / largest - levels[code]) < now:
                codes[i] = code
    return codes


def _draw_block(rng: np.random.Generator, n: int) -> Arguments:
    block = rng.normal(0.0, rng.uniform(0.5, 3.0), int(rng.integers(30, 60)))
    if n == 3:
        block[5] = -1.2 * np.abs(block).max()  # the largest absolute value is a negative one's
    return {"block": block, "levels": nf4_levels().astype(np.float64)}


def _nearest(values: Array, levels: Array) -> Any:
    return np.abs(values[:, None] - levels).argmin(axis=1)


def _spread(block: Array) -> Array:
    """Return a block moved and stretched so that it reaches from -1 to 1."""
    return np.asarray(2 * (block - block.min()) / (block.max() - block.min()) - 1)


NF4_CODES = Exercise(
    "11",
    "the nearest level of each weight",
    "block is a vector of weights, levels the 16 levels of NF4, from -1 to 1 and rising. Divide\n"
    "the block by its largest absolute value, and return for each weight the index of the nearest\n"
    "level: whole numbers from 0 to 15.",
    _nf4_codes,
    _draw_block,
    {
        "absmax-forgotten": WrongAnswer(
            "the weights are compared as they are; they have to be divided by the largest "
            "absolute value first.",
            _nearest,
        ),
        "largest-not-absolute": WrongAnswer(
            "this divides by the largest weight; a negative one may have a larger absolute value.",
            lambda block, levels: _nearest(block / block.max(), levels),
        ),
        "next-level-up": WrongAnswer(
            "this takes the next level above, not the nearest: numpy.searchsorted looks for a "
            "place among its numbers. Which numbers lie between two levels?",
            lambda block, levels: np.searchsorted(levels, block / np.abs(block).max()),
        ),
        "next-level-down": WrongAnswer(
            "this takes the next level below, not the nearest.",
            lambda block, levels: np.searchsorted(levels, block / np.abs(block).max(), "right") - 1,
        ),
        "equal-steps": WrongAnswer(
            "these are the codes of 16 levels in equal steps; NF4's lie closer near zero.",
            lambda block, levels: _nearest(block / np.abs(block).max(), np.linspace(-1.0, 1.0, 16)),
        ),
        "standardised": WrongAnswer(
            "this divides by the standard deviation; NF4 divides by the largest absolute value.",
            lambda block, levels: _nearest(block / block.std(), levels),
        ),
        "levels-returned": WrongAnswer(
            "these are the levels; expected their indices.",
            lambda block, levels: levels[_nf4_codes(block, levels)],
        ),
        "min-max": WrongAnswer(
            "this moves and stretches the block until it reaches from -1 to 1. That is min-max "
            "scaling, which needs two constants a block and moves the zero; NF4 has one.",
            lambda block, levels: _nearest(_spread(block), levels),
        ),
        "min-max-to-integers": WrongAnswer(
            "these are 16 even steps from the least weight to the largest; levels are not used.",
            lambda block, levels: np.rint(7.5 * (_spread(block) + 1)).astype(int),
        ),
        "from-minus-eight": WrongAnswer(
            "the codes are counted from -8, as those of a signed integer; an index into levels "
            "begins at 0.",
            lambda block, levels: _nf4_codes(block, levels) - 8,
        ),
        "steps-from-zero": WrongAnswer(
            "these are whole numbers of even steps, from -7 to 7, and no indices; levels are not "
            "used.",
            lambda block, levels: np.rint(7 * block / np.abs(block).max()).astype(int),
        ),
        "sign-of-the-largest": WrongAnswer(
            "this divides by the weight of the largest absolute value, with its sign; where it is "
            "negative, all signs turn.",
            lambda block, levels: _nearest(block / block[np.abs(block).argmax()], levels),
        ),
        "levels-moved-by-one": WrongAnswer(
            "every code is one too large: levels are counted from 0.",
            lambda block, levels: _nf4_codes(block, levels) + 1,
        ),
        "from-minus-seven": WrongAnswer(
            "the codes are counted from the level 0, which has the index 7; an index into levels "
            "begins at 0.",
            lambda block, levels: _nf4_codes(block, levels) - 7,
        ),
        "place-among-the-levels": WrongAnswer(
            "this counts the levels up to the weight, as numpy.digitize does; the nearest level "
            "may lie on either side, and is counted from 0.",
            lambda block, levels: np.digitize(block / np.abs(block).max(), levels),
        ),
        "mean-taken-off": WrongAnswer(
            "the mean of the block is taken off first; NF4 divides, and nothing more, so that a "
            "weight of 0 stays 0.",
            lambda block, levels: _nf4_codes(block - block.mean(), levels),
        ),
        "norm": WrongAnswer(
            "this divides by the norm of the block; NF4 divides by the largest absolute value.",
            lambda block, levels: _nearest(block / np.linalg.norm(block), levels),
        ),
        "for-each-level": WrongAnswer(
            "this gives the nearest weight of each level; expected the nearest level of each "
            "weight: the least entry along the other axis.",
            lambda block, levels: np.abs((block / np.abs(block).max())[:, None] - levels).argmin(
                axis=0
            ),
        ),
        "farthest": WrongAnswer(
            "this is the level that is farthest away.",
            lambda block, levels: np.abs((block / np.abs(block).max())[:, None] - levels).argmax(
                axis=1
            ),
        ),
        "distance-with-a-sign": WrongAnswer(
            "the distance has a sign here, so the largest level always wins.",
            lambda block, levels: ((block / np.abs(block).max())[:, None] - levels).argmin(axis=1),
        ),
        "lowest-level": WrongAnswer(
            "the distance has a sign here, so the lowest level always wins.",
            lambda block, levels: (levels - (block / np.abs(block).max())[:, None]).argmin(axis=1),
        ),
        "whole-division": WrongAnswer(
            "// leaves -1, 0 and 1 of the quotients alone.",
            lambda block, levels: _nearest(block // np.abs(block).max(), levels),
        ),
        "counted-from-the-end": WrongAnswer(
            "codes are counted from the largest level; levels[0] is the lowest.",
            lambda block, levels: 15 - _nf4_codes(block, levels),
        ),
        "one-too-small": WrongAnswer(
            "the codes are one too small; levels are counted from 0.",
            lambda block, levels: np.maximum(_nf4_codes(block, levels) - 1, 0),
        ),
        "mean-absolute": WrongAnswer(
            "this divides by the mean absolute value; NF4 divides by the largest.",
            lambda block, levels: _nearest(block / np.abs(block).mean(), levels),
        ),
        "rounded-first": WrongAnswer(
            "the weights are rounded before the search.",
            lambda block, levels: _nearest(np.round(block / np.abs(block).max(), 1), levels),
        ),
        "both-scaled": WrongAnswer(
            "the block is divided and the levels are multiplied by the largest absolute "
            "value; one of the two is enough.",
            lambda block, levels: _nearest(
                block / np.abs(block).max(), levels * np.abs(block).max()
            ),
        ),
        "signs-lost": WrongAnswer(
            "the signs of weights and levels are lost.",
            lambda block, levels: _nearest(np.abs(block) / np.abs(block).max(), np.abs(levels)),
        ),
        "four-bit-integers": WrongAnswer(
            "these are the codes of integers of 4 bits, in even steps; levels are not used.",
            lambda block, levels: np.rint(7 * block / np.abs(block).max()).astype(int) + 8,
        ),
    },
    question=(
        "the largest of a block in absolute value is -2. Which code does it get, and\n"
        "what becomes of a weight of exactly 0?"
    ),
    hints=(
        "After the division, where does the block lie, and where do the levels lie?",
        "Nearest is the level of the smallest distance. How can all distances, of every weight "
        "from every level, stand in one table? Or: at which numbers does the nearest level change?",
        "With a table: one axis for the weights, one for the levels, and the place of the least "
        "entry along one of them. With thresholds: the 15 middles of neighbouring levels, and a "
        "search among those.",
    ),
)


def _bits_per_weight(bits: int, block_size: int) -> float:
    total = 32  # the largest absolute value of the block, a float32
    for _ in range(block_size):
        total += bits
    return total / block_size


BITS_PER_WEIGHT = Exercise(
    "11",
    "what a quantised weight really takes",
    "Weights are stored in `bits` bits each, and each block of block_size weights has one float32\n"
    "beside it, its largest absolute value. Return the bits per weight, both counted.",
    _bits_per_weight,
    lambda rng, n: {
        "bits": int(rng.choice([3, 4, 8])),
        "block_size": {3: 24, 1: 48}.get(n, int(rng.choice([32, 64, 128, 256]))),
    },
    {
        "constants-forgotten": WrongAnswer(
            "the constants of the blocks are not counted.", lambda bits, block_size: float(bits)
        ),
        "float16-constants": WrongAnswer(
            "the constant of a block is counted with 16 bits; a float32 has more.",
            lambda bits, block_size: bits + 16 / block_size,
        ),
        "double-quantisation": WrongAnswer(
            "these are constants of 8 bits with a float32 for every 256 of them, which is double "
            "quantisation; here each block has a float32 of its own.",
            lambda bits, block_size: bits + 8 / block_size + 32 / (256 * block_size),
        ),
        "eight-bit-constants": WrongAnswer(
            "the constant of a block is counted with 8 bits; a float32 has more.",
            lambda bits, block_size: bits + 8 / block_size,
        ),
        "two-constants": WrongAnswer(
            "64 bits a block are counted: two constants, as min-max scaling needs them, or one of "
            "64 bits. A float32 has 32, and there is one.",
            lambda bits, block_size: bits + 64 / block_size,
        ),
        "bytes": WrongAnswer(
            "these are bytes per weight; expected bits.",
            lambda bits, block_size: (bits + 32 / block_size) / 8,
        ),
        "codes-shared-too": WrongAnswer(
            "the bits of a code are divided by block_size too; each weight has a code of its own.",
            lambda bits, block_size: (bits + 32) / block_size,
        ),
        "constant-in-the-block": WrongAnswer(
            "the constant is counted as one more weight that shares the bits; it is beside the "
            "weights, and the bits are per weight.",
            lambda bits, block_size: (bits * block_size + 32) / (block_size + 1),
        ),
        "bytes-for-bits": WrongAnswer(
            "a float32 has 4 bytes, and 32 bits.", lambda bits, block_size: bits + 4 / block_size
        ),
        "constant-each": WrongAnswer(
            "every weight gets a constant here; a block shares one.",
            lambda bits, block_size: float(bits + 32),
        ),
        "whole-block": WrongAnswer(
            "these are the bits of a whole block.",
            lambda bits, block_size: float(bits * block_size + 32),
        ),
        "whole-division": WrongAnswer(
            "the digits after the decimal point are cut off; // and int() do that.",
            lambda bits, block_size: float(bits + 32 // block_size),
        ),
        "number-of-levels": WrongAnswer(
            "2**bits is the number of levels; a code takes bits.",
            lambda bits, block_size: 2**bits + 32 / block_size,
        ),
        "shared-by-levels": WrongAnswer(
            "the constant is shared out among the levels; the weights of a block share it.",
            lambda bits, block_size: bits + 32 / 2**bits,
        ),
        "grows-with-the-bits": WrongAnswer(
            "the share of the constant does not grow with the bits of a code.",
            lambda bits, block_size: bits * (1 + 32 / block_size),
        ),
        "subtracted": WrongAnswer(
            "the share of the constant is subtracted; it is stored as well.",
            lambda bits, block_size: bits - 32 / block_size,
        ),
        "in-place-of-a-code": WrongAnswer(
            "one weight of a block has no code here; the constant is beside the codes of all.",
            lambda bits, block_size: (bits * (block_size - 1) + 32) / block_size,
        ),
        "size-over-32": WrongAnswer(
            "the fraction is upside down: a larger block takes less per weight.",
            lambda bits, block_size: bits + block_size / 32,
        ),
    },
    folded=True,
    question=("does a smaller block take more bits per weight, or fewer? What do you get for it?"),
    hints=(
        "Take one block of 64 and count everything that is stored for it.",
        "The constant is stored once a block. How large a part of it is a single weight's?",
        "Divide the bits of a whole block by its number of weights, or add up what one weight has "
        "of its own and what it shares. Both ways come to the same.",
    ),
)

ALL = (NF4_CODES, BITS_PER_WEIGHT)
