"""What diagrams are drawn with: arrows along a path, and circles with a sign."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_ref.figures.style import Ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]

BEHIND = 0.9
"""Where arrows lie: below boxes and circles."""


def arrow(
    axes: "Axes",
    path: Sequence[Point],
    colour: str,
    *,
    width: float = 1.3,
    head: float = 14,
    line: str = "-",
) -> None:
    """Draw a line through all points with a head at the last."""
    *_, last, end = path
    axes.annotate(
        "", end, last, annotation_clip=False, zorder=BEHIND,
        arrowprops={
            "arrowstyle": "-|>,head_length=0.42,head_width=0.2", "mutation_scale": head,
            "lw": width, "color": colour, "ls": line, "shrinkA": 0, "shrinkB": 0,
        },
    )  # fmt: skip
    if len(path) > 2:
        x, y = zip(*path[:-1], strict=True)
        axes.plot(x, y, color=colour, lw=width, ls=line, zorder=BEHIND)


def circle(axes: "Axes", centre: Point, radius: float, sign: str, ink: Ink) -> None:
    """Draw a circle with a sign in it, such as a sum."""
    from matplotlib.patches import Circle

    axes.add_patch(Circle(centre, radius, facecolor="none", edgecolor=ink.text, lw=1.3))
    axes.text(*centre, sign, ha="center", va="center")
