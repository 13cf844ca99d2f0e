"""Matrices as pictures: with their numbers, to scale, and as a sum of outer products."""

from typing import TYPE_CHECKING

import numpy as np

from lora_ref.checks import Array, as_count
from lora_ref.counting import full_params, lora_params
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import WIDTH, blank, draw_matrix, listed, style, whole
from lora_ref.layers import LoRALinear
from lora_ref.lowrank import numerical_rank, outer_products

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 1.2
"""Cells between two matrices, room for a sign."""

CLOSE = 0.25
"""Cells between a product and its factors."""

ROOM = 0.56
"""Inches of a cell at least, so that its number does not touch the border."""

LARGEST = 6
"""Rows and columns of a matrix whose numbers are still readable."""


def matrices(W0: Array, A: Array, B: Array, alpha: float, *, theme: str = "light") -> Picture:
    """Draw ``W0 + (alpha/r) B A = W`` with every number, B and A beside their product.

    An entry of the product stands where its row of B and its column of A cross. No side may be
    longer than `LARGEST`.
    """
    layer = LoRALinear(W0, A, B, alpha)
    (m, n), r = W0.shape, layer.r
    if max(m, n, r) > LARGEST:
        raise LoraRefError(
            f"W0 in figures.matrices is {m} x {n} and r is {r}, expected at most {LARGEST} of "
            "each: more numbers cannot be read"
        )
    merged = layer.merge().W
    limit = float(max(np.abs(M).max() for M in (W0, A, B, layer.delta_w, merged)))
    width = 3 * n + r + 2 * GAP + CLOSE
    with style(theme) as ink:
        figure, axes = _sheet(width, r + CLOSE + m + 2.4, cell=ROOM)
        at_B = n + GAP
        at_update = at_B + r + CLOSE
        at_W = at_update + n + GAP
        draw_matrix(axes, W0, (0, 0), ink, limit, name="W0")
        draw_matrix(axes, B, (at_B, 0), ink, limit, name="B")
        draw_matrix(axes, A, (at_update, -r - CLOSE), ink, limit, name="A")
        draw_matrix(axes, layer.delta_w, (at_update, 0), ink, limit, name="delta_w")
        draw_matrix(axes, merged, (at_W, 0), ink, limit, name="W")
        _sign(axes, n + GAP / 2, m / 2, "+")
        _sign(axes, at_W - GAP / 2, m / 2, "=")
        below = m + 0.25
        _caption(axes, n / 2, below, f"$W_0$\n{m} × {n}")
        _caption(axes, at_B + r / 2, below, f"$B$\n{m} × {r}")
        _caption(axes, at_update + n / 2, below, f"(α/r) $B$ $A$ = {layer.scaling:g} · $B$ $A$")
        _caption(axes, at_update + n / 2, -r - CLOSE - 0.25, f"$A$   {r} × {n}", above=True)
        _caption(axes, at_W + n / 2, below, f"$W$\n{m} × {n}")
        axes.set(xlim=(-0.2, width + 0.2), ylim=(m + 1.5, -r - CLOSE - 0.9))
        axes.set_title("An update with every number: $W_0$ + (α/r) $B$ $A$ = $W$", fontsize=15)
    return Picture(
        figure,
        f"A {m} x {n} weight W0, factors B ({m} x {r}) and A ({r} x {n}), and what they give, with "
        f"every number. The update (alpha/r) B A has rank {numerical_rank(layer.delta_w)} and "
        f"begins with {layer.delta_w[0, 0]:.2f}; its norm is {np.linalg.norm(layer.delta_w):.4f}. "
        f"The merged W begins with {merged[0, 0]:.2f} and has rank {numerical_rank(merged)}.",
        theme,
    )


