"""Pictures for choosing a way to adapt: the shifts, three layers as blocks, methods compared."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.arrows import BEHIND, Point, arrow, circle
from lora_ref.figures.style import LETTERS, Ink, blank, listed, panels, readable_on, style, whole
from lora_ref.study import SHIFTS, Record
from lora_ref.study.digits import SIZE, Images
from lora_ref.study.findings import Runs
from lora_ref.study.methods import RANKS
from lora_ref.study.records import grouped, mean_error, student_limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_IMAGES = 4
"""Rows of images that fit a slide."""

ROWS: Mapping[str, str] = {
    "untouched": "pretrained, as it is",
    "biases": "biases alone",
    "head": "head alone",
    **{f"lora-{r}": f"LoRA, r = {r}" for r in RANKS},
    "dora": "DoRA, r = 8",
    "adapter-16": "adapter, m = 16",
    "weights": "weights, biases frozen",
}
"""The methods of `learned_and_kept`, from the top, and what they are called there."""

COLUMN, TALL = 3.1, 5.9
"""Inches: the width of a diagram of `three_ways`, of which there are four, and their height."""

BOTTOM, TOP = 1.1, 4.45
"""Inches from the bottom to where x enters a diagram, and to the last thing before y."""

WIDE, HIGH = 1.14, 0.44
"""Inches of a box with letters."""

CIRCLE = 0.18
"""Inches, the radius of the circles around signs."""


def shifts(images: Images, *, theme: str = "light") -> Picture:
    """Draw some digits as they are, and as each shift of the study gives them, with their labels.

    Black is 0 and white is 1, as the network sees them.
    """
    count = len(images.labels)
    if not 1 <= count <= MOST_IMAGES:
        raise LoraRefError(
            f"images in figures.shifts are {count}, expected 1 to {MOST_IMAGES}: more are too small"
        )
    shown = {"as learned": images} | {name: shift(images) for name, shift in SHIFTS.items()}
    with style(theme):
        figure = blank(9.6, 0.7 + 1.55 * count)
        axes = panels(figure, count, len(shown), grid=False)
        for row in range(count):
            for column, (name, these) in enumerate(shown.items()):
                axis = axes[row * len(shown) + column]
                pixels = these.x[row].reshape(SIZE, SIZE)
                axis.imshow(pixels, cmap="gray", vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(True)  # the white ones have no edge otherwise
                label = int(these.labels[row])
                moved = label != int(images.labels[row])
                axis.set_xlabel(f"label {label}", weight="bold" if moved else "normal")
                if row == 0:
                    axis.set_title(name)
    labels, later = (
        listed([str(int(label)) for label in these.labels])
        for these in (images, shown["relabelled"])
    )
    low, high = (f"{100 * edge(shown['near'].x):.0f} %" for edge in (np.min, np.max))
    return Picture(
        figure,
        f"Digits of 8 x 8 pixels with the labels {labels}, as learned and in {len(SHIFTS)} shifts: "
        f"near is grey, between {low} and {high} of white; middle is also turned by 30 degrees; "
        f"far is turned by 90; inverted exchanges black and white; relabelled keeps the images "
        f"and calls them {later}.",
        theme,
    )


# ---------------------------------------------------------------------- three block diagrams


def three_ways(features: int, r: int, m: int, *, theme: str = "light") -> Picture:
    """Draw LoRA, a bottleneck adapter and DoRA as blocks, and what DoRA does to one row.

    Each stands at a layer of equal sides, and the signal goes up from x to y. What trains is
    coloured, what is frozen is grey.
    """
    d = as_count("features in figures.three_ways", features)
    r = as_count("r in figures.three_ways", r)
    m = as_count("m in figures.three_ways", m)
    counts = {"LoRA": 2 * d * r, "Adapter": 2 * d * m + m + d, "DoRA": 2 * d * r + d}
    numbers = {name: whole(count) for name, count in counts.items()}
    with style(theme) as ink:
        figure = blank(4 * COLUMN, TALL, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 4 * COLUMN), ylim=(0, TALL))
        axes.set_axis_off()
        for k, (name, formula, foot) in enumerate(
            (
                ("LoRA", "$W = W_0 + s\\,B A$", f"{numbers['LoRA']} numbers train,\nmerges"),
                (
                    "Adapter", "$y = z + relu(z\\,W_{down}^T)\\,W_{up}^T$",
                    f"{numbers['Adapter']} numbers train,\ndoes not merge",
                ),
                (
                    "DoRA", r"$W_o = \ell_o\,V_o\,/\,|V_o|$",
                    f"{numbers['DoRA']} numbers train,\nmerges",
                ),
                (
                    "DoRA on one row", "turn it, set its length",
                    "A and B turn it,\n$\\ell_o$ is the radius",
                ),
            )
        ):  # fmt: skip
            middle = (k + 0.5) * COLUMN
            lines = (TALL - 0.27, name, 4), (TALL - 0.64, formula, 2), (0.4, foot, 0)
            for y, words, larger in lines:
                axes.text(
                    middle, y, words, ha="center", va="center", fontsize=LETTERS + larger,
                    weight="bold" if larger == 4 else "normal", linespacing=1.3,
                )  # fmt: skip
            if k:
                axes.plot((k * COLUMN,) * 2, (0.2, TALL - 0.2), color=ink.grid, lw=1)
        sizes = f"{r} × {d}", f"{d} × {r}"
        _lora(axes, COLUMN / 2, TOP, sizes, ink)
        _end(axes, COLUMN / 2, TOP + CIRCLE, ink)
        _adapter(axes, 1.5 * COLUMN, (f"{m} × {d}", f"{d} × {m}"), ink)
        _dora(axes, 2.5 * COLUMN, sizes, ink)
        _one_row(axes, 3.5 * COLUMN, ink)
    return Picture(
        figure,
        f"Three ways to adapt a frozen weight W0 of {d} x {d}. LoRA adds a path through A and B "
        f"beside it, r = {r}: {numbers['LoRA']} numbers train. An adapter stands behind it, goes "
        f"down to {m} by W_down, through ReLU and up by W_up, and is added to what passes: "
        f"{numbers['Adapter']} numbers, and it alone does not merge. DoRA takes LoRA's "
        f"V = W0 + s B A, divides each row by its length and multiplies it by a trained length: "
        f"{numbers['DoRA']} numbers. So LoRA turns a row, and its length trains by itself.",
        theme,
    )


def _lora(axes: "Axes", middle: float, top: float, sizes: tuple[str, str], ink: Ink) -> None:
    """Draw W0 and, beside it, the path through A and B, from x to a sum at `top`."""
    left, right, fork = middle - 0.66, middle + 0.66, BOTTOM + 0.25
    step = (top - fork) / 4
    at_A, at_B = fork + 1.15 * step, fork + 2.5 * step
    _begin(axes, middle, fork, ink)
    for x, low in ((left, (at_A + at_B) / 2), (right, at_A)):
        _arrow(axes, ((middle, fork), (x, fork), (x, low - HIGH / 2)), ink)
    _arrow(axes, ((right, at_A), (right, at_B - HIGH / 2)), ink)
    _arrow(axes, ((left, (at_A + at_B) / 2), (left, top), (middle - CIRCLE, top)), ink)
    _arrow(axes, ((right, at_B), (right, top), (middle + CIRCLE, top)), ink)
    _box(axes, (left, (at_A + at_B) / 2), "$W_0$", ink.grid)
    _box(axes, (right, at_A), f"$A$  {sizes[0]}", ink.orange)
    _box(axes, (right, at_B), f"$B$  {sizes[1]}", ink.sky)
    circle(axes, (middle, top), CIRCLE, "+", ink)
    axes.text(right + 0.12, (at_B + HIGH / 2 + top) / 2, "× $s$", ha="left", va="center")


def _adapter(axes: "Axes", middle: float, sizes: tuple[str, str], ink: Ink) -> None:
    """Draw W0, and behind it a bottleneck with a path around it."""
    left, right, at_W0, fork = middle - 0.7, middle + 0.5, BOTTOM + 0.6, BOTTOM + 1.05
    _begin(axes, left, at_W0 - HIGH / 2, ink, head=True)
    _arrow(axes, ((left, at_W0), (left, TOP - CIRCLE)), ink)
    axes.text(left - 0.12, fork + 0.25, "$z$", ha="right", va="center", fontsize=LETTERS + 3)
    boxes = (
        (f"$W_{{down}}$  {sizes[0]}", ink.orange),
        ("ReLU", ink.paper),
        (f"$W_{{up}}$  {sizes[1]}", ink.sky),
    )  # fmt: skip
    heights = [fork + 0.5 + 0.68 * k for k in range(3)]
    _arrow(axes, ((left, fork), (right, fork), (right, heights[0] - HIGH / 2)), ink)
    for low, high in pairwise(heights):
        _arrow(axes, ((right, low), (right, high - HIGH / 2)), ink)
    _arrow(axes, ((right, heights[-1]), (right, TOP), (left + CIRCLE, TOP)), ink)
    _box(axes, (left, at_W0), "$W_0$", ink.grid)
    for y, (words, colour) in zip(heights, boxes, strict=True):
        edge = ink.grey if words == "ReLU" else None
        _box(axes, (right, y), words, colour, edge=edge, wide=1.3 * WIDE)
    circle(axes, (left, TOP), CIRCLE, "+", ink)
    _end(axes, left, TOP + CIRCLE, ink)


def _dora(axes: "Axes", middle: float, sizes: tuple[str, str], ink: Ink) -> None:
    """Draw LoRA with two more steps after its sum: the length is taken out, another put in."""
    top = TOP - 1.22
    _lora(axes, middle, top, sizes, ink)
    last = top + CIRCLE
    for y, words, colour in ((TOP - 0.64, "÷ $|V_o|$", ink.paper), (TOP, "× $\\ell_o$", ink.green)):
        _arrow(axes, ((middle, last), (middle, y - HIGH / 2)), ink)
        _box(axes, (middle, y), words, colour, edge=ink.grey if colour == ink.paper else None)
        last = y + HIGH / 2
    _end(axes, middle, last, ink)


def _one_row(axes: "Axes", middle: float, ink: Ink) -> None:
    """Draw a row of W0, that row of V, and the row of DoRA's weight on the circle of its length."""
    from matplotlib.patches import Arc

    origin = np.array([middle - 1.15, 1.55])
    row, turned = np.array([1.75, 0.25]), np.array([1.45, 2.2])
    length = float(np.hypot(*row))
    final = turned / np.hypot(*turned) * length
    arc = Arc(tuple(origin), 2 * length, 2 * length, theta1=12, theta2=90, ls=":", lw=1.5)
    arc.set_edgecolor(ink.grey)
    axes.add_patch(arc)
    for tip, colour in ((row, ink.grey), (turned, ink.vermillion), (final, ink.green)):
        arrow(axes, (tuple(origin), tuple(origin + tip)), colour, width=2.6)
    for tip, (right, up), words, ha, colour in (
        (row, (-0.45, -0.32), "row of $W_0$", "center", ink.text),
        (turned, (0.0, 0.15), "row of $V$ (LoRA)", "center", ink.vermillion),
        (final / 2, (0.16, -0.06), "row of W,\nlength $\\ell_o$", "left", ink.green),
    ):
        x, y = origin + tip
        axes.text(x + right, y + up, words, ha=ha, va="center", color=colour, linespacing=1.2)


