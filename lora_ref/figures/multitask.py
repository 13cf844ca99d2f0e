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

    What the averages are off by is computed, for the mean of the two updates.
    """
    if len(tasks) != 2 or len(names) != 2 or len({(one.W0.shape, one.r) for one in tasks}) != 1:
        raise LoraRefError(
            "tasks in figures.cross_terms are not two of one shape and rank with a name each"
        )
    stacked = MultiTaskLoRA(tuple(tasks), (0.5, 0.5)).concatenate_factors()
    A = np.mean([one.A for one in tasks], axis=0)
    B = np.mean([one.scaling * one.B for one in tasks], axis=0)
    wanted = np.mean([one.delta_w for one in tasks], axis=0)
    exact, off = (
        float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        for got in (stacked.delta_w, B @ A)
    )
    with style(theme) as ink:
        figure = blank(8.6, 4.6)
        axes = figure.subplots()
        axes.set(xlim=(-0.1, 10.9), ylim=(0, 4.7), aspect="equal")
        axes.set_axis_off()
        axes.set_title("Averaged factors multiply strangers", fontsize=17)
        _stacked(axes, 2.6, ink, stacked.r)
        _averaged(axes, 0.15, ink, len(A), off)
        axes.text(
            0, 4.45, f"1: {names[0]},  2: {names[1]}", fontsize=13, va="center", color=ink.text
        )
    return Picture(
        figure,
        f"Two adapters of rank {len(A)}, {names[0]} and {names[1]}. Stacked, their factors have "
        f"rank {stacked.r} and give the two products B1 A1 and B2 A2 alone, off by "
        f"{100 * exact:.0f} % from the mean of the updates. Averaged, they keep rank {len(A)} and "
        "give four products with a quarter each, two of them of factors that never met in "
        f"training, and are off by {100 * off:.0f} %.",
        theme,
    )


def _stacked(axes: "Axes", y: float, ink: Ink, r: int) -> None:
    for k, colour in enumerate((ink.blue, ink.green)):
        _box(axes, (k * THIN, y), (THIN, SIDE), f"$B_{k + 1}$", colour)
        _box(axes, (1.2, y + SIDE - (k + 1) * THIN), (SIDE, THIN), f"$A_{k + 1}$", colour)
        _box(axes, (3.4 + 1.9 * k, y), (SIDE, SIDE), f"$B_{k + 1} A_{k + 1}$", colour)
    _sign(axes, 2.95, y, "=")
    _sign(axes, 5.0, y, "+")
    axes.text(7.0, y + SIDE / 2, f"stacked: rank {r},\nexact", fontsize=14, va="center")


def _averaged(axes: "Axes", y: float, ink: Ink, r: int, off: float) -> None:
    _box(axes, (THIN, y), (THIN, SIDE), "$B_1 + B_2$", ink.grey, rotation=90)
    _box(axes, (1.2, y + SIDE - THIN), (SIDE, THIN), "$A_1 + A_2$", ink.grey)
    _sign(axes, 2.95, y, "=")
    for k, (i, j) in enumerate(((1, 1), (2, 2), (1, 2), (2, 1))):
        colour = ink.vermillion if i != j else (ink.blue, ink.green)[i - 1]
        place = (3.4 + 1.9 * k, y)
        _box(axes, place, (SIDE, SIDE), f"$B_{i} A_{j}$", colour, stranger=i != j)
        if k:
            _sign(axes, 3.1 + 1.9 * k, y, "+")
    text = f"averaged: rank {r}, a quarter of each, off by {100 * off:.0f} %"
    axes.text(3.4, y + SIDE + 0.32, text, fontsize=14, va="center")


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


def _sign(axes: "Axes", x: float, y: float, sign: str) -> None:
    axes.text(x, y + SIDE / 2, sign, ha="center", va="center", fontsize=18)
