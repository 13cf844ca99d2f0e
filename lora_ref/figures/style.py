"""How every figure looks: colours that all readers can tell apart, large letters, two grounds.

A figure is made and saved inside ``with style(theme) as ink``. The colours are those of Okabe and
Ito ("Color Universal Design", 2008), a few of them lifted on the dark ground; none stands alone,
there is always a marker, a line style, a hatch or a word beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = get_args(Theme)

WIDTH, HEIGHT = 8.0, 4.5
"""Inches of most figures, the shape of a slide; letters have at least `LETTERS` points there."""

LETTERS = 12


class Ink(NamedTuple):
    """The colours of a theme, by name."""

    paper: str
    text: str
    grid: str
    grey: str
    blue: str
    sky: str
    green: str
    vermillion: str
    orange: str
    purple: str


INKS: Mapping[Theme, Ink] = {
    "light": Ink(
        paper="#ffffff",
        text="#1a1a1a",
        grid="#d0d0d0",
        grey="#666666",
        blue="#0072b2",
        sky="#56b4e9",
        green="#009e73",
        vermillion="#d55e00",
        orange="#e69f00",
        purple="#cc79a7",
    ),
    "dark": Ink(
        paper="#131416",
        text="#f0f0f0",
        grid="#3c3f44",
        grey="#a0a0a0",
        blue="#3a9ee0",
        sky="#9ad4f5",
        green="#1fb58a",
        vermillion="#e8701a",
        orange="#f0b429",
        purple="#d994bb",
    ),
}


@contextmanager
def style(theme: str) -> Iterator[Ink]:
    """Set matplotlib to a theme for a while, whatever the reader's own settings are."""
    import matplotlib

    known = next((name for name in THEMES if name == theme), None)
    if known is None:
        raise LoraRefError(
            f"theme is {theme!r}, expected one of: {', '.join(THEMES)}{nearest(theme, THEMES)}"
        )
    ink = INKS[known]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(ink))
        yield ink


def _settings(ink: Ink) -> Any:
    ground = dict.fromkeys(
        ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), ink.paper
    )
    letters = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), ink.text
    )
    sizes = dict.fromkeys(("font.size", "xtick.labelsize", "ytick.labelsize"), LETTERS)
    return {
        **ground,
        **letters,
        **sizes,
        "legend.fontsize": LETTERS,
        "axes.labelsize": LETTERS + 1,
        "axes.titlesize": LETTERS + 1,
        "axes.edgecolor": ink.grey,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": ink.grid,
        "grid.linewidth": 0.8,
        "legend.edgecolor": ink.grid,
        "legend.framealpha": 0.9,
        "lines.linewidth": 2.2,
        "lines.markersize": 7,
        "hatch.linewidth": 0.8,
        "figure.constrained_layout.h_pad": 0.09,
        "figure.constrained_layout.w_pad": 0.09,
        "svg.hashsalt": "lora_ref",  # ids in the file would be random without it
        "svg.fonttype": "path",  # looks the same where the font is missing
    }


def blank(width: float = WIDTH, height: float = HEIGHT, *, layout: Any = "constrained") -> "Figure":
    """Return an empty figure that no global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def panels(
    figure: "Figure", rows: int, columns: int, *, grid: bool = True, **options: Any
) -> "list[Axes]":
    """Return the panels of a figure, row by row, with a grid."""
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axis in axes:
        axis.grid(grid)
    return axes


def legend_above(figure: "Figure", **options: Any) -> None:
    """Put one legend above all panels, of what is named in the first of them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", **options)


def signed(ink: Ink) -> "Colormap":
    """Return a colour map from blue over the ground, for zero, to vermillion."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", [ink.blue, ink.paper, ink.vermillion])


def draw_matrix(
    axes: "Axes",
    M: Array,
    at: tuple[float, float],
    ink: Ink,
    limit: float,
    *,
    name: str,
) -> None:
    """Draw M as cells of one unit with their numbers, its upper left corner at `at`, y downwards.

    Entries of `limit` and ``-limit`` have the full colours; matrices that are compared share it.
    """
    m, n = M.shape
    limit, colours = limit or 1.0, signed(ink)  # all zero: any limit does
    x, y = np.arange(n + 1) + at[0], np.arange(m + 1) + at[1]
    mesh = axes.pcolormesh(
        x, y, M, cmap=colours, vmin=-limit, vmax=limit, edgecolors=ink.grey, linewidth=0.8
    )
    mesh.set_label(name)
    for (i, j), value in np.ndenumerate(M):
        shade = colours((value + limit) / (2 * limit))
        axes.text(
            at[0] + j + 0.5, at[1] + i + 0.5, f"{value:.2f}", ha="center", va="center",
            color=readable_on(shade),
        )  # fmt: skip


def readable_on(colour: Any) -> str:
    """Return black or white, whichever stands out more from a colour."""
    from matplotlib.colors import to_rgb

    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))  # relative luminance of WCAG 2.1
    return "#000000" if luminance > 0.18 else "#ffffff"


def whole(count: float) -> str:
    """Return a number with thousands separators."""
    return f"{count:,.0f}"


def short(count: float) -> str:
    """Return a number in three digits with K, M, B or T.

    Examples
    --------
    >>> short(294912), short(6738415616), short(17)
    ('295K', '6.74B', '17')
    """
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.3g}"


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