def _begin(axes: "Axes", x: float, to: float, ink: Ink, *, head: bool = False) -> None:
    axes.text(x, BOTTOM - 0.14, "$x$", ha="center", va="center", fontsize=LETTERS + 3)
    if head:
        _arrow(axes, ((x, BOTTOM), (x, to)), ink)
    else:
        axes.plot((x, x), (BOTTOM, to), color=ink.grey, lw=1.4, zorder=BEHIND)


def _end(axes: "Axes", x: float, low: float, ink: Ink) -> None:
    _arrow(axes, ((x, low), (x, TOP + 0.55)), ink)
    axes.text(x - 0.13, TOP + 0.45, "$y$", ha="right", va="center", fontsize=LETTERS + 3)


def _box(
    axes: "Axes", at: Point, words: str, colour: str, *, edge: str | None = None, wide: float = WIDE
) -> None:
    from matplotlib.patches import Rectangle

    corner, width = (at[0] - wide / 2, at[1] - HIGH / 2), 1.2 if edge else 0
    axes.add_patch(Rectangle(corner, wide, HIGH, facecolor=colour, edgecolor=edge, lw=width))
    axes.text(*at, words, ha="center", va="center", color=readable_on(colour))


def learned_and_kept(records: Sequence[Record], shift: str, *, theme: str = "light") -> Picture:
    """Draw, for one shift, what each method reaches on the new task and what the old one has left.

    The adapter is on. Dots are means over seeds with their standard error, and a line joins the two
    of a method. The dotted line is the old task before it was touched.
    """
    groups = grouped(records)
    shown = [method for method in ROWS if (shift, method) in groups]
    if "untouched" not in shown or len(shown) < 2:
        raise LoraRefError(
            f"records in figures.learned_and_kept have no runs of untouched and of another method "
            f"on the shift {shift!r}, expected both; shifts are {', '.join(SHIFTS)}"
        )
    ways = {
        key: {m: mean_error([100 * run[key] for run in groups[shift, m]]) for m in shown}
        for key in ("target", "source_on")
    }
    with style(theme) as ink:
        figure = blank(9.0, 1.6 + 0.36 * len(shown))
        (axis,) = panels(figure, 1, 1)
        height = {method: len(shown) - 1 - k for k, method in enumerate(shown)}
        before = ways["source_on"]["untouched"][0]
        axis.axvline(before, color=ink.vermillion, lw=1.5, ls=":", label="old task, before")
        for method, y in height.items():
            ends = [ways[key][method][0] for key in ways]
            axis.plot(ends, (y, y), color=ink.grid, lw=5, solid_capstyle="round", zorder=1)
        for key, name, colour, marker in (
            ("target", "new task", ink.blue, "o"),
            ("source_on", "old task, after", ink.vermillion, "s"),
        ):
            means, errors = zip(*ways[key].values(), strict=True)
            axis.errorbar(
                means, list(height.values()), xerr=[error or 0.0 for error in errors], fmt=marker,
                color=colour, label=name, markersize=9, lw=0, elinewidth=1.5,
            )  # fmt: skip
        axis.set_yticks(list(height.values()), [ROWS[method] for method in shown])
        axis.grid(False, axis="y")
        axis.set(xlim=(-3, 103), xlabel="accuracy (%), mean over seeds ± standard error")
        axis.set_title(f"{shift}: what is learned, and what is kept", fontsize=LETTERS + 4)
        figure.legend(loc="outside lower center", ncols=3)
    best = max(shown, key=lambda m: ways["target"][m][0])
    said = "; ".join(
        f"{method} {ways['target'][method][0]:.1f} and {ways['source_on'][method][0]:.1f} %"
        for method in dict.fromkeys((best, *shown))
        if method in (best, "biases", "head", "lora-1", "lora-16", "weights")
    )
    return Picture(
        figure,
        f"Accuracy on the new and on the old task after adapting to {shift}, mean over "
        f"seeds; the old task had {before:.1f} % before. Best on the new task is {best}: {said}.",
        theme,
    )


