"""Exercises of notebook 09: numbers that are trained, where LoRA saves, and bytes."""

import numpy as np

from lora_ref.exercises.exercise import Arguments, Exercise, Slip

Shapes = list[tuple[int, int]]


def _count(shapes: Shapes, r: int) -> int:
    numbers = 0
    for out_features, in_features in shapes:
        for _ in range(r):
            numbers += in_features  # a row of A
            numbers += out_features  # a column of B
    return numbers


def _draw_shapes(rng: np.random.Generator, n: int) -> Arguments:
    sides = rng.permutation(np.arange(16, 90))[: 4 + 2 * (n % 3)]  # 2 to 4 weights
    shapes = [(int(sides[i]), int(sides[i + 1])) for i in range(0, len(sides), 2)]
    return {"shapes": shapes, "r": int(rng.integers(2, 9))}


COUNT = Exercise(
    "count",
    "09",
    "how many numbers LoRA trains",
    "shapes lists (out_features, in_features) of the weights that get A and B of rank r. Return\n"
    "how many numbers are trained, a whole number.",
    _count,
    _draw_shapes,
    (
        Slip(
            "full",
            "these are the entries of the weights, which full fine-tuning trains.",
            lambda shapes, r: sum(o * i for o, i in shapes),
        ),
        Slip(
            "2-d-r-of-the-input",
            "2 d r is for square weights; here in_features is taken for both sides.",
            lambda shapes, r: sum(2 * i * r for _, i in shapes),
        ),
        Slip(
            "2-d-r-of-the-output",
            "2 d r is for square weights; here out_features is taken for both sides.",
            lambda shapes, r: sum(2 * o * r for o, _ in shapes),
        ),
        Slip(
            "A-alone",
            "only A is counted.",
            lambda shapes, r: sum(i * r for _, i in shapes),
        ),
        Slip(
            "B-alone",
            "only B is counted.",
            lambda shapes, r: sum(o * r for o, _ in shapes),
        ),
        Slip(
            "B-A-formed",
            "these are the entries of the products B A, times r. Nobody stores B A.",
            lambda shapes, r: sum(o * i * r for o, i in shapes),
        ),
        Slip(
            "first-alone",
            "only the first weight is counted.",
            lambda shapes, r: sum(shapes[0]) * r,
        ),
        Slip(
            "dimension",
            "this is the dimension of the updates of rank r, r (out + in - r). It is smaller than "
            "what is stored and trained.",
            lambda shapes, r: sum(r * (o + i - r) for o, i in shapes),
        ),
    ),
    lambda arguments: {"r": float(arguments["r"])},
)


def _break_even(out_features: int, in_features: int) -> int:
    r = 0
    while (r + 1) * (out_features + in_features) < out_features * in_features:
        r += 1
    return r


def _draw_sides(rng: np.random.Generator, n: int) -> Arguments:
    factor, side = int(rng.integers(2, 6)), 2 * int(rng.integers(8, 30))
    # A and B can have just as many numbers as the weight: for even squares, and for some others
    fixed = {1: (side, side), 2: (3 * factor, 6 * factor), 3: (30 * factor, 20 * factor)}
    if n in fixed:
        out_features, in_features = fixed[n]
        return {"out_features": out_features, "in_features": in_features}
    if n == 4:
        return {"out_features": side + 1, "in_features": side + 1}
    while True:
        small, large = int(rng.integers(20, 40)), int(rng.integers(70, 110))
        over = small * large / (small + large) % 1
        if 0.1 < over < 0.4 if n == 5 else 0.6 < over < 0.9:
            break
    if n == 6:
        small, large = large, small
    return {"out_features": large, "in_features": small}


BREAK_EVEN = Exercise(
    "break-even",
    "09",
    "the largest rank that still saves",
    "Return the largest rank at which A and B together have fewer numbers than a weight of shape\n"
    "(out_features, in_features): a whole number.",
    _break_even,
    _draw_sides,
    (
        Slip(
            "as-many-is-fewer",
            "at this rank A and B can have just as many numbers as the weight, as in the text's "
            "4x4 example at r = 2. Fewer is asked for.",
            lambda out_features, in_features: (
                out_features * in_features // (out_features + in_features)
            ),
        ),
        Slip(
            "full-rank",
            "this is the largest rank there is; long before it LoRA has more numbers.",
            lambda out_features, in_features: min(out_features, in_features),
        ),
        Slip(
            "half-the-input",
            "half of in_features is for square weights, and there it does not save yet.",
            lambda out_features, in_features: in_features // 2,
        ),
        Slip(
            "half-the-smaller",
            "half of the smaller side is for square weights, and there it does not save yet.",
            lambda out_features, in_features: min(out_features, in_features) // 2,
        ),
        Slip(
            "one-too-many",
            "this is the first rank that does not save.",
            lambda out_features, in_features: _break_even(out_features, in_features) + 1,
        ),
    ),
)


def _training_bytes(frozen: int, trained: int) -> int:
    total = 0
    for _ in range(frozen):
        total += 4  # the number itself
    for _ in range(trained):
        total += 4  # the number itself
        total += 4  # its gradient
        total += 4 + 4  # AdamW's mean of the gradient, and of its square
    return total


TRAINING_BYTES = Exercise(
    "training-bytes",
    "09",
    "what training holds in memory",
    "A model has `frozen` numbers that are not trained and `trained` numbers that AdamW trains,\n"
    "all in float32. Return the bytes of weights, gradients and optimiser states together, a\n"
    "whole number; activations left out.",
    _training_bytes,
    lambda rng, n: {
        "frozen": int(rng.integers(1000, 5000)),
        "trained": int(rng.integers(20, 300)),
    },
    (
        Slip(
            "all-trained",
            "gradients and states are counted for the frozen numbers too. They have none: that is "
            "what LoRA saves.",
            lambda frozen, trained: 16 * (frozen + trained),
        ),
        Slip(
            "frozen-forgotten",
            "the frozen weights are not counted. They are not trained, and have to be there.",
            lambda frozen, trained: 16 * trained,
        ),
        Slip(
            "states-forgotten",
            "AdamW's two numbers for each trained one are missing.",
            lambda frozen, trained: 4 * frozen + 8 * trained,
        ),
        Slip(
            "one-of-four",
            "one of four is missing for each trained number: itself, its gradient, AdamW's two.",
            lambda frozen, trained: 4 * frozen + 12 * trained,
        ),
        Slip(
            "weights-alone",
            "these are the weights alone; gradients and optimiser states are missing.",
            lambda frozen, trained: 4 * (frozen + trained),
        ),
        Slip(
            "numbers-for-bytes",
            "these are numbers, not bytes: a float32 has four.",
            lambda frozen, trained: frozen + 4 * trained,
        ),
        Slip(
            "bits-for-bytes",
            "these are bits, not bytes.",
            lambda frozen, trained: 32 * frozen + 128 * trained,
        ),
    ),
)

ALL = (COUNT, BREAK_EVEN, TRAINING_BYTES)
