"""The example step by step, every number computed anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple, Self

import numpy as np

from lora_ref import counting, lowrank
from lora_ref.checks import Array
from lora_ref.exact import ExactArray, floats, fractions_of, rank_and_determinant
from lora_ref.layers import LoRALinear
from lora_ref.walkthrough.example import (
    ALPHA,
    EXACT,
    PRINTED,
    Pass,
    R,
    Table,
    article_layer,
    exact_pass,
    layer_pass,
    printed_in,
    tiled,
)


@dataclass(frozen=True)
class Root:
    """The square root of a fraction, not rounded."""

    square: Fraction

    def __float__(self) -> float:
        return sqrt(self.square)

    def __str__(self) -> str:
        return f"sqrt({self.square})"


@dataclass(frozen=True, eq=False)
class Part:
    """One quantity of a step: in floating point, exact, and as the article prints it."""

    value: Array | float
    exact: ExactArray | Fraction | Root
    printed: Table | str | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the example: a formula, its results by name, and a remark."""

    number: int
    name: str
    title: str
    formula: str  # one line or more
    parts: Mapping[str, Part]
    note: str


_CONTENTS = {
    "pretrained": ("The pretrained weight", "W0, out x in, frozen"),
    "start": ("Before training B is zero", "W = W0 + (alpha/r) B A"),
    "trained": ("B after training", "B, out x r, no longer zero"),
    "update": ("The update is B A", "Delta W = (alpha/r) B A"),
    "scaling": ("The scaling", "s = alpha/r"),
    "merge": ("Merging the update into the weight", "W = W0 + (alpha/r) B A"),
    "parameters": ("How many parameters", "in x out against r (in + out)"),
    "terms": ("The update is a sum of r terms", "B A = b_1 a_1^T + b_2 a_2^T"),
    "norm": ("The size of the update", "|Delta W| = sqrt(sum of the squares of its entries)"),
    "forward-one-step": ("An input through the merged weight", "y = (W0 + (alpha/r) B A) x"),
    "forward-two-steps": ("The same in two steps", "y = W0 x + (alpha/r) B (A x)"),
    "gradients": (
        "A loss and its gradients",
        "g = y - target,  loss = |g|^2 / 2\n"
        "grad A = (alpha/r) B^T g x^T,  grad B = (alpha/r) g (A x)^T",
    ),
    "sgd": ("One step of gradient descent", "A <- A - lr grad A,  B <- B - lr grad B"),
    "merge-again": ("Merging after the step", "(W0 + (alpha/r) B A) x = W0 x + (alpha/r) B (A x)"),
}


class _Stage(NamedTuple):
    """The example at one moment: the layer, and our input through it computed both ways."""

    layer: LoRALinear
    floats: Pass[Array, float]
    fractions: Pass[ExactArray, Fraction]

    @classmethod
    def of(cls, layer: LoRALinear, A: ExactArray, B: ExactArray) -> Self:
        return cls(layer, layer_pass(layer), exact_pass(A, B))

    def part(self, name: str, printed: Table | None = None) -> Part:
        return Part(getattr(self.floats, name), getattr(self.fractions, name), printed)

    def parts(self, names: Mapping[str, str]) -> dict[str, Part]:
        return {label: self.part(name) for label, name in names.items()}


def all_steps() -> tuple[Step, ...]:
    """Return the steps in order, every number computed anew."""
    start = _Stage.of(article_layer(EXACT.B_start), EXACT.A, EXACT.B_start)
    trained = _Stage.of(article_layer(), EXACT.A, EXACT.B)
    A, B = _step(trained.floats, float(EXACT.lr))
    layer = trained.layer.with_params({"A": A, "B": B})
    stepped = _Stage.of(layer, *_step(trained.fractions, EXACT.lr))
    contents = _article_steps(start, trained) | _training_steps(trained, stepped)
    return tuple(
        Step(number, name, title, formula, *contents[name])
        for number, (name, (title, formula)) in enumerate(_CONTENTS.items(), start=1)
    )


