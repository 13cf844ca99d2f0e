"""Part one, sections 1 and 2: the 4 x 4 matrix, its factors, their product and the merge."""

from fractions import Fraction
from math import erfc, sqrt
from typing import Any

import numpy as np

from lora_ref.counting import break_even_rank, full_params, lora_params
from lora_ref.layers import Linear, LoRALinear
from lora_ref.ledger.claim import (
    Claim,
    Correction,
    Evidence,
    Law,
    Number,
    Shape,
    Unsupported,
)
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import RIGHT_BA, added, floats, product
from lora_ref.lowrank import numerical_rank
from lora_ref.worked import (
    ALPHA,
    EXACT_A,
    EXACT_B,
    EXACT_B_START,
    EXACT_W0,
    EXACT_X,
    PRINTED_AB,
    PRINTED_W,
    R,
    fractions_of,
    rank_and_determinant,
    tiled,
)


def _w0_numbers(W0: Any) -> dict[str, Any]:
    s = np.linalg.svd(floats(W0), compute_uv=False)
    return {
        "det": rank_and_determinant(W0)[1],
        "smallest": float(s[-1]),
        "condition": float(s[0] / s[-1]),
    }


def _count_of_square(widths: tuple[int, ...], exponent: int) -> Evidence:
    counts = [np.broadcast_to(0.0, (d, d)).size for d in widths]
    as_stated = all(count == d**exponent for count, d in zip(counts, widths, strict=True))
    return Evidence(as_stated, {"counts": ", ".join(f"{count:,}" for count in counts)})


def _r_below_d(d: int, r: int) -> Evidence:
    limit = break_even_rank(d, d)
    numbers = {"r": r, "limit": limit, "lora": lora_params(d, d, r), "full": full_params(d, d)}
    return Evidence(r < limit, numbers)


def _is_gaussian(A: Any, std: float) -> Evidence:
    entries = floats(A).ravel()
    z = float(np.abs(entries / std).max())
    steps = np.diff(entries)
    sequence = bool(np.allclose(steps, steps[0], rtol=0, atol=1e-12))
    odds = 1 / erfc(5 / sqrt(2))  # of one entry in so many beyond 5 sigma
    return Evidence(z < 5 and not sequence, {"z": z, "step": float(steps[0]), "odds": odds})


def _is_sequence(A: Any, std: float) -> Evidence:
    steps = {b - a for a, b in zip(A.ravel(), A.ravel()[1:], strict=False)}
    first, last = A.ravel()[0], A.ravel()[-1]
    return Evidence(len(steps) == 1, {"first": first, "last": last, "step": min(steps)})


def _rows_as_basis(A: Any, Q: Any, x: Any) -> Evidence:
    """Compare inner products with the rows to the coordinates of x's part in their span."""

    def both(rows: Any) -> tuple[Any, Any]:
        return rows @ floats(x), np.linalg.pinv(rows.T) @ floats(x)

    (products, coordinates), (others, in_others) = both(floats(A)), both(floats(Q))
    numbers = {
        "products": ", ".join(f"{value:.2f}" for value in products),
        "coordinates": ", ".join(f"{value:.3f}" for value in coordinates),
    }
    return Evidence(
        bool(np.allclose(products, coordinates)), numbers, bool(np.allclose(others, in_others))
    )


def _rows_span(A: Any, Q: Any, x: Any) -> Evidence:
    rank = numerical_rank(floats(A))
    return Evidence(rank == len(A) < A.shape[1], {"rank": rank, "d": A.shape[1]})


def _column_steps(printed: Any) -> str:
    """Describe how the columns of a printed matrix rise, if they rise in equal steps."""
    rises = np.diff(fractions_of(printed), axis=0)
    if not (rises == rises[0]).all():
        return "the printed columns follow no rule"
    steps = " and ".join(f"{float(step):.2f}" for step in rises[0])
    return f"the printed columns rise in equal steps of {steps}"


