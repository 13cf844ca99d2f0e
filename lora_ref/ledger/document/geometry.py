"""Part one, sections 4 to 7: what the set of updates looks like, and how large an update is."""

from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np

from lora_ref import lowrank
from lora_ref.errors import ShapeError
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import LoRALinear
from lora_ref.ledger.claim import (
    Claim,
    Correction,
    Evidence,
    Illustrated,
    Law,
    Number,
    Shape,
    shape_text,
)
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import (
    RIGHT_BA,
    added,
    floats,
    norm,
    product,
    unless_rounding,
)
from lora_ref.lowrank import numerical_rank
from lora_ref.worked import (
    EXACT_A,
    EXACT_B,
    EXACT_LR,
    EXACT_TARGET,
    EXACT_W0,
    EXACT_X,
    PRINTED_AB,
    PRINTED_NORM,
    R,
    fractions_of,
    tiled,
)


def _w_low_rank(W0: Any, A: Any, B: Any) -> Evidence:
    r, update = len(A), product(B, A)
    rank = numerical_rank(floats(added(W0, update)))
    numbers = {
        "rank": rank,
        "distance": norm(W0 - update),
        "best": lowrank.tail(floats(W0), r).frobenius,
        "r": r,
    }
    return Evidence(rank <= r, numbers)


def _dimension(A: Any, B: Any) -> int:
    return numerical_rank(lowrank.product_jacobian(floats(B), floats(A)))


def _one_dimensional(A: Any, B: Any, dimension: int) -> Evidence:
    found, space = _dimension(A, B), len(B) * A.shape[1]
    return Evidence(found == dimension, {"found": found, "space": space})


def _sum_of_two(A: Any, B: Any, A2: Any, B2: Any, r: int) -> Evidence:
    one, other = product(B, A), product(B2, A2)
    ranks = [numerical_rank(floats(update)) for update in (one, other)]
    together = numerical_rank(floats(added(one, other)))
    numbers = {"ranks": " and ".join(map(str, ranks)), "together": together}
    return Evidence(together <= r, numbers, max(ranks) <= r)


def _outer_literally(A: Any, B: Any) -> Any:
    """Sum the products of a row of A (1 x d) with a column of B (d x 1)."""
    if A.shape[1] != B.shape[0]:
        raise ShapeError(f"a row of {A.shape[1]} entries meets a column of {B.shape[0]}")
    return sum(row @ column for row, column in zip(A, B.T, strict=True))


def _outer_sum(A: Any, B: Any) -> Any:
    """Sum the products of a column of B with a row of A."""
    return sum(np.outer(b, a) for b, a in zip(B.T, A, strict=True))


def _both_readings(A: Any, B: Any) -> dict[str, Any]:
    """Return the trace, and the shapes of both readings where d_in and d_out differ."""
    wide_A, tall_B = np.ones((2, 7)), np.ones((5, 2))
    return {
        "trace": float(np.trace(product(A, B))),
        "right": shape_text(_outer_sum(wide_A, tall_B).shape),
        "swapped": shape_text(_outer_sum(tall_B.T, wide_A.T).shape),
        "transposed": "it is" if (_outer_sum(B.T, A.T) == (B @ A).T).all() else "it is not",
    }


def _step(W0: Any, A: Any, B: Any, x: Any, target: Any, lr: Any) -> LoRALinear:
    """One SGD step of the walkthrough: half the squared distance of y to the target."""
    layer = LoRALinear(floats(W0), floats(A), floats(B), alpha=float(len(A)))
    row, wanted = floats(x)[None], floats(target)[None]
    return sgd_step(layer, row, layer.forward(row)[0] - wanted, float(lr))[0]


def _directions_fixed(r: int, **given: Any) -> Evidence:
    before = lowrank.outer_products(floats(given["B"]), floats(given["A"]))
    after_layer = _step(**given)
    after = lowrank.outer_products(after_layer.B, after_layer.A)
    cosines = [
        float(np.vdot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))
        for u, v in zip(before, after, strict=True)
    ]
    degrees = [float(np.degrees(np.arccos(min(1.0, c)))) for c in cosines]
    return Evidence(
        bool(np.allclose(cosines, 1, rtol=0, atol=1e-12)),
        {"degrees": " and ".join(f"{angle:.1f}" for angle in degrees)},
    )


