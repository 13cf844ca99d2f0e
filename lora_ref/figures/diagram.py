"""The layer as a diagram: the two paths that x takes, and what returns on them."""

from typing import TYPE_CHECKING

from lora_ref.checks import as_count, as_finite
from lora_ref.counting import full_params, lora_params
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.arrows import Point, arrow, circle
from lora_ref.figures.style import LETTERS, Ink, blank, readable_on, style, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 1.95
"""Inches of the longest side of a matrix; all matrices and vectors are on this scale."""

LOW, HIGH = 1.15, 2.9
"""Inches from the bottom to the path through A and B, and to the one through W0."""

AT_X, AT_W0, AT_B, AT_S, AT_SUM, AT_Y = 0.5, 1.2, 3.95, 6.2, 6.85, 7.5
"""Inches from the left to where each begins, or to the middle of a circle."""

CIRCLE = 0.2
"""Inches, the radius of the circles around the two signs."""


def two_paths(
    out_features: int, in_features: int, r: int, alpha: float, *, theme: str = "light"
) -> Picture:
    """Draw ``y = W0 x + s B (A x)``, with ``s = alpha/r``, as two paths that are added.

    Matrices are rectangles and vectors are bars, all on one scale.
    """
    from matplotlib.patches import Rectangle

    m = as_count("out_features in figures.two_paths", out_features)
    n = as_count("in_features in figures.two_paths", in_features)
    r = as_count("r in figures.two_paths", r)
    if max(m, n) > 2 * min(m, n) or 6 * r > min(m, n):
        raise LoraRefError(
            f"W0 in figures.two_paths is {m} x {n} and r is {r}, expected no side more than twice "
            "as long as the other and r at most a sixth of both: the letters would not fit"
        )
    s = as_finite("alpha in figures.two_paths", alpha) / r
    trained, share = lora_params(n, m, r), 100 * lora_params(n, m, r) / full_params(n, m)
    inch = SIDE / max(m, n)
    wide, high, thin, bar = n * inch, m * inch, r * inch, 0.05
    middle, end_A, end_B = (LOW + HIGH) / 2, AT_W0 + wide, AT_B + thin
    with style(theme) as ink:
        figure = blank(layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
        axes.set_axis_off()
        for name, x, y, width, height, colour in (
            ("x", AT_X - bar, middle, bar, wide, ink.text),
            ("W0", AT_W0, HIGH, wide, high, ink.grid),
            ("A", AT_W0, LOW, wide, thin, ink.vermillion),
            ("B", AT_B, LOW, thin, high, ink.blue),
            ("y", AT_Y, middle, bar, high, ink.text),
        ):
            corner = (x, y - height / 2)
            # an edge would make a sliver thicker than it is
            axes.add_patch(Rectangle(corner, width, height, label=name, facecolor=colour, lw=0))
        for path in (
            ((AT_X - bar / 2, middle), (AT_X - bar / 2, HIGH), (AT_W0, HIGH)),
            ((end_A, HIGH), (AT_SUM, HIGH), (AT_SUM, middle + CIRCLE)),
            ((AT_X - bar / 2, middle), (AT_X - bar / 2, LOW), (AT_W0, LOW)),
            ((end_A, LOW), (AT_B, LOW)),
            ((end_B, LOW), (AT_S - CIRCLE, LOW)),
            ((AT_S + CIRCLE, LOW), (AT_SUM, LOW), (AT_SUM, middle - CIRCLE)),
            ((AT_SUM + CIRCLE, middle), (AT_Y, middle)),
        ):
            arrow(axes, path, ink.grey)
        circle(axes, (AT_S, LOW), CIRCLE, "× $s$", ink)
        circle(axes, (AT_SUM, middle), CIRCLE, "+", ink)
        centre, above, below = AT_W0 + wide / 2, LOW + 0.09, LOW - 0.09
        size_W0 = f"$W_0$ frozen\nout × in\n{m} × {n}\n{whole(m * n)}"
        size_A = f"$r$ × in = {r} × {n}\n{whole(r * n)} numbers"
        size_B = f"out × $r$ = {m} × {r}\n{whole(m * r)} numbers"
        for x, y, label, ha, va in (
            (AT_X - bar - 0.1, middle, "$x$", "right", "center"),
            (AT_Y + bar + 0.1, middle, "$y$", "left", "center"),
            (centre, HIGH, size_W0, "center", "center"),
            (centre, above + thin / 2, "$A$ trained,\nrandom at the start", "center", "bottom"),
            (centre, below - thin / 2, size_A, "center", "top"),
            ((end_A + AT_B) / 2, above, "$A$ $x$", "center", "bottom"),
            (end_B + 0.12, above, "$B$ trained,\n$B$ = 0 at the start", "left", "bottom"),
            (end_B + 0.12, below, size_B, "left", "top"),
            (AT_S - CIRCLE, LOW - CIRCLE - 0.09, f"$s$ = α/$r$ = {s:g}", "left", "top"),
        ):
            axes.text(x, y, label, ha=ha, va=va, linespacing=1.3)
        axes.text(
            figure.get_figwidth() / 2, 4.22, "$y$ = $W_0$ $x$ + $s$ $B$ ($A$ $x$) to scale: "
            f"$A$ and $B$ have {share:.2f} % of the size of $W_0$",
            ha="center", va="center", fontsize=LETTERS + 2,
        )  # fmt: skip
    return Picture(
        figure,
        f"x takes two paths that add up to y: one through W0 ({m} x {n}, frozen), one through A "
        f"({r} x {n}) and B ({m} x {r}), both trained, and times s = alpha/r = {s:g}. "
        f"Drawn to scale, A and B are thin beside W0: {whole(trained)} numbers, "
        f"{share:.2f} % of its {whole(m * n)}. At the start B = 0 and y = W0 x.",
        theme,
    )


ROW_W0, ROW_AB = 3.28, 1.66
"""Inches from the bottom to the path through W0 and the one through A and B, forward and back."""

BAR_X, BAR_Y = 0.6, 7.4
"""Inches from the left to the bars of x and y, which both paths have in common."""

TRACK = 0.1
"""Inches from the middle of a path to its forward arrow, above, and its backward one, below."""

BOX = (1.4, 0.86)
"""Inches, width and height of the box of a matrix."""

AT_W0_BOX, AT_A_BOX, AT_B_BOX = 4.0, 2.45, 5.05
"""Inches from the left to the middle of each box."""


def gradient_paths(
    out_features: int, in_features: int, r: int, alpha: float, *, theme: str = "light"
) -> Picture:
    """Draw ``y = x W0^T + s h B^T`` and back: what the gradient g of y becomes on each path.

    Forward arrows are solid, backward ones dashed, with the product that runs along each.
    """
    from matplotlib.patches import Rectangle

    m = as_count("out_features in figures.gradient_paths", out_features)
    n = as_count("in_features in figures.gradient_paths", in_features)
    r = as_count("r in figures.gradient_paths", r)
    s = as_finite("alpha in figures.gradient_paths", alpha) / r
    trained, frozen = lora_params(n, m, r), full_params(n, m)
    wide, high = BOX
    with style(theme) as ink:
        figure = blank(layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
        axes.set_axis_off()
        for x, name in ((BAR_X, "$x$"), (BAR_Y, "$y$")):
            axes.plot((x, x), (ROW_AB - 0.3, ROW_W0 + 0.3), color=ink.text, lw=5)
            axes.text(x, ROW_W0 + 0.36, name, ha="center", va="bottom", fontsize=LETTERS + 3)
        for x, y, name, size, colour in (
            (AT_W0_BOX, ROW_W0, "$W_0$ frozen", f"{m} × {n}", ink.grid),
            (AT_A_BOX, ROW_AB, "$A$ trained", f"{r} × {n}", ink.orange),
            (AT_B_BOX, ROW_AB, "$B$ trained", f"{m} × {r}", ink.sky),
        ):
            corner = (x - wide / 2, y - high / 2)
            axes.add_patch(Rectangle(corner, wide, high, label=name, facecolor=colour, lw=0))
            label = f"{name}\n{size}"
            axes.text(
                x, y, label, ha="center", va="center", linespacing=1.3, fontsize=LETTERS + 1,
                color=readable_on(colour),
            )  # fmt: skip
        for left, right, y, forward, back in (
            (BAR_X, AT_W0_BOX - wide / 2, ROW_W0, "$x$", "$g\\,W_0$"),
            (AT_W0_BOX + wide / 2, BAR_Y, ROW_W0, "$x\\,W_0^T$", "$g$"),
            (BAR_X, AT_A_BOX - wide / 2, ROW_AB, "$x$", "$s\\,g\\,B\\,A$"),
            (AT_A_BOX + wide / 2, AT_B_BOX - wide / 2, ROW_AB, "$h = x A^T$", "$s\\,g\\,B$"),
            (AT_B_BOX + wide / 2, BAR_Y, ROW_AB, "$s\\,h\\,B^T$", "$s\\,g$"),
        ):
            middle, gap = (left + right) / 2, 0.06
            arrow(axes, ((left + gap, y + TRACK), (right - gap, y + TRACK)), ink.grey)
            _back(axes, ((right - gap, y - TRACK), (left + gap, y - TRACK)), ink)
            for words, at, va, colour in (
                (forward, y + TRACK + 0.06, "bottom", ink.text),
                (back, y - TRACK - 0.08, "top", ink.blue),
            ):
                axes.text(middle, at, words, ha="center", va=va, fontsize=LETTERS + 3, color=colour)
        bottom = ROW_AB - high / 2
        for x, name, product in (
            (AT_A_BOX, "A", "$s\\,(g\\,B)^T x$"),
            (AT_B_BOX, "B", "$s\\,g^T h$"),
        ):
            _back(axes, ((x, bottom - 0.05), (x, bottom - 0.46)), ink)
            label = f"gradient of ${name}$\n{product}"
            axes.text(
                x, bottom - 0.52, label, ha="center", va="top", linespacing=1.3, color=ink.blue,
                fontsize=LETTERS + 2,
            )  # fmt: skip
        between = (ROW_W0 + ROW_AB) / 2
        for x, words, ha, colour in (
            (BAR_X + 0.15, "gradient of $x$:\nadd the two", "left", ink.blue),
            (AT_W0_BOX, "gradient of $W_0$, $g^T x$:\nnot computed", "center", ink.text),
            (BAR_Y - 0.15, "$y$: add\nthe two", "right", ink.text),
        ):
            axes.text(x, between, words, ha=ha, va="center", linespacing=1.3, color=colour)
        axes.text(
            figure.get_figwidth() / 2, 4.28, "Forward (solid) and back (dashed): the gradient "
            "$g$ of $y$ returns on both paths",
            ha="center", va="center", fontsize=LETTERS + 2,
        )  # fmt: skip
    return Picture(
        figure,
        f"x goes forward to y on two paths, through W0 ({m} x {n}, frozen) and through A ({r} x "
        f"{n}) and B ({m} x {r}), times s = alpha/r = {s:g}. The gradient g of y returns on both: "
        "as g and g W0 through W0, as s g, s g B and s g B A through B and A, and x gets the sum. "
        f"On the way B gets s g^T h and A gets s (g B)^T x, together {whole(trained)} numbers; "
        f"g^T x, the gradient of W0, would have {whole(frozen)} and is not computed.",
        theme,
    )


def _back(axes: "Axes", path: tuple[Point, ...], ink: Ink) -> None:
    """Draw an arrow of the way back: dashed and blue."""
    arrow(axes, path, ink.blue, line="--")