def _article_steps(start: _Stage, trained: _Stage) -> dict[str, tuple[dict[str, Part], str]]:
    layer, delta_w = trained.layer, trained.fractions.delta_w
    sizes = np.linalg.svd(layer.W0, compute_uv=False)
    short = sizes[-1] / np.linalg.norm(sizes)
    printed_ab, ab = fractions_of(PRINTED.AB), EXACT.A @ EXACT.B
    slip = ab[0, 0] - EXACT.A[0, 0] * EXACT.B[0, 0] + Fraction(PRINTED.AB_terms[0])
    rises = " and ".join(f"{float(rise):.2f}" for rise in printed_ab[1] - printed_ab[0])
    tile = fractions_of(tiled(PRINTED.AB))
    right_sums = np.count_nonzero(fractions_of(PRINTED.W) == EXACT.W0 + tile)
    d, large, r_large = len(EXACT.W0), 1024, 8
    of_A, of_B, of_both, _ = printed_in("count-lora-4")
    full, lora = counting.full_params(large, large), counting.lora_params(large, large, r_large)
    even = counting.break_even_rank(d, d)
    redone = _norm(floats(tile), tile)
    products = EXACT.A[0] * EXACT.B[:, 0]
    outer = [np.outer(b, a) for b, a in zip(EXACT.B.T, EXACT.A, strict=True)]
    in_floats = lowrank.outer_products(layer.A, layer.B)
    reached = np.linalg.matrix_rank(lowrank.product_jacobian(layer.A, layer.B))
    return {
        "pretrained": (
            {
                "W0": Part(layer.W0, EXACT.W0, PRINTED.W0),
                "rank": _rank(layer.W0, EXACT.W0, printed_in("w0-full-rank")),
                "determinant": Part(
                    np.linalg.det(layer.W0).item(), rank_and_determinant(EXACT.W0)[1]
                ),
            },
            f"Full rank, and the nearest matrix of rank {d - 1} is only {100 * short:.1f} % of its "
            "norm away. The determinant does not say so: small entries alone make it small.",
        ),
        "start": (
            {
                "A": start.part("A", PRINTED.A),
                "B": start.part("B", PRINTED.B_start),
                "W": start.part("W", PRINTED.W0),
            },
            "With B = 0 the layer is W0, whatever A and alpha are. The printed A is an arithmetic "
            "sequence, easy to read; a real A is drawn at random.",
        ),
        "trained": (
            {"B": trained.part("B", PRINTED.B)},
            "An example value of the article, which leaves A as it was. Training moves both "
            "factors, B first: where B = 0, the gradient of A is zero.",
        ),
        "update": (
            {
                "Delta W": trained.part("delta_w", PRINTED.AB),
                "rank": _rank(layer.delta_w, delta_w),
                "A B": Part(layer.A @ layer.B, ab),
                "AB_11 terms": Part(
                    layer.A[0] * layer.B[:, 0], products, ", ".join(PRINTED.AB_terms)
                ),
            },
            f"The article writes A B. That is {_by(ab)}, and B A is {_by(delta_w)}: neither is "
            f"{_by(printed_ab)}. The first printed entry, {PRINTED.AB[0][0]}, takes "
            f"{PRINTED.A[0][0]} x {PRINTED.B[0][0]} for {PRINTED.AB_terms[0]}: so the sum becomes "
            f"{float(slip):.2f}, where A B has {float(ab[0, 0]):.2f} and B A has "
            f"{float(delta_w[0, 0]):.2f}. The rows below add {rises} each time.",
        ),
        "scaling": (
            {
                "alpha": Part(int(layer.alpha), Fraction(ALPHA), str(ALPHA)),
                "r": Part(layer.r, Fraction(R), str(R)),
                "s": Part(layer.scaling, Fraction(ALPHA, R), printed_in("scaling-one")),
            },
            "With alpha = r the update enters as it is.",
        ),
        "merge": (
            {
                "W": trained.part("W", PRINTED.W),
                "rank": _rank(layer.merge().W, trained.fractions.W),
            },
            f"The article adds a {_by(printed_ab)} matrix to a {_by(EXACT.W0)} one, which is not "
            f"defined, by putting it twice side by side: {right_sums} of its {tile.size} sums are "
            "right as sums of the printed numbers. Low rank is the update's, not W's.",
        ),
        "parameters": (
            {
                "W0": Part(layer.W0.size, Fraction(d * d), printed_in("count-4x4")),
                "A": Part(layer.A.size, Fraction(R * d), of_A),
                "B": Part(layer.B.size, Fraction(d * R), of_B),
                "A and B": Part(layer.A.size + layer.B.size, Fraction(R * (d + d)), of_both),
                "break-even rank": Part(float(even), Fraction(d * d, d + d)),
                f"W0 at {large}": Part(full, Fraction(large**2), printed_in("count-1024")),
                f"A and B, r = {r_large}": Part(
                    lora, Fraction(2 * large * r_large), printed_in("count-lora-1024")
                ),
                "A and B, % of W0": Part(
                    100 * lora / full, Fraction(100 * 2 * r_large, large), printed_in("ratio-1024")
                ),
            },
            f"r = {R} is not far below {d}: at rank {even} nothing is saved. At {large} the same "
            f"happens only at rank {counting.break_even_rank(large, large)}.",
        ),
        "terms": (
            {
                "b_1 a_1^T": Part(in_floats[0], outer[0]),
                "b_2 a_2^T": Part(in_floats[1], outer[1]),
                "their sum": Part(in_floats.sum(axis=0), outer[0] + outer[1]),
                "dimensions of all W": Part(d * d, Fraction(d * d), printed_in("count-4x4")),
                "dimensions that B A reaches": Part(
                    int(reached), Fraction(lowrank.rank_set_dimension(d, d, R))
                ),
            },
            "A term is a column of B times a row of A. The article has the rows of A first, and "
            "calls what is reached one-dimensional, and r-dimensional: it has r (2d - r) "
            "dimensions, and is no subspace: two updates of rank 2 can add up to rank 4.",
        ),
        "norm": (
            {
                "|Delta W|": _norm(layer.delta_w, delta_w, PRINTED.norm),
                "the article's sum, redone": redone,
                "over its 8 printed numbers": _norm(floats(printed_ab), printed_ab),
            },
            "The article calls this the error of an approximation; it is the size of the update. "
            f"The article's own {tile.size} numbers, tiling included, give "
            f"{redone.value:.4f} and not {PRINTED.norm}.",
        ),
    }