def _number_fixed(r: int, **given: Any) -> Evidence:
    return Evidence(numerical_rank(_step(**given).delta_w) <= r, {"r": r})


def _norm_shrinks(A: Any, B: Any, W0: Any) -> Evidence:
    terms = lowrank.outer_products(floats(B), floats(A))
    norms = [norm(terms[:k].sum(axis=0)) for k in range(1, len(terms) + 1)]
    shrinks = all(later < earlier for earlier, later in pairwise(norms))
    return Evidence(shrinks, {"norms": ", ".join(f"{value:.4f}" for value in norms)})


def _tails(W0: Any, **given: Any) -> tuple[float, ...]:
    return tuple(lowrank.tail(floats(W0), k).frobenius for k in range(len(W0) + 1))


def _filters(W0: Any, A: Any, B: Any, x: Any, rows: Any) -> Evidence:
    """Compare the output with W0's, for x and for its part orthogonal to `rows`."""
    layer = LoRALinear(floats(W0), floats(A), floats(B), alpha=float(len(A)))
    outside = floats(x) - _onto(rows) @ floats(x)

    def moved(column: Any) -> float:
        base = column[None] @ layer.W0.T
        return norm(layer.forward(column[None])[0] - base) / norm(base)

    any_input, orthogonal = moved(floats(x)), moved(outside)
    numbers = {"any_input": any_input, "orthogonal": unless_rounding(orthogonal)}
    return Evidence(any_input < 1e-12, numbers, orthogonal < 1e-12)


def _seen_by_the_update(W0: Any, A: Any, B: Any, x: Any, rows: Any) -> Evidence:
    """Whether the update acts on exactly the inputs that are not orthogonal to the rows of A."""
    column = floats(x)
    inside = _onto(rows) @ column
    share = norm(inside) ** 2 / norm(column) ** 2
    update = floats(B) @ floats(A)
    same = np.allclose(update @ column, update @ inside)
    every = numerical_rank(update) == numerical_rank(floats(A))  # B loses no direction of A x
    return Evidence(bool(same and every), {"share": share})


def _onto(rows: Any) -> Any:
    """Return the projection onto the span of some rows."""
    return np.linalg.pinv(floats(rows)) @ floats(rows)


_FACTORS = {"A": EXACT_A, "B": EXACT_B}
_STEP = {
    "W0": EXACT_W0,
    **_FACTORS,
    "x": EXACT_X,
    "target": EXACT_TARGET,
    "lr": EXACT_LR,
    "r": R,
}

