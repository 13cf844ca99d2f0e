"""Exercises of notebook 12: trained parameters, the rank at which LoRA saves, and bytes."""

import numpy as np

from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer

Shapes = list[tuple[int, int]]


def _count(shapes: Shapes, r: int) -> int:
    parameters = 0
    for out_features, in_features in shapes:
        for _ in range(r):
            parameters += in_features  # a row of A
            parameters += out_features  # a column of B
    return parameters


def _draw_shapes(rng: np.random.Generator, n: int) -> Arguments:
    sides = rng.permutation(np.arange(16, 90))[: 4 + 2 * (n % 3)]  # 2 to 4 weights
    shapes = [(int(sides[i]), int(sides[i + 1])) for i in range(0, len(sides), 2)]
    return {"shapes": shapes, "r": int(rng.integers(2, 9))}


COUNT = Exercise(
    "12",
    "how many parameters LoRA trains",
    "shapes lists (out_features, in_features) of the weights that get A and B of rank r. Return\n"
    "how many parameters are trained, a whole number.",
    _count,
    _draw_shapes,
    {
        "full": WrongAnswer(
            "these are the entries of the weights, which full fine-tuning trains.",
            lambda shapes, r: sum(out * in_ for out, in_ in shapes),
        ),
        "2-d-r-of-the-input": WrongAnswer(
            "2 d r is for square weights; here in_features is taken for both sides.",
            lambda shapes, r: sum(2 * in_ * r for _, in_ in shapes),
        ),
        "2-d-r-of-the-output": WrongAnswer(
            "2 d r is for square weights; here out_features is taken for both sides.",
            lambda shapes, r: sum(2 * out * r for out, _ in shapes),
        ),
        "A-alone": WrongAnswer(
            "only A is counted.", lambda shapes, r: sum(in_ * r for _, in_ in shapes)
        ),
        "B-alone": WrongAnswer(
            "only B is counted.", lambda shapes, r: sum(out * r for out, _ in shapes)
        ),
        "B-A-formed": WrongAnswer(
            "these are the entries of the products B A, times r. Nobody stores B A.",
            lambda shapes, r: sum(out * in_ * r for out, in_ in shapes),
        ),
        "first-alone": WrongAnswer(
            "only the first weight is counted.", lambda shapes, r: sum(shapes[0]) * r
        ),
        "dimension": WrongAnswer(
            "this is the dimension of the updates of rank r, r (out + in - r). It is smaller than "
            "what is stored and trained.",
            lambda shapes, r: sum(r * (out + in_ - r) for out, in_ in shapes),
        ),
    },
    lambda arguments: {"r": float(arguments["r"])},
    folded=True,
)


def _break_even(out_features: int, in_features: int) -> int:
    r = 0
    while (r + 1) * (out_features + in_features) < out_features * in_features:
        r += 1
    return r


def _draw_sides(rng: np.random.Generator, n: int) -> Arguments:
    factor, side = int(rng.integers(2, 6)), 2 * int(rng.integers(8, 30))
    # in the first three, A and B can have exactly as many parameters as the weight
    fixed = {1: (side, side), 2: (3 * factor, 6 * factor), 3: (30 * factor, 20 * factor)}
    fixed[4] = (side + 1, side + 1)
    if n in fixed:
        return dict(zip(("out_features", "in_features"), fixed[n], strict=True))
    while True:
        small, large = int(rng.integers(20, 40)), int(rng.integers(70, 110))
        over = small * large / (small + large) % 1
        if 0.1 < over < 0.4 if n == 5 else 0.6 < over < 0.9:
            break
    if n == 6:
        small, large = large, small
    return {"out_features": large, "in_features": small}


BREAK_EVEN = Exercise(
    "12",
    "the largest rank that still saves",
    "Return the largest rank at which A and B together have fewer parameters than a weight of\n"
    "shape (out_features, in_features): a whole number.",
    _break_even,
    _draw_sides,
    {
        "as-many-is-fewer": WrongAnswer(
            "at this rank A and B can have exactly as many parameters as the weight, as in the "
            "text's 4x4 example at r = 2. Fewer is asked for.",
            lambda out, in_: out * in_ // (out + in_),
        ),
        "full-rank": WrongAnswer(
            "this is the largest rank there is; long before it LoRA has more parameters.",
            lambda out, in_: min(out, in_),
        ),
        "half-the-input": WrongAnswer(
            "half of in_features is for square weights, and there it does not save yet.",
            lambda out, in_: in_ // 2,
        ),
        "half-the-smaller": WrongAnswer(
            "half of the smaller side is for square weights, and there it does not save yet.",
            lambda out, in_: min(out, in_) // 2,
        ),
        "one-too-many": WrongAnswer(
            "this is the first rank that does not save.",
            lambda out, in_: _break_even(out, in_) + 1,
        ),
    },
    folded=True,
)


def _training_bytes(frozen: int, trained: int) -> int:
    total = 0
    for _ in range(frozen):
        total += 4  # the parameter itself
    for _ in range(trained):
        total += 4  # the parameter itself
        total += 4  # its gradient
        total += 4 + 4  # AdamW's mean of the gradient, and of its square
    return total


TRAINING_BYTES = Exercise(
    "12",
    "what training holds in memory",
    "A model has `frozen` parameters that are not trained and `trained` parameters that AdamW\n"
    "trains, all in float32. Return the bytes of weights, gradients and optimiser states\n"
    "together, a whole number; activations left out.",
    _training_bytes,
    lambda rng, n: {"frozen": int(rng.integers(1000, 5000)), "trained": int(rng.integers(20, 300))},
    {
        "all-trained": WrongAnswer(
            "gradients and states are counted for the frozen parameters too. They have none: that "
            "is what LoRA saves.",
            lambda frozen, trained: 16 * (frozen + trained),
        ),
        "frozen-forgotten": WrongAnswer(
            "the frozen weights are not counted. They are not trained, but take memory.",
            lambda frozen, trained: 16 * trained,
        ),
        "states-forgotten": WrongAnswer(
            "AdamW's two numbers for each trained parameter are missing.",
            lambda frozen, trained: 4 * frozen + 8 * trained,
        ),
        "one-of-four": WrongAnswer(
            "one of four is missing for each trained parameter: itself, its gradient, AdamW's two.",
            lambda frozen, trained: 4 * frozen + 12 * trained,
        ),
        "weights-alone": WrongAnswer(
            "these are the weights alone; gradients and optimiser states are missing.",
            lambda frozen, trained: 4 * (frozen + trained),
        ),
        "numbers-for-bytes": WrongAnswer(
            "these are numbers, not bytes: a float32 has four.",
            lambda frozen, trained: frozen + 4 * trained,
        ),
        "bits-for-bytes": WrongAnswer(
            "these are bits, not bytes.", lambda frozen, trained: 32 * frozen + 128 * trained
        ),
    },
    folded=True,
)

ALL = (COUNT, BREAK_EVEN, TRAINING_BYTES)
