"""Inside a transformer: a block with the matrices that LoRA adapts, and attention weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_ref.checks import Array, as_count
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.arrows import Point, arrow
from lora_ref.figures.style import LETTERS, Ink, blank, listed, readable_on, style, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MATRICES = ("q", "k", "v", "o", "fc1", "fc2")
"""The linear layers of a block, by the names that they have in this package."""

STREAM = 0.88
"""Inches from the bottom to the line that passes by everything."""

PLACES = {  # inches from the left and from the bottom, to the middle
    "norm1": (0.85, 1.65),
    "q": (1.95, 3.4),
    "k": (1.95, 2.65),
    "v": (1.95, 1.65),
    "P": (3.3, 3.02),
    "mean": (3.3, 1.65),
    "o": (4.35, 1.65),
    "norm2": (5.35, 1.65),
    "fc1": (5.35, 3.02),
    "gelu": (6.3, 3.02),
    "fc2": (7.25, 3.02),
}

SIZES = {"P": (1.3, 0.86), "mean": (1.0, 0.5), "fc1": (0.78, 0.9), "fc2": (0.78, 0.9)}
"""Inches of the boxes that are not like most."""

SMALL = (0.74, 0.5)


def transformer_block(
    features: int, heads: int, targets: Sequence[str], r: int, *, theme: str = "light"
) -> Picture:
    """Draw a block whose MLP is four times as wide inside, with the targets of LoRA coloured.

    Targets are some of `MATRICES`. Boxes are not to scale.
    """
    d = as_count("features in figures.transformer_block", features)
    heads = as_count("heads in figures.transformer_block", heads)
    r = as_count("r in figures.transformer_block", r)
    if d % heads:
        raise LoraRefError(
            f"features in figures.transformer_block is {d}, expected a multiple of {heads} heads"
        )
    chosen = [name for name in MATRICES if name in targets]
    if not chosen or set(targets) - set(MATRICES):
        raise LoraRefError(
            f"targets in figures.transformer_block are {list(targets)}, expected some of: "
            f"{', '.join(MATRICES)}"
        )
    sides = dict.fromkeys("qkvo", (d, d)) | {"fc1": (4 * d, d), "fc2": (d, 4 * d)}
    trained = sum(r * sum(sides[name]) for name in chosen)
    frozen = sum(m * n for m, n in sides.values())
    share = f"{100 * trained / frozen:.1f} %"
    words = {
        "P": "softmax of\n" + rf"$q\,k^\top/\sqrt{{{d // heads}}}$",
        "mean": r"mean of $v$",
        "norm1": "norm",
        "norm2": "norm",
        "gelu": "GELU",
    }
    with style(theme) as ink:
        figure = blank(layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
        axes.set_axis_off()
        _lines(axes, ink)
        for name in PLACES:
            role = "target" if name in chosen else "matrix" if name in MATRICES else "none"
            _box(axes, name, words.get(name, name), role, ink)
        for x, key, role in (
            (0.35, "target: $A$ and $B$ train", "target"),
            (3.25, "matrix without LoRA", "matrix"),
            (5.75, "no matrix in it", "none"),
        ):
            _patch(axes, (x, 0.14), (0.34, 0.24), role, ink)
            axes.text(x + 0.44, 0.26, key, va="center")
        axes.text(0.1, STREAM + 0.1, "$x$", va="bottom", fontsize=LETTERS + 3)
        for x, name in (
            (2.6, "attention: tokens take from tokens"),
            (6.3, "MLP: each token alone"),
        ):
            axes.text(x, 3.82, name, ha="center", va="center", color=ink.grey)
        said = f"One block, with LoRA on {listed(chosen)} ($r$ = {r}):"
        line_end = "\n" if len(chosen) > 3 else " "
        counted = f"{whole(trained)} numbers train, {share} of {whole(frozen)}"
        axes.text(
            figure.get_figwidth() / 2, 4.2, f"{said}{line_end}{counted}",
            ha="center", va="center", fontsize=LETTERS + 1,
        )  # fmt: skip
    others = [name for name in MATRICES if name not in chosen]
    without = f"; {listed(others)} stay as they are" if others else ""
    return Picture(
        figure,
        f"A block of width {d}: x goes through a norm to q, k and v; q and k make the attention "
        f"weights of {heads} heads, with which values are averaged, then o, added to x; then a "
        f"norm, fc1, GELU and fc2, added again. LoRA of rank {r} is on {listed(chosen)}: "
        f"{whole(trained)} numbers train, {share} of the {whole(frozen)} in all matrices{without}.",
        theme,
    )


def _lines(axes: "Axes", ink: Ink) -> None:
    """Draw the line that passes by, and the two ways that leave it and are added to it again."""
    at = PLACES
    first, second = at["o"][0], at["fc2"][0]
    fan = 1.4  # where the way to q, k and v parts
    _arrow(axes, [(0.1, STREAM), (first - 0.17, STREAM)], ink)
    _arrow(axes, [(first + 0.17, STREAM), (second - 0.17, STREAM)], ink)
    _arrow(axes, [(second + 0.17, STREAM), (7.9, STREAM)], ink)
    for name, start, end in (("norm1", "norm1", "o"), ("norm2", "norm2", "fc2")):
        x, y = at[start]
        _arrow(axes, [(x, STREAM), (x, y - 0.25)], ink)
        down, low = at[end]
        _arrow(axes, [(down, low - _size(end)[1] / 2), (down, STREAM + 0.17)], ink)
        axes.plot([x], [STREAM], "o", color=ink.grey, ms=6, label=name)
    for name in "qkv":
        x, y = at[name]
        path = [(at["norm1"][0] + SMALL[0] / 2, at["norm1"][1]), (fan, at["norm1"][1]), (fan, y)]
        _arrow(axes, [*path, (x - SMALL[0] / 2, y)], ink)
    right = at["q"][0] + SMALL[0] / 2
    left = at["P"][0] - _size("P")[0] / 2
    for name, y in (("q", at["P"][1] + 0.2), ("k", at["P"][1] - 0.2)):
        _arrow(axes, [(right, at[name][1]), (2.47, at[name][1]), (2.47, y), (left, y)], ink)
    _arrow(axes, [(right, at["v"][1]), (at["mean"][0] - _size("mean")[0] / 2, at["v"][1])], ink)
    _arrow(axes, [(3.3, at["P"][1] - 0.43), (3.3, at["mean"][1] + 0.25)], ink)
    _arrow(axes, [(at["mean"][0] + 0.5, 1.65), (at["o"][0] - SMALL[0] / 2, 1.65)], ink)
    _arrow(axes, [(at["norm2"][0], 1.9), (at["norm2"][0], at["fc1"][1] - 0.45)], ink)
    _arrow(axes, [(at["fc1"][0] + 0.39, 3.02), (at["gelu"][0] - SMALL[0] / 2, 3.02)], ink)
    _arrow(axes, [(at["gelu"][0] + SMALL[0] / 2, 3.02), (at["fc2"][0] - 0.39, 3.02)], ink)
    from matplotlib.patches import Circle

    for x in (first, second):
        axes.add_patch(
            Circle((x, STREAM), 0.17, facecolor=ink.paper, edgecolor=ink.text, lw=1.3, zorder=2)
        )
        axes.text(x, STREAM, "+", ha="center", va="center", zorder=3)


def _arrow(axes: "Axes", path: Sequence[Point], ink: Ink) -> None:
    arrow(axes, path, ink.grey, head=13)


def _size(name: str) -> tuple[float, float]:
    return SIZES.get(name, SMALL)


def _box(axes: "Axes", name: str, words: str, role: str, ink: Ink) -> None:
    (x, y), (width, height) = PLACES[name], _size(name)
    colour = _patch(axes, (x - width / 2, y - height / 2), (width, height), role, ink)
    axes.text(
        x, y, words, ha="center", va="center", color=readable_on(colour), linespacing=1.3,
        fontsize=LETTERS + (3 if name in MATRICES else 0),
        fontweight="bold" if role == "target" else "normal",
    )  # fmt: skip


def _patch(
    axes: "Axes", corner: tuple[float, float], size: tuple[float, float], role: str, ink: Ink
) -> str:
    """Draw a rectangle of a role, and return its colour."""
    from matplotlib.patches import Rectangle

    colour = {"target": ink.orange, "matrix": ink.grid, "none": ink.paper}[role]
    line: dict[str, Any] = {"lw": 3.0 if role == "target" else 1.3}
    line["edgecolor"] = ink.text if role == "target" else ink.grey
    line["linestyle"] = "--" if role == "none" else "-"
    axes.add_patch(Rectangle(corner, *size, facecolor=colour, zorder=1.5, **line))
    return colour


def attention_weights(
    weights: Array, tokens: Sequence[str], titles: Sequence[str], *, theme: str = "light"
) -> Picture:
    """Draw the weights of one or two heads, of shape (heads, T, T), row by row.

    A row is a token that asks. Its largest weight is written into its cell, in per cent.
    """
    from matplotlib.colors import LinearSegmentedColormap

    where = "figures.attention_weights"
    T = len(tokens)
    if weights.ndim != 3 or weights.shape[1:] != (T, T) or not 1 <= len(weights) <= 2:
        raise LoraRefError(
            f"weights in {where} have shape {weights.shape}, expected one or two heads of "
            f"{T} x {T}, as many as there are tokens"
        )
    if not 2 <= T <= 12:
        raise LoraRefError(f"tokens in {where} are {T}, expected 2 to 12: more cannot be read")
    if len(titles) != len(weights):
        raise LoraRefError(f"titles in {where} are {len(titles)}, expected {len(weights)}")
    marks = {"\n": "\\n", " ": "\u2423", "$": r"\$"}
    names = ["".join(marks.get(letter, letter) for letter in token) for token in tokens]
    said = []
    with style(theme) as ink:
        figure = blank(height=4.9)
        panels = figure.subplots(1, len(weights), squeeze=False)[0]
        colours = LinearSegmentedColormap.from_list("weights", [ink.paper, ink.blue])
        for axes, P, title in zip(panels, weights, titles, strict=True):
            edges = np.arange(T + 1) - 0.5
            axes.pcolormesh(edges, edges, P, cmap=colours, vmin=0, vmax=1)
            for i, j in enumerate(P.argmax(axis=1)):
                share = f"{100 * P[i, j]:.0f}"
                shade = colours(float(P[i, j]))
                axes.text(j, i, share, ha="center", va="center", color=readable_on(shade))
            axes.set(title=title, xlim=(-0.5, T - 0.5), ylim=(T - 0.5, -0.5), aspect="equal")
            axes.set_xticks(range(T), names, rotation=90)
            axes.set_yticks(range(T), names)
            axes.tick_params(length=0)
            axes.set_xlabel("takes from")
            strong = np.argsort(-P[1:].max(axis=1))[:3] + 1
            most = [
                f"'{_plain(tokens[i])}' takes {100 * P[i].max():.0f} % from "
                f"'{_plain(tokens[int(P[i].argmax())])}'"
                for i in sorted(int(one) for one in strong)
            ]
            said.append(f"{title}: {', '.join(most)}")
        panels[0].set_ylabel("a token asks")
        figure.suptitle("How much each token takes from which, in per cent", fontsize=LETTERS + 2)
    return Picture(
        figure,
        f"Attention weights over {T} tokens, each row of which adds up to 100 %, with nothing "
        f"above the diagonal. The strongest after the first row in {'; in '.join(said)}.",
        theme,
    )


def _plain(token: str) -> str:
    return token.strip().encode("ascii", "replace").decode() or "blank"
