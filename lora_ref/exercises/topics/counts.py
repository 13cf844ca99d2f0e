"""Exercises of notebook 12: trained parameters, the ranks at which LoRA saves, and bytes."""

import numpy as np

from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer

Shapes = list[tuple[int, int]]


def _count(shapes: Shapes, r: int) -> int:
    numbers = 0
    for out_features, in_features in shapes:
        A, B = np.zeros((r, in_features)), np.zeros((out_features, r))
        for matrix in (A, B):
            for row in matrix:
                for _ in row:
                    numbers += 1
    return numbers


def _draw_shapes(rng: np.random.Generator, n: int) -> Arguments:
    sides = rng.permutation(np.arange(16, 90))[: 4 + 2 * (n % 3)]  # 2 to 4 weights
    shapes = [(int(sides[i]), int(sides[i + 1])) for i in range(0, len(sides), 2)]
    if n == 5:
        shapes[1] = shapes[0]  # two weights of one shape are two weights
    return {"shapes": shapes, "r": int(rng.integers(3, 9))}


COUNT = Exercise(
    "12",
    "how many parameters LoRA trains",
    "shapes lists (out_features, in_features) of the weights that get A and B of rank r. Return\n"
    "how many parameters are trained, a whole number. No array is needed.",
    _count,
    _draw_shapes,
    {
        "full": WrongAnswer(
            "these are the entries of the weights, which full fine-tuning trains.",
            lambda shapes, r: sum(out * in_ for out, in_ in shapes),
        ),
        "frozen-too": WrongAnswer(
            "the frozen weights are counted too. They are there, but not trained.",
            lambda shapes, r: sum(out * in_ + r * (out + in_) for out, in_ in shapes),
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
        "last-alone": WrongAnswer(
            "only the last weight is counted: is something overwritten in the loop?",
            lambda shapes, r: sum(shapes[-1]) * r,
        ),
        "rank-forgotten": WrongAnswer(
            "A and B are counted as if they had one row and one column; they have r.",
            lambda shapes, r: sum(map(sum, shapes)),
        ),
        "rank-once": WrongAnswer(
            "only one of A and B is multiplied by r here; parentheses may be missing.",
            lambda shapes, r: sum(r * out + in_ for out, in_ in shapes),
        ),
        "rank-once-on-the-input": WrongAnswer(
            "only one of A and B is multiplied by r here; parentheses may be missing.",
            lambda shapes, r: sum(out + in_ * r for out, in_ in shapes),
        ),
        "dimension": WrongAnswer(
            "this is the dimension of the updates of rank r, r (out + in - r). It is smaller than "
            "what is stored and trained.",
            lambda shapes, r: sum(r * (out + in_ - r) for out, in_ in shapes),
        ),
        "each-shape-once": WrongAnswer(
            "weights of equal shapes are counted once; each of them gets an A and a B.",
            lambda shapes, r: sum(r * (out + in_) for out, in_ in set(shapes)),
        ),
        "r-by-r": WrongAnswer(
            "a matrix of r x r is counted with each weight; A and B are all that is trained.",
            lambda shapes, r: sum(r * (out + in_ + r) for out, in_ in shapes),
        ),
        "biases": WrongAnswer(
            "out_features more are counted for each weight; biases are not trained here.",
            lambda shapes, r: sum(r * (out + in_) + out for out, in_ in shapes),
        ),
        "smaller-side-twice": WrongAnswer(
            "the smaller side is counted twice; A has one of the sides, and B the other.",
            lambda shapes, r: sum(2 * r * min(sides) for sides in shapes),
        ),
        "sums-multiplied": WrongAnswer(
            "all outputs are multiplied by all inputs; each weight has its own pair.",
            lambda shapes, r: r * sum(out for out, _ in shapes) * sum(in_ for _, in_ in shapes),
        ),
        "rank-shared-out": WrongAnswer(
            "the rank is shared out among the weights; each gets all of it.",
            lambda shapes, r: sum(r // len(shapes) * (out + in_) for out, in_ in shapes),
        ),
        "saved": WrongAnswer(
            "this is what LoRA saves, not what it trains.",
            lambda shapes, r: sum(out * in_ - r * (out + in_) for out, in_ in shapes),
        ),
    },
    lambda arguments: {"r": float(arguments["r"])},
    question="two of the weights are (64, 32) and (32, 64). Which of them costs more at one rank?",
    hints=(
        "Write down the shape of A and the shape of B beside one weight.",
        "A matrix has as many entries as its rows times its columns. Add those of A and of B, then "
        "those of all weights.",
        "One sum over the pairs of `shapes` is enough. Which factor do the entries of A and those "
        "of B have in common?",
    ),
    folded=True,
)


def _break_even(out_features: int, in_features: int) -> int:
    entries, r = out_features * in_features, 0
    while np.zeros((r + 1, in_features)).size + np.zeros((out_features, r + 1)).size < entries:
        r += 1
    return r


def _draw_sides(rng: np.random.Generator, n: int) -> Arguments:
    factor, side = int(rng.integers(2, 6)), 2 * int(rng.integers(8, 30))
    # in the first three, A and B can have exactly as many parameters as the weight
    fixed = {1: (side, side), 2: (3 * factor, 6 * factor), 3: (30 * factor, 20 * factor)}
    fixed |= {4: (side + 1, side + 1), 7: (4, 13)}
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


BRACKETS = (
    "the signs bind otherwise than meant: // and * from left to right, and both before + and -. "
    "Brackets are missing."
)

BREAK_EVEN = Exercise(
    "12",
    "the largest rank that still saves",
    "Return the largest rank at which A and B together have fewer parameters than a weight of\n"
    "shape (out_features, in_features): a whole number. Solve for r; no loop is needed.",
    _break_even,
    _draw_sides,
    {
        "as-many-is-fewer": WrongAnswer(
            "at this rank A and B can have exactly as many parameters as the weight, as in the "
            "text's 4x4 example at r = 2. Fewer is asked for.",
            lambda out, in_: out * in_ // (out + in_),
        ),
        "always-one-less": WrongAnswer(
            "one is taken off always; it is one too many where the exact break-even rank is not a "
            "whole number.",
            lambda out, in_: out * in_ // (out + in_) - 1,
        ),
        "rounded": WrongAnswer(
            "the exact break-even rank is rounded to the nearest whole number, which may lie above "
            "it.",
            lambda out, in_: round(out * in_ / (out + in_)),
        ),
        "not-whole": WrongAnswer(
            "this is the exact break-even rank, where A and B have as many parameters as the "
            "weight. A rank is a whole number, and fewer is asked for.",
            lambda out, in_: out * in_ / (out + in_),
        ),
        "quarter-of-the-sum": WrongAnswer(
            "a quarter of the two sides together is right for square weights alone. Set the "
            "parameters of A and B equal to those of the weight, and solve for r.",
            lambda out, in_: (out + in_) // 4,
        ),
        "quarter-not-whole": WrongAnswer(
            "a quarter of the two sides together is for square weights alone, and a rank is a "
            "whole number. Set the parameters of A and B equal to those of the weight, and solve "
            "for r.",
            lambda out, in_: (out + in_) / 4,
        ),
        "full-rank": WrongAnswer(
            "this is the largest rank there is; long before it LoRA has more parameters.",
            lambda out, in_: min(out, in_),
        ),
        "half-the-input": WrongAnswer(
            "half of in_features is for square weights, and of an even side it does not save yet.",
            lambda out, in_: in_ // 2,
        ),
        "half-the-output": WrongAnswer(
            "half of out_features is for square weights, and of an even side it does not save yet.",
            lambda out, in_: out // 2,
        ),
        "half-the-smaller": WrongAnswer(
            "half of the smaller side is for square weights, and of an even side it does not save "
            "yet.",
            lambda out, in_: min(out, in_) // 2,
        ),
        "one-too-many": WrongAnswer(
            "this is the first rank that does not save.",
            lambda out, in_: _break_even(out, in_) + 1,
        ),
        "divided-before-the-sum": WrongAnswer(
            BRACKETS, lambda out, in_: out * in_ - 1 // out + in_
        ),
        "A-alone": WrongAnswer(
            "only A is counted; B has parameters too.",
            lambda out, in_: out - 1,
        ),
        "B-alone": WrongAnswer(
            "only B is counted; A has parameters too.",
            lambda out, in_: in_ - 1,
        ),
        "counted-twice": WrongAnswer(
            "A and B are counted twice.",
            lambda out, in_: (out * in_ - 1) // (2 * (out + in_)),
        ),
        "half-taken-off": WrongAnswer(
            "a half is taken off before rounding, which changes more than the case of equality.",
            lambda out, in_: int(out * in_ / (out + in_) - 0.5),
        ),
        "root": WrongAnswer(
            "this is the root of the entries of the weight; the parameters of A and B grow "
            "with r, and not with its square.",
            lambda out, in_: int((out * in_) ** 0.5),
        ),
    },
    question="for a weight of 4 x 4, do A and B of rank 2 have fewer numbers, as many, or more?",
    hints=(
        "Write down, in r, how many numbers A and B have together, and how many the weight has.",
        "Fewer is an inequality in r. Find the r at which both sides are equal, then look at the "
        "case in which that r is a whole number.",
        "One whole-number division: `//` rounds down. What has to change in it so that a result "
        "without a remainder ends one lower, and no other?",
    ),
)


def _cheaper_step(out_features: int, in_features: int) -> int:
    W0, r = out_features * in_features, 0
    while True:
        A, B = np.zeros((r + 1, in_features)), np.zeros((out_features, r + 1))
        thin = A.size + B.size
        full = W0 + W0 + W0  # for one row: y, the gradient of x, the gradient of W
        lora = (W0 + thin) + (W0 + thin) + thin  # y, the gradient of x, those of A and B
        if lora >= full:
            return r
        r += 1


def _draw_wide_sides(rng: np.random.Generator, n: int) -> Arguments:
    return {name: 3 * side for name, side in _draw_sides(rng, n).items()}


CHEAPER_STEP = Exercise(
    "12",
    "the largest rank with a cheaper step",
    "Return the largest rank at which a step of LoRA, forward and backward, takes fewer\n"
    "multiply-adds than a step of full fine-tuning, for a weight of shape (out_features,\n"
    "in_features): a whole number. Layers below train, so both need the gradient of x. B A is\n"
    "never formed, and products with matrices alone are counted. Solve for r; no loop is needed.",
    _cheaper_step,
    _draw_wide_sides,
    {
        "fewer-numbers": WrongAnswer(
            "up to this rank LoRA has fewer parameters; a step gets dearer before. How many thin "
            "products take the place of the large one that is left out?",
            _break_even,
        ),
        "as-many-is-fewer": WrongAnswer(
            "at this rank both steps can cost exactly the same. Fewer is asked for.",
            lambda out, in_: out * in_ // (3 * (out + in_)),
        ),
        "not-whole": WrongAnswer(
            "this is where both steps cost the same. A rank is a whole number, and fewer is asked "
            "for.",
            lambda out, in_: out * in_ / (3 * (out + in_)),
        ),
        "sixth-of-the-input": WrongAnswer(
            "d/6 is for square weights, and there both steps cost the same.",
            lambda out, in_: in_ // 6,
        ),
        "sixth-of-the-output": WrongAnswer(
            "d/6 is for square weights, and there both steps cost the same.",
            lambda out, in_: out // 6,
        ),
        "sixth-of-the-smaller": WrongAnswer(
            "d/6 is for square weights, and there both steps cost the same.",
            lambda out, in_: min(out, in_) // 6,
        ),
        "twelfth-of-the-sum": WrongAnswer(
            "a twelfth of the two sides together is for square weights alone.",
            lambda out, in_: (out + in_) // 12,
        ),
        "both-in-each": WrongAnswer(
            "a thin product is one with A or one with B; here each of the six is counted as both.",
            lambda out, in_: (out * in_ - 1) // (6 * (out + in_)),
        ),
        "backward-alone": WrongAnswer(
            "four of the six thin products are counted. A and B have three uses each, from x to "
            "the last gradient: which one is missing?",
            lambda out, in_: (out * in_ - 1) // (2 * (out + in_)),
        ),
        "brackets-missing": WrongAnswer(
            BRACKETS, lambda out, in_: (out * in_ - 1) // 3 * (out + in_)
        ),
        "always-one-less": WrongAnswer(
            "one is taken off always; it is one too many where the steps do not cost the same "
            "at a whole rank.",
            lambda out, in_: out * in_ // (3 * (out + in_)) - 1,
        ),
        "one-too-many": WrongAnswer(
            "this is the first rank that is not cheaper.",
            lambda out, in_: _cheaper_step(out, in_) + 1,
        ),
        "rounded": WrongAnswer(
            "the rank at which both cost the same is rounded to the nearest, which may lie "
            "above it.",
            lambda out, in_: round(out * in_ / (3 * (out + in_))),
        ),
        "two-saved": WrongAnswer(
            "two large products are left out here; the gradient of x needs W0 still.",
            lambda out, in_: (2 * out * in_ - 1) // (3 * (out + in_)),
        ),
        "all-saved": WrongAnswer(
            "LoRA has large products too: which of the three is left out?",
            lambda out, in_: (3 * out * in_ - 1) // (out + in_),
        ),
        "eight-thin": WrongAnswer(
            "eight thin products are counted; what is each of A and B used for?",
            lambda out, in_: (out * in_ - 1) // (4 * (out + in_)),
        ),
        "five-thin": WrongAnswer(
            "one thin product with A is missing: x gets a gradient through A too.",
            lambda out, in_: (out * in_ - 1) // (3 * out + 2 * in_),
        ),
        "product-formed": WrongAnswer(
            "B A is formed in each step here; the task says it never is.",
            lambda out, in_: (out * in_ - 1) // (out * in_ + 3 * (out + in_)),
        ),
    },
    question="why does the answer not depend on the number of rows?",
    hints=(
        "Count for one row. Which products with W0 does full fine-tuning make, and which LoRA?",
        "Which product of the size of W0 does LoRA leave out? And for what are A and B each used, "
        "from x to all the gradients? Set the two costs equal.",
        "The same inequality as in break-even, with a factor on one side. Mind the case of "
        "equality in the same way.",
    ),
    folded=True,
)


def _training_bytes(frozen: int, trained: int) -> int:
    weights = np.zeros(frozen + trained, np.float32)
    gradients = np.ones(trained, np.float32)
    mean = np.zeros_like(gradients)  # AdamW's, of the gradient
    square = np.zeros_like(gradients)  # and of its square
    total = 0
    for array in (weights, gradients, mean, square):
        for number in array:
            total += number.itemsize
    return total


TRAINING_BYTES = Exercise(
    "12",
    "what training holds in memory",
    "A model has `frozen` parameters that are not trained and `trained` parameters that AdamW\n"
    "trains, all in float32. Return the bytes of weights, gradients and optimiser states\n"
    "together, a whole number; activations left out. No array is needed.",
    _training_bytes,
    lambda rng, n: {"frozen": int(rng.integers(1000, 5000)), "trained": int(rng.integers(20, 300))},
    {
        "all-trained": WrongAnswer(
            "gradients and states are counted for the frozen parameters too. They have none: that "
            "is what LoRA saves.",
            lambda frozen, trained: 16 * (frozen + trained),
        ),
        "frozen-gradients": WrongAnswer(
            "gradients are counted for the frozen parameters too. None is computed for them.",
            lambda frozen, trained: 8 * frozen + 16 * trained,
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
            "one number too few is counted for each trained parameter. How many does AdamW keep, "
            "beside the weight and its gradient?",
            lambda frozen, trained: 4 * frozen + 12 * trained,
        ),
        "trained-twice": WrongAnswer(
            "five numbers are counted for each trained parameter: a weight twice, or three states? "
            "AdamW keeps two beside the weight and its gradient.",
            lambda frozen, trained: 4 * (frozen + trained) + 16 * trained,
        ),
        "weights-alone": WrongAnswer(
            "these are the weights alone; gradients and optimiser states are missing.",
            lambda frozen, trained: 4 * (frozen + trained),
        ),
        "mixed-precision": WrongAnswer(
            "weights and gradients have two bytes here, and the states four: that is bfloat16 with "
            "states in float32. Here all is float32.",
            lambda frozen, trained: 2 * frozen + (2 + 2 + 8) * trained,
        ),
        "mixed-precision-with-a-copy": WrongAnswer(
            "this is bfloat16 with a float32 copy of the trained weights and states in float32. "
            "Here all is float32, and there is no copy.",
            lambda frozen, trained: 2 * frozen + (2 + 2 + 4 + 8) * trained,
        ),
        "16-bits": WrongAnswer(
            "two bytes are counted for each number; a float32 has four.",
            lambda frozen, trained: 2 * frozen + 8 * trained,
        ),
        "numbers-for-bytes": WrongAnswer(
            "these are numbers, not bytes: a float32 has four.",
            lambda frozen, trained: frozen + 4 * trained,
        ),
        "bits-for-bytes": WrongAnswer(
            "these are bits, not bytes.", lambda frozen, trained: 32 * frozen + 128 * trained
        ),
        "frozen-states": WrongAnswer(
            "AdamW's two numbers are counted for the frozen parameters too. It keeps none for "
            "them.",
            lambda frozen, trained: 12 * frozen + 16 * trained,
        ),
        "added-for-multiplied": WrongAnswer(
            "something is added to `trained` that should multiply it.",
            lambda frozen, trained: 4 * frozen + 16 + trained,
        ),
        "frozen-one-byte": WrongAnswer(
            "the frozen weights are counted with one byte each; are brackets missing?",
            lambda frozen, trained: frozen + 16 * trained,
        ),
        "states-one-byte": WrongAnswer(
            "AdamW's two numbers are counted with one byte each, and a gradient not at all.",
            lambda frozen, trained: 4 * frozen + 6 * trained,
        ),
    },
    question="for which of weights, gradients and states does it matter that a number is frozen?",
    hints=(
        "Make a table: frozen and trained as rows; weight, gradient and AdamW's states as columns.",
        "How many numbers are held for one frozen parameter, and how many for one trained?",
        "Add up the two rows of the table, each times its number of parameters, and mind the "
        "unit: the table counts numbers, and bytes are asked for.",
    ),
    folded=True,
)

ALL = (COUNT, BREAK_EVEN, CHEAPER_STEP, TRAINING_BYTES)