def paired(records: Sequence[Record], better: str, worse: str, *, theme: str = "light") -> Picture:
    """Draw by how much one method exceeds another on the new task: seeds as ticks, for each shift.

    The thick bar is two standard errors to either side of the mean: where it does not meet zero,
    the word at the right says who is better, by the rule of the study. The thin line is the 95 %
    interval by Student's t, which is wider; where it meets zero all the same, the diamond is hollow
    and the word says so.
    """
    runs = Runs(records)
    pairs, limit = runs.target(better, worse), student_limit(len(runs.seeds))
    alone = [s for s, p in pairs.items() if 2 * p.error < abs(p.mean) <= limit * p.error]
    with style(theme) as ink:
        figure = blank(9.6, 2.4 + 0.62 * len(pairs))
        (axis,) = panels(figure, 1, 1)
        axis.axvline(0, color=ink.text, lw=1.2)
        names = [ROWS.get(method, method) for method in (better, worse)]
        for y, (shift, pair) in zip(range(len(pairs) - 1, -1, -1), pairs.items(), strict=True):
            seeds = [
                100 * (runs.at(shift, better, s)["target"] - runs.at(shift, worse, s)["target"])
                for s in runs.seeds
            ]
            colour, words = ink.grey, "undecided"
            if pair.holds or pair.opposes:
                colour = ink.blue if pair.holds else ink.vermillion
                ending = ",\nby the rule alone" if shift in alone else ""
                words = f"{names[0 if pair.holds else 1]}\nis better{ending}"
            shown = [round(one, 3) for one in seeds]  # equal ones stand below one another
            heights = [y - 0.22 - 0.2 * shown[:k].count(one) for k, one in enumerate(shown)]
            axis.plot(seeds, heights, "|", color=colour, ms=7, mew=1.8)
            for errors, width, kind in ((2.0, 5.0, "D"), (limit, 1.4, "none")):
                axis.errorbar(
                    100 * pair.mean, y, xerr=100 * errors * pair.error, fmt=kind, color=colour,
                    markersize=9, elinewidth=width, mfc=ink.paper if shift in alone else colour,
                    mew=1.8,
                )  # fmt: skip
            axis.text(
                1.02, y, words, color=colour,
                transform=axis.get_yaxis_transform(), ha="left", va="center", linespacing=1.1,
            )  # fmt: skip
        axis.set_yticks(range(len(pairs) - 1, -1, -1), list(pairs))
        axis.set_ylim(-0.7, len(pairs) - 0.5)
        axis.grid(False, axis="y")
        axis.set_xlabel("points of accuracy on the new task")
        axis.set_title(f"{names[0]}, minus {names[1]}", fontsize=LETTERS + 4)
        for look, label in (
            ({"marker": "|", "lw": 0, "mew": 1.8}, "one seed"),
            ({"marker": "D", "lw": 5}, "mean ± 2 standard errors (the rule)"),
            ({"lw": 1.4}, f"± {limit:.2f}: 95 % by Student's t"),
        ):
            axis.plot([], [], color=ink.grey, label=label, **look)
        figure.legend(loc="outside lower center", ncols=3)
    said = "; ".join(
        f"{shift} {100 * pair.mean:+.1f} +- {100 * pair.error:.1f}" for shift, pair in pairs.items()
    )
    won, lost = (sum(getattr(p, way) for p in pairs.values()) for way in ("holds", "opposes"))
    changed = f"{listed(alone)} would be undecided too" if alone else "no verdict changes"
    return Picture(
        figure,
        f"Accuracy of {better} minus that of {worse} on the new task, in points, mean over seeds "
        f"+- one standard error: {said}. By the rule, two standard errors, {better} is better on "
        f"{won} shifts, {worse} on {lost}, and {len(pairs) - won - lost} are undecided. At "
        f"{limit:.2f} (95 % by Student's t for {len(runs.seeds)} seeds) {changed}.",
        theme,
    )


def _arrow(axes: "Axes", path: Sequence[Point], ink: Ink) -> None:
    arrow(axes, path, ink.grey, width=1.4)