def _training_steps(trained: _Stage, stepped: _Stage) -> dict[str, tuple[dict[str, Part], str]]:
    before, after, x = trained.fractions, stepped.fractions, floats(EXACT.x)[None]
    d = len(EXACT.W0)
    both_paths = counting.lora_multiply_adds(d, d, R, n=1).forward
    two_steps = both_paths - counting.merged_multiply_adds(d, d, n=1).forward
    forming = counting.forming_multiply_adds(d, d, R)
    grad_W0 = Root((np.outer(before.grad_y, EXACT.x) ** 2).sum())
    return {
        "forward-one-step": (
            {
                "x": Part(x[0], EXACT.x),
                "y": Part(trained.layer.merge().forward(x)[0][0], before.W @ EXACT.x),
            },
            "The article gives no input; this x is ours.",
        ),
        "forward-two-steps": (
            trained.parts({"W0 x": "base", "A x": "h", "(alpha/r) B (A x)": "low_rank", "y": "y"}),
            f"The two steps B (A x) cost {two_steps} multiply-adds; forming B A alone costs "
            f"{forming}, before any x is multiplied. A B x, as the article also writes, is not "
            "defined.",
        ),
        "gradients": (
            {
                "target": Part(floats(EXACT.target), EXACT.target),
                **trained.parts({"g": "grad_y", "loss": "loss"}),
                **trained.parts({"grad A": "grad_A", "grad B": "grad_B"}),
            },
            "Target and loss are ours. The gradient of W0 is g x^T, and not zero as the article "
            f"has it (its norm is {float(grad_W0):.4f}): it is never computed and never applied.",
        ),
        "sgd": (
            {
                "lr": Part(float(EXACT.lr), EXACT.lr),
                **stepped.parts({"A": "A", "B": "B", "Delta W": "delta_w"}),
                "loss before": trained.part("loss"),
                "loss after": stepped.part("loss"),
            },
            "The learning rate is ours. One step takes the loss from "
            f"{float(before.loss):.4f} to {float(after.loss):.4f}; W0 is what it was.",
        ),
        "merge-again": (
            {
                "W": stepped.part("W"),
                "y, merged": Part(stepped.layer.merge().forward(x)[0][0], after.W @ EXACT.x),
                "y, not merged": stepped.part("y"),
            },
            "Merged or not, the output is the same: equal in fractions, to rounding in floats.",
        ),
    }


def _step(at: Pass[Any, Any], lr: Any) -> tuple[Any, Any]:
    return at.A - lr * at.grad_A, at.B - lr * at.grad_B


def _rank(floats: Array, fractions: ExactArray, printed: str | None = None) -> Part:
    rank, _ = rank_and_determinant(fractions)
    return Part(int(np.linalg.matrix_rank(floats)), Fraction(rank), printed)


def _norm(floats: Array, fractions: ExactArray, printed: str | None = None) -> Part:
    return Part(float(np.linalg.norm(floats)), Root((fractions**2).sum()), printed)


def _by(matrix: ExactArray) -> str:
    return "x".join(map(str, matrix.shape))
