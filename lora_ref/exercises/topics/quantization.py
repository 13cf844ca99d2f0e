"""Exercises of notebook 11: the nearest level of NF4, and back through a weight of four bits."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes
from lora_ref.exercises.scalings import BASIC, scaling_factors, wrong_scalings
from lora_ref.quantize import nf4_levels, quantize


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


# ---------------------------------------------------------------------------- the gradient of x


def _qlora_grad_x(
    grad_y: Array, W0: Array, packed: Any, absmax: Array, A: Array, B: Array, alpha: float
) -> Array:
    levels = nf4_levels()
    stored = np.zeros(W0.shape)
    for place in range(W0.size):  # counted along the rows, one row after the other
        byte, second = packed[place // 2], place % 2
        code = byte % 16 if second else byte // 16
        block = place // (W0.size // len(absmax))
        stored[place // W0.shape[1], place % W0.shape[1]] = levels[code] * absmax[block]

    def loss(x: Array) -> float:
        return float(np.sum(grad_y * (x @ stored.T + alpha / len(A) * (x @ A.T @ B.T))))

    zero = np.zeros((len(grad_y), W0.shape[1]))  # the loss is linear in x: any place will do
    grad = np.zeros_like(zero)
    for i in range(zero.shape[0]):
        for j in range(zero.shape[1]):
            moved = zero.copy()
            moved[i, j] += 1.0
            grad[i, j] = loss(moved) - loss(zero)
    return grad


def _draw_stored(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a QLoRA layer: an even number of weights, in whole blocks that are no whole rows."""
    while True:
        out_features, in_features, r = sizes(rng)
        weights = out_features * in_features
        if weights % 2 == 0:
            break
    blocks = [
        size
        for size in range(3, weights // 2 + 1)
        if weights % size == 0 and size % in_features and in_features % size
    ]
    # values of float32, so that an absmax taken from W0 is the stored one
    W0 = rng.standard_normal((out_features, in_features), np.float32).astype(np.float64)
    stored = quantize(W0, block_size=int(rng.choice(blocks)))
    return {
        "grad_y": rng.standard_normal((n, out_features)),
        "W0": W0,
        "packed": stored.codes,
        "absmax": stored.block_absmax.astype(np.float64),
        "A": rng.standard_normal((r, in_features)),
        "B": rng.standard_normal((out_features, r)),
        "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
    }


def _codes(packed: Any) -> Any:
    return np.stack([packed >> 4, packed & 15], axis=1).ravel()


def _in_blocks(values: Array, absmax: Array) -> Array:
    """Return values times the constants of their blocks, in a row."""
    return np.asarray(values.reshape(len(absmax), -1) * absmax[:, None]).ravel()


def _through(read_back: Callable[..., Array]) -> Callable[..., Array]:
    """Return the gradient of x through a weight that is read back from codes in some way."""

    def answer(
        grad_y: Array, W0: Array, packed: Any, absmax: Array, A: Array, B: Array, alpha: float
    ) -> Array:
        W = read_back(packed, absmax, W0.shape)
        return np.asarray(grad_y @ W + alpha / len(A) * (grad_y @ B @ A))

    return answer


def _read(packed: Any, absmax: Array, shape: tuple[int, ...]) -> Array:
    return _in_blocks(nf4_levels()[_codes(packed)], absmax).reshape(shape)


def _by_levels(levels: Array) -> Callable[..., Array]:
    return _through(
        lambda packed, absmax, shape: _in_blocks(levels[_codes(packed)], absmax).reshape(shape)
    )


QLORA_GRAD_X = Exercise(
    "11",
    "back through a weight of four bits",
    "A weight of shape (out_features, in_features) was quantised to NF4, along its rows, one row\n"
    "after the other. packed holds the codes, two in a byte, the first in the high four bits;\n"
    "absmax holds a constant for each block, and all blocks are equally long. W0 is the weight as\n"
    "it was before. The layer has A, B and alpha as usual, and no bias. grad_y, of shape\n"
    "(n, out_features), is the gradient of the loss with respect to the y of this QLoRA layer.\n"
    "Return the gradient with respect to x, of shape (n, in_features).",
    _qlora_grad_x,
    _draw_stored,
    {
        "pretrained-weight": WrongAnswer(
            "this goes back through W0, which the layer has not run with: y was made with what the "
            "codes say.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y @ W0 + alpha / len(A) * (grad_y @ B @ A)
            ),
        ),
        "adapter-path-missing": WrongAnswer(
            "the gradient goes back through the frozen weight alone; x went through A and B too.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y @ _read(packed, absmax, W0.shape)
            ),
        ),
        "frozen-path-missing": WrongAnswer(
            "the gradient goes back through A and B alone. None goes into the codes, but one goes "
            "through the weight that they stand for.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: alpha / len(A) * (grad_y @ B @ A),
        ),
        "low-half-first": WrongAnswer(
            "the two codes of each byte are exchanged: the first is in the high four bits.",
            _through(
                lambda packed, absmax, shape: _read((packed << 4) | (packed >> 4), absmax, shape)
            ),
        ),
        "halves-apart": WrongAnswer(
            "all high halves come first here, and then all low ones; the two codes of a byte are "
            "neighbours.",
            _through(
                lambda packed, absmax, shape: _in_blocks(
                    nf4_levels()[np.concatenate([packed >> 4, packed & 15])], absmax
                ).reshape(shape)
            ),
        ),
        "codes-for-levels": WrongAnswer(
            "the codes themselves are multiplied by absmax; a code is the index of a level.",
            _by_levels(np.arange(16.0)),
        ),
        "absmax-forgotten": WrongAnswer(
            "these are levels, between -1 and 1; each block was divided by its absmax, and has to "
            "be multiplied by it.",
            _through(
                lambda packed, absmax, shape: _read(packed, np.ones_like(absmax), shape),
            ),
        ),
        "absmax-divides": WrongAnswer(
            "the levels are divided by absmax; that was done when the weight was stored.",
            _through(lambda packed, absmax, shape: _read(packed, 1 / absmax, shape)),
        ),
        "one-absmax": WrongAnswer(
            "one constant, the largest, multiplies all levels; each block has its own.",
            _through(
                lambda packed, absmax, shape: _read(packed, absmax.max() + 0 * absmax, shape),
            ),
        ),
        "absmax-by-rows": WrongAnswer(
            "each row gets the largest entry of that row of W0; the blocks are no rows, and their "
            "constants are in absmax.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y
                @ (
                    _read(packed, np.ones_like(absmax), W0.shape)
                    * np.abs(W0).max(axis=1, keepdims=True)
                )
                + alpha / len(A) * (grad_y @ B @ A)
            ),
        ),
        "constants-in-turn": WrongAnswer(
            "the constants are dealt out in turn, a weight for each; a block is a run of "
            "neighbours, which share one.",
            _through(
                lambda packed, absmax, shape: (
                    nf4_levels()[_codes(packed)] * np.resize(absmax, 2 * len(packed))
                ).reshape(shape)
            ),
        ),
        "down-the-columns": WrongAnswer(
            "the weight is filled down its columns; it was stored along its rows.",
            _through(lambda packed, absmax, shape: _read(packed, absmax, shape[::-1]).T),
        ),
        "even-levels": WrongAnswer(
            "these are sixteen levels in even steps; NF4's lie closer near zero.",
            _by_levels(np.linspace(-1.0, 1.0, 16)),
        ),
        "int4-levels": WrongAnswer(
            "code 7 is zero here and the steps are even, as with int4; the levels of NF4 are "
            "others.",
            _by_levels((np.arange(16) - 7) / 7),
        ),
        "transposed": WrongAnswer(
            "the frozen weight is transposed here. Going back, rows of grad_y meet it as it is.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y @ _read(packed, absmax, W0.shape).T + alpha / len(A) * (grad_y @ B @ A)
            ),
        ),
        "all-transposed": WrongAnswer(
            "grad_y goes through the layer as x does, forward; the way back has another direction.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y @ _read(packed, absmax, W0.shape).T + alpha / len(A) * (grad_y @ A.T @ B.T)
            ),
        ),
        "subtracted": WrongAnswer(
            "the way through B A is subtracted; it should be added.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                grad_y @ _read(packed, absmax, W0.shape) - alpha / len(A) * (grad_y @ B @ A)
            ),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the way through the frozen weight too; it belongs to B A alone.",
            lambda grad_y, W0, packed, absmax, A, B, alpha: (
                alpha / len(A) * (grad_y @ (_read(packed, absmax, W0.shape) + B @ A))
            ),
        ),
        **wrong_scalings(_qlora_grad_x, "on the way through B A", *BASIC),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    imports=("from lora_ref.quantize import nf4_levels",),
    question=(
        "somebody moves one weight by so little that its code stays. Does the y of this layer "
        "change, and does the gradient of x? And if the code next to it were stored?"
    ),
    hints=(
        "Write y down, with everything that multiplies x on its way. Which of it is stored, and in "
        "which form?",
        "First take each byte apart; >> and & work on whole arrays. In which shape do the two "
        "codes of a byte stand side by side, and in which does a block have a row for itself?",
        "The rest is notebook 04, without a mask: two ways back, one of them in two thin products. "
        "The scaling stands on one of the two.",
    ),
)

ALL = (NF4_CODES, QLORA_GRAD_X)