def _starts_at_w0(W0: Any, B: Any, alphas: tuple[float, ...]) -> Evidence:
    rng, weight = np.random.default_rng(0), floats(W0)
    x = rng.standard_normal((8, weight.shape[1]))
    base, same, r = Linear(weight).forward(x)[0], 0, B.shape[1]
    for alpha in alphas:
        A = rng.standard_normal((r, weight.shape[1]))
        y, _ = LoRALinear(weight, A, floats(B), alpha).forward(x)
        same += np.array_equal(y, base)
    return Evidence(same == len(alphas), {"same": same, "tried": len(alphas)})


_FACTORS = {"A": EXACT_A, "B": EXACT_B}

CLAIMS = (
    Claim(
        id="w0-full-rank",
        where=sections.SETUP,
        says="W0 has rank 4, as the article assumes",
        statement=Number("4", lambda W0: rank_and_determinant(W0)[0]),
        given={"W0": EXACT_W0},
        shown=_w0_numbers,
        why="barely: det {det:.4f}, smallest singular value {smallest:.4f}, "
        "condition number {condition:.1f}",
    ),
    Claim(
        id="w0-random",
        where=sections.SETUP,
        says="W0 was generated at random",
        statement=Unsupported(
            "the article gives no distribution and no seed",
            "the article, part one, section 1",
        ),
        given={"W0": EXACT_W0},
        shown=lambda W0: {"grid": sum(w * 10 == int(w * 10) for w in W0.flat), "all": W0.size},
        why="{grid} of {all} printed entries are multiples of 0.1; no conclusion rests on the draw",
    ),
    Claim(
        id="square-params",
        where=sections.SETUP,
        says="a d x d weight has d^2 entries, with d = 768 or 1024",
        statement=Law(_count_of_square, "{counts}"),
        given={"widths": (768, 1024), "exponent": 2},
    ),
    Claim(
        id="r-far-below-d",
        where=sections.APPROXIMATION,
        says="r = 2 is far smaller than d = 4",
        statement=Law(_r_below_d, "r = {r}, break-even rank {limit}"),
        given={"d": len(EXACT_W0), "r": R},
        correction=Correction(
            "r = {value} is the rank at which nothing is saved: {lora} parameters against {full}",
            Number("2.00", lambda d, r: break_even_rank(d, d)),
        ),
        why="small is what lies below the break-even rank; the article's own count says so later",
    ),
    Claim(
        id="a-gaussian",
        where=sections.FACTORS,
        says="the printed A is a random Gaussian initialisation, later N(0, 0.02^2)",
        statement=Law(_is_gaussian, "largest entry {z:.0f} sigma, equal steps of {step:.1f}"),
        given={"A": EXACT_A, "std": 0.02},
        correction=Correction(
            "A is the arithmetic sequence {first:.1f} ... {last:.1f} in steps of {step:.1f}: "
            "an illustration, not a draw",
            Law(_is_sequence, ""),
        ),
        why="one Gaussian entry in {odds:,.0f} lies beyond 5 sigma; here one reaches {z:.0f}",
    ),
    Claim(
        id="a-rows-basis",
        where=sections.FACTORS,
        says="each row of A is a basis vector of the low-dimensional space",
        statement=Law(
            _rows_as_basis,
            "for the x of the walkthrough, A x = ({products}), coordinates ({coordinates})",
        ),
        given={"A": EXACT_A, "Q": np.linalg.qr(floats(EXACT_A).T)[0].T, "x": EXACT_X},
        correction=Correction(
            "the rows are a basis of a {rank}-dimensional subspace of the {d}-dimensional input "
            "space; A x holds inner products with them",
            Law(_rows_span, ""),
        ),
        why="inner products are coordinates only where the rows are orthonormal",
    ),
    Claim(
        id="b-zero-init",
        where=sections.FACTORS,
        says="with B = 0, W = W0 at the start of training",
        statement=Law(_starts_at_w0, "{same} of {tried} outputs equal bit for bit"),
        given={"W0": EXACT_W0, "B": EXACT_B_START, "alphas": (2.0, 0.0, -1.0, 16.0, 1e12)},
        why="for every A and every alpha, since each term of the update has a zero in it",
    ),
    Claim(
        id="delta-order",
        where=sections.PRODUCT,
        says="the update is Delta W = A B, of the size of W0",
        statement=Shape((4, 4), lambda A, B: product(A, B)),
        given=_FACTORS,
        correction=Correction(
            "Delta W = B A is {value}", Shape((4, 4), lambda A, B: product(B, A))
        ),
        why="A is r x d and B is d x r: A B is r x r, B A is d x d",
    ),
    Claim(
        id="ab-11",
        where=sections.PRODUCT,
        says="(AB)_11 = 0.10 + 0.06 + 0.15 + 0.28 = 0.59",
        statement=Number("0.59", lambda A, B: product(A, B)[0, 0]),
        given=_FACTORS,
        correction=Correction(
            "(AB)_11 = {terms} = {printed}", Number("0.50", lambda A, B: product(A, B)[0, 0])
        ),
        shown=lambda A, B: {
            "terms": " + ".join(f"{float(a * b):.2f}" for a, b in zip(A[0], B[:, 0], strict=True)),
            "first": A[0, 0] * B[0, 0],
            "a": A[0, 0],
            "b": B[0, 0],
        },
        why="{a:.2f} x {b:.2f} is {first:.2f}, not 0.10",
    ),
    Claim(
        id="ab-matrix",
        where=sections.PRODUCT,
        says="A B is a matrix of 4 rows and 2 columns",
        statement=Number(PRINTED_AB, lambda A, B, printed: product(A, B)),
        given={**_FACTORS, "printed": PRINTED_AB},
        correction=Correction(
            "Delta W = B A = {printed}",
            Number(RIGHT_BA, lambda A, B, printed: product(B, A)),
        ),
        shown=lambda A, B, printed: {"columns": _column_steps(printed)},
        why="no product of A and B has 4 rows and 2 columns; {columns}",
    ),
    Claim(
        id="scaling-one",
        where=sections.MERGED,
        says="alpha = r = 2 gives alpha/r = 1",
        statement=Number("1", lambda alpha, r: Fraction(alpha, r)),
        given={"alpha": ALPHA, "r": R},
    ),
    Claim(
        id="merge-shape",
        where=sections.MERGED,
        says="W = W0 + AB, with the printed 4 x 2 matrix for AB",
        statement=Shape((4, 4), lambda W0, AB, A, B: added(W0, AB)),
        given={"W0": EXACT_W0, "AB": fractions_of(PRINTED_AB), **_FACTORS},
        correction=Correction(
            "W = W0 + B A is {value}",
            Shape((4, 4), lambda W0, AB, A, B: added(W0, product(B, A))),
        ),
        shown=lambda W0, AB, A, B: {"columns": AB.shape[1], "times": W0.shape[1] // AB.shape[1]},
        why="the article writes the {columns} columns {times} times side by side; "
        "this library refuses the sum and never tiles or broadcasts",
    ),
    Claim(
        id="merge-sums",
        where=sections.MERGED,
        says="the 16 printed sums of W",
        statement=Number(PRINTED_W, lambda W0, AB, A, B: added(W0, AB)),
        given={"W0": EXACT_W0, "AB": fractions_of(tiled(PRINTED_AB)), **_FACTORS},
        correction=Correction(
            "W = W0 + B A = {printed}",
            Number(
                (
                    ("0.91", "0.34", "0.47", "0.90"),
                    ("0.63", "1.20", "0.47", "1.04"),
                    ("0.65", "0.96", "1.27", "0.88"),
                    ("1.07", "0.72", "1.57", "1.32"),
                ),
                lambda W0, AB, A, B: added(W0, product(B, A)),
            ),
        ),
        why="they are sums of the printed numbers, tiled, and of nothing else",
    ),
)