def blocks(
    out_features: int, in_features: int, r: int, alpha: float, *, theme: str = "light"
) -> Picture:
    """Draw ``y = (W0 + (alpha/r) B A) x`` as blocks to scale."""
    from matplotlib.patches import Rectangle

    m = as_count("out_features in figures.blocks", out_features)
    n = as_count("in_features in figures.blocks", in_features)
    r = as_count("r in figures.blocks", r)
    trained, share = lora_params(n, m, r), 100 * lora_params(n, m, r) / full_params(n, m)
    unit = max(m, n)
    gap = 0.3 * unit
    with style(theme) as ink:
        width = 2 * n + r + 1.6 * gap + 0.12 * unit
        figure, axes = _sheet(width, m + 0.45 * unit, margin=0.04 * unit)
        at_B = n + 1.6 * gap
        at_A = at_B + r + 0.12 * unit
        for name, x, wide, high, colour, hatch, caption in (
            ("W0", 0.0, n, m, ink.grey, "//", "$W_0$ frozen"),
            ("B", at_B, r, m, ink.blue, "", "$B$"),
            ("A", at_A, n, r, ink.vermillion, "", "$A$"),
        ):
            axes.add_patch(
                Rectangle(
                    (x, 0), wide, high, label=name, hatch=hatch, edgecolor=colour,
                    lw=1.2 if hatch else 0,  # an edge would make a sliver thicker than it is
                    facecolor=ink.paper if hatch else colour,
                )
            )  # fmt: skip
            end = m if name != "A" else r
            _caption(
                axes,
                x + wide / 2,
                end + 0.04 * unit,
                f"{caption}\n{high} × {wide}\n{whole(wide * high)}",
            )
        _sign(axes, n + 0.8 * gap, m / 2, f"+ {alpha / r:g} ·" if alpha != r else "+", 18)
        axes.set_title(
            f"$W_0$ + (α/r) $B$ $A$ to scale, r = {r}: "
            f"trained are {whole(trained)} of {whole(m * n)} numbers, {share:.2f} %"
        )
        axes.set(xlim=(-0.05 * unit, width), ylim=(m + 0.3 * unit, -0.05 * unit))
    return Picture(
        figure,
        f"Drawn to scale, the factors of a rank-{r} update are slivers beside the {m} x {n} weight "
        f"that they change: B and A hold {whole(trained)} numbers, {share:.2f} % of its "
        f"{whole(m * n)}.",
        theme,
    )


def outer_product_sum(B: Array, A: Array, *, theme: str = "light") -> Picture:
    """Draw ``B A`` as the sum of ``outer(B[:, k], A[k])``, each with its column and its row."""
    terms = outer_products(A, B)
    r, m, n = terms.shape
    if max(m, n) > LARGEST or r > 3:
        raise LoraRefError(
            f"B @ A in figures.outer_product_sum is {m} x {n} with r = {r}, expected at most "
            f"{LARGEST} rows and columns and r at most 3: more numbers cannot be read"
        )
    product = terms.sum(axis=0)
    limit = float(max(np.abs(M).max() for M in (B, A, terms, product)))
    each = 1 + CLOSE + n
    width = r * (each + GAP) + n
    with style(theme) as ink:
        figure, axes = _sheet(width, m + 3.5, cell=ROOM)
        for k, term in enumerate(terms):
            x = k * (each + GAP)
            draw_matrix(axes, B[:, k : k + 1], (x, 0), ink, limit, name=f"b{k + 1}")
            top = (x + 1 + CLOSE, -1 - CLOSE)
            draw_matrix(axes, A[k : k + 1], top, ink, limit, name=f"a{k + 1}")
            draw_matrix(axes, term, (x + 1 + CLOSE, 0), ink, limit, name=f"term {k + 1}")
            _caption(axes, x + 0.5, m + 0.25, f"$b_{k + 1}$")
            _caption(axes, top[0] + n / 2, -1.45, f"$a_{k + 1}$", above=True)
            _caption(axes, top[0] + n / 2, m + 0.25, f"$b_{k + 1}$ $a_{k + 1}$  rank 1")
            _sign(axes, x + each + GAP / 2, m / 2, "=" if k == r - 1 else "+")
        x = r * (each + GAP)
        draw_matrix(axes, product, (x, 0), ink, limit, name="B A")
        _caption(axes, x + n / 2, m + 0.25, f"$B$ $A$  rank {numerical_rank(product)}")
        axes.set(xlim=(-0.2, width + 0.2), ylim=(m + 1.1, -2.2))
        axes.set_title("$B$ $A$: each column of $B$ times its row of $A$, added up", fontsize=15)
    firsts = [f"{term[0, 0]:.2f}" for term in terms]
    ranks = [str(numerical_rank(term)) for term in terms]
    return Picture(
        figure,
        f"B A as a sum of {len(terms)} outer products, a column of B times a row of A each, of "
        f"ranks {listed(ranks)}. Their first entries {listed(firsts)} add up to "
        f"{product[0, 0]:.2f}; the sum has rank {numerical_rank(product)}.",
        theme,
    )


def _sheet(
    width: float, height: float, margin: float = 0.2, cell: float = 0.0
) -> "tuple[Figure, Axes]":
    """Return a figure for so many units, filled by one panel, a unit as wide as it is high.

    A unit has at least `cell` inches.
    """
    inches = max(WIDTH, cell * (width + 2 * margin))
    figure = blank(inches, max(2.6, height * inches / (width + 2 * margin)))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    return figure, axes


def _sign(axes: "Axes", x: float, y: float, text: str, size: float = 20) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=size)


def _caption(axes: "Axes", x: float, y: float, text: str, *, above: bool = False) -> None:
    axes.text(x, y, text, ha="center", va="bottom" if above else "top", fontsize=13)
