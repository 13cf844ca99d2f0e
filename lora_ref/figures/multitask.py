"""Pictures of adapters combined: what comes of products of sums."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import Ink, blank, style
from lora_ref.layers import LoRALinear, MultiTaskLoRA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE, THIN = 1.3, 0.36
"""Units of a side of W0 and of the rank in the drawing, which is not to scale."""


def cross_terms(
    tasks: Sequence[LoRALinear], names: Sequence[str], *, theme: str = "light"
) -> Picture:
    """Draw which products come of the stacked factors of two adapters, and which of averages.

    What is wanted is half of each update. Errors are computed, relative to its Frobenius norm: of
    both, and of the averages what the missing quarters and the foreign products make by themselves.
    The two parts of the latter need not add up.
    """
    if len(tasks) != 2 or len(names) != 2 or len({(one.W0.shape, one.r) for one in tasks}) != 1:
        raise LoraRefError(
            "tasks in figures.cross_terms are not two of one shape and rank with a name each"
        )
    stacked = MultiTaskLoRA(tuple(tasks), (0.5, 0.5)).concatenate_factors()
    A = np.mean([one.A for one in tasks], axis=0)
    B = np.mean([one.scaling * one.B for one in tasks], axis=0)
    wanted = np.mean([one.delta_w for one in tasks], axis=0)
    missing = -wanted / 2  # a quarter of each product, where half was wanted
    exact, off, less, foreign = (
        float(np.linalg.norm(error) / np.linalg.norm(wanted))
        for error in (stacked.delta_w - wanted, B @ A - wanted, missing, B @ A - wanted - missing)
    )
    with style(theme) as ink:
        figure = blank(9.6, 4.9)
        axes = figure.subplots()
        axes.set(xlim=(-0.6, 12.2), ylim=(-0.7, 5.1), aspect="equal")
        axes.set_axis_off()
        axes.set_title("Stacked factors keep half of each product, averaged a quarter", fontsize=16)
        axes.text(
            -0.5, 4.85, f"1: {names[0]},  2: {names[1]};  wanted: "
            "$\\frac{1}{2}\\,B_1 A_1 + \\frac{1}{2}\\,B_2 A_2$;  errors are in % of its norm",
            fontsize=14, va="center",
        )  # fmt: skip
        for y, words in (
            (4.25, f"stacked: rank {stacked.r}, off by {100 * exact:.0f} %"),
            (1.95, f"averaged: rank {len(A)}, off by {100 * off:.0f} % in all"),
        ):
            axes.text(3.7, y, words, fontsize=14, va="center")
        _stacked(axes, 2.65, ink)
        _averaged(axes, 0.35, ink)
        for x, words in (
            (3.7, f"a quarter of each is missing:\nby itself {100 * less:.0f} %"),
            (8.4, f"factors that never met:\nby themselves {100 * foreign:.0f} %"),
        ):
            axes.text(x, 0.15, words, fontsize=13, va="top", linespacing=1.3)
    return Picture(
        figure,
        f"Two adapters of rank {len(A)}, {names[0]} and {names[1]}; wanted is half of B1 A1 and "
        f"half of B2 A2. Stacked, their factors have rank {stacked.r} and give just that, off by "
        f"{100 * exact:.0f} %. Averaged, they keep rank {len(A)} and give a quarter of each of "
        f"four products, two of them of factors that never met in training, and are off by "
        f"{100 * off:.0f} % of the norm of what is wanted. The missing quarters alone make "
        f"{100 * less:.0f} %, those two products alone {100 * foreign:.0f} %.",
        theme,
    )


def _stacked(axes: "Axes", y: float, ink: Ink) -> None:
    _weight(axes, -0.3, y, 2)
    for k, colour in enumerate((ink.blue, ink.green)):
        _box(axes, (k * THIN, y), (THIN, SIDE), f"$B_{k + 1}$", colour)
        _box(axes, (1.2, y + SIDE - (k + 1) * THIN), (SIDE, THIN), f"$A_{k + 1}$", colour)
        _product(axes, k, y, 2, f"$B_{k + 1} A_{k + 1}$", colour)


def _averaged(axes: "Axes", y: float, ink: Ink) -> None:
    _weight(axes, 0.1, y, 2)
    _weight(axes, 0.97, y, 2)
    _box(axes, (THIN, y), (THIN, SIDE), "$B_1 + B_2$", ink.grey, rotation=90)
    _box(axes, (1.2, y + SIDE - THIN), (SIDE, THIN), "$A_1 + A_2$", ink.grey)
    for k, (i, j) in enumerate(((1, 1), (2, 2), (1, 2), (2, 1))):
        colour = ink.vermillion if i != j else (ink.blue, ink.green)[i - 1]
        _product(axes, k, y, 4, f"$B_{i} A_{j}$", colour, stranger=i != j)


def _product(
    axes: "Axes", k: int, y: float, share: int, label: str, colour: str, **look: Any
) -> None:
    """Draw term number k of a sum: a sign, one over `share`, and the square of a product."""
    x = 3.7 + 2.35 * k
    axes.text(x - 0.66, y + SIDE / 2, "+" if k else "=", ha="center", va="center", fontsize=18)
    _weight(axes, x - 0.24, y, share)
    _box(axes, (x, y), (SIDE, SIDE), label, colour, **look)


def _weight(axes: "Axes", x: float, y: float, share: int) -> None:
    """Write one over `share`, half-way up a square."""
    words = f"$\\frac{{1}}{{{share}}}$"
    axes.text(x, y + SIDE / 2, words, ha="center", va="center", fontsize=20)


def _box(axes: "Axes", at: Any, size: Any, label: str, colour: str, **look: Any) -> None:
    """Draw a rectangle with a label; a stranger is hatched, and a label may be turned."""
    from matplotlib.patches import Rectangle

    stranger, rotation = look.get("stranger", False), look.get("rotation", 0)
    frame: Any = {"linestyle": "--", "hatch": "//"} if stranger else {}
    axes.add_patch(Rectangle(at, *size, facecolor="none", edgecolor=colour, linewidth=2.5, **frame))
    x, y = np.add(at, np.multiply(size, 0.5))
    text = axes.text(
        x, y, label, ha="center", va="center", fontsize=13, color=colour, rotation=rotation
    )
    if stranger:  # the hatch would run through the letters
        text.set_bbox({"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 2})