CLAIMS = (
    Claim(
        id="w-low-rank",
        where=sections.MERGED,
        says="W = W0 + AB is a low-rank approximation of W0 (headings of 2, 2.4 and 7)",
        statement=Law(_w_low_rank, "W has rank {rank}, r = {r}"),
        given={"W0": EXACT_W0, **_FACTORS},
        correction=Correction(
            "it is the update B A that has low rank, {printed}; it stands for a change of W0, not "
            "for W0",
            Number("2", lambda W0, A, B: numerical_rank(floats(product(B, A)))),
        ),
        why="B A approximates nothing of W0: their distance is {distance:.3f}, that of the best "
        "matrix of rank {r} is {best:.4f}",
    ),
    Claim(
        id="one-dim-manifold",
        where=sections.GEOMETRY,
        says="the update goes from the full space to a one-dimensional manifold",
        statement=Law(_one_dimensional, "dimension {found} of {space}"),
        given={**_FACTORS, "dimension": 1},
        correction=Correction(
            "the matrices of rank at most r form a set of dimension "
            "r (d_in + d_out - r) = {printed}",
            Number("12", lambda A, B, dimension: _dimension(A, B)),
        ),
        why="counted as the rank of the Jacobian of (A, B) -> B A",
    ),
    Claim(
        id="r-dim-subspace",
        where=sections.GEOMETRY,
        says="all updates lie in an r-dimensional subspace",
        statement=Law(_sum_of_two, "two updates of rank {ranks} sum to rank {together}"),
        given={
            **_FACTORS,
            "A2": fractions_of((("1", "0", "0", "0"), ("0", "0", "0", "1"))),
            "B2": fractions_of((("1", "0"), ("0", "0"), ("0", "0"), ("0", "1"))),
            "r": R,
        },
        correction=Correction(
            "one update has row and column spaces of dimension at most r; the set of all of them "
            "is no linear subspace, since two can sum to rank {printed}",
            Number("4", lambda A, B, A2, B2, r: numerical_rank(floats(added(B @ A, B2 @ A2)))),
        ),
        why="true of each update by itself",
    ),
    Claim(
        id="outer-sum",
        where=sections.GEOMETRY,
        says="A B = sum of a_i b_i^T with a_i the rows of A and b_i^T the columns of B",
        statement=Shape((4, 4), _outer_literally),
        given=_FACTORS,
        correction=Correction("B A = sum of b_i a_i^T = {printed}", Number(RIGHT_BA, _outer_sum)),
        shown=_both_readings,
        why="read literally, a row times a column, each term is a number and the sum is "
        "trace(A B) = {trace:.2f}; read as a_i times b_i^T {transposed} (B A)^T, which d_in = "
        "d_out hides: with 7 inputs and 5 outputs B A is {right}, that sum {swapped}",
    ),
    Claim(
        id="fixed-directions",
        where=sections.GEOMETRY,
        says="updates can only go along the directions a_i b_i^T",
        statement=Law(_directions_fixed, "one SGD step turns them by {degrees} degrees"),
        given=_STEP,
        correction=Correction(
            "the directions move with training; fixed is how many there are, at most r = {r}",
            Law(_number_fixed, ""),
        ),
        why="both factors are trained",
    ),
    Claim(
        id="frobenius",
        where=sections.ERROR,
        says="the Frobenius norm of W - W0, sqrt(0.59^2 + 0.74^2 + ... + 3.74^2), is about 8.97",
        statement=Number(PRINTED_NORM, lambda AB, A, B: norm(AB)),
        given={"AB": fractions_of(tiled(PRINTED_AB)), **_FACTORS},
        correction=Correction(
            "the update B A has Frobenius norm sqrt({square}) = {printed}",
            Number("1.9339", lambda AB, A, B: sqrt((product(B, A) ** 2).sum())),
        ),
        shown=lambda AB, A, B: {"sum": (AB**2).sum(), "square": (product(B, A) ** 2).sum()},
        why="the squares of the printed, tiled numbers sum to {sum:.4f}",
    ),
    Claim(
        id="error-vs-rank",
        where=sections.ERROR,
        says="that norm is the approximation error: the larger r, the smaller",
        statement=Law(_norm_shrinks, "norm of the update with one direction and with two: {norms}"),
        given={**_FACTORS, "W0": EXACT_W0},
        correction=Correction(
            "it is the size of the update. What shrinks is the distance to the best rank-r "
            "approximation of a given target, for W0 {printed} at r = 0 ... 4",
            Number(("2.1541", "0.9941", "0.5974", "0.0315", "0.0000"), _tails),
        ),
        why="a larger update is not a worse one; nothing here is being approximated",
    ),
    Claim(
        id="filter-metaphor",
        where=sections.FILTER,
        says="AB filters: W0 keeps the general, AB adds what is special to the task",
        statement=Law(
            _filters,
            "output moved by {any_input:.1%} for one input, by {orthogonal} for its part "
            "orthogonal to the rows of A",
        ),
        given={"W0": EXACT_W0, **_FACTORS, "x": EXACT_X, "rows": EXACT_A},
        correction=Correction(
            "inputs orthogonal to the rows of A pass unchanged, and, where the columns of B are "
            "independent as here, no others; {share:.1%} of the squared length of x lies in their "
            "span",
            Law(_seen_by_the_update, ""),
        ),
        why="the rows of A decide which inputs are touched, general or special",
    ),
    Claim(
        id="palette-metaphor",
        where=sections.PALETTE,
        says="AB is a palette of few colours over a finished painting, alpha the strength",
        statement=Illustrated(
            "a palette has r colours, B A has r directions, each a whole picture: lora-ref figures "
            "--only palette draws them"
        ),
    ),
)
