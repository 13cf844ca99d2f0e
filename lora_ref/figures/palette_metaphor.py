"""The palette: what an update of rank r paints over a picture when alpha is turned up."""

from collections.abc import Sequence

import numpy as np

from lora_ref.checks import Array, as_finite, check_array
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, signed, style, whole
from lora_ref.layers import LoRALinear
from lora_ref.lowrank import balanced_factors, outer_products


def evening(out_features: int = 48, in_features: int = 64) -> tuple[Array, Array]:
    """Return two drawn pictures of a landscape, by day and in the evening, from 0 to 1.

    A sky with a sun, two ridges of hills; in the evening the light comes low from one side.
    """
    y, x = np.meshgrid(
        np.linspace(0, 1, out_features), np.linspace(0, 1, in_features), indexing="ij"
    )
    sun = np.exp(-((x - 0.72) ** 2 + (0.75 * (y - 0.24)) ** 2) / 0.006)
    day = 0.52 + 0.1 * (1 - y) + 0.35 * sun
    for height, rise, waves, shade in ((0.55, 0.10, 2.2, 0.36), (0.72, 0.08, 3.6, 0.2)):
        ridge = height + rise * np.sin(2 * np.pi * (waves * x / 2 + height))
        day = np.where(y > ridge, shade + 0.12 * (y - ridge), day)
    glow = np.exp(-(((x - 0.72) / 0.3) ** 2)) * np.exp(-(((y - 0.5) / 0.16) ** 2))
    low = 0.75 - 0.45 * (1 - y) * (1 - x)
    return np.clip(day, 0, 1), np.clip(day * low + 0.5 * glow, 0, 1)


def palette(
    W0: Array, B: Array, A: Array, strengths: Sequence[float], *, theme: str = "light"
) -> Picture:
    """Draw ``W0 + strength * B A`` for each strength, and the r pictures that B A is mixed from.

    W0 is a picture: 0 is black, 1 is white, and what lies beyond is cut off. `strengths` are what
    alpha / r is set to, three to five; r is at most 4.
    """
    check_array("W0 in figures.palette", W0, out_features=None, in_features=None)
    terms = outer_products(A, B)
    r = len(terms)
    if not (3 <= len(strengths) <= 5 and r <= 4):
        raise LoraRefError(
            f"strengths in figures.palette are {len(strengths)} and r is {r}, expected 3 to 5 "
            "strengths and r at most 4: more pictures are too small"
        )
    alphas = [r * as_finite("a strength in figures.palette", strength) for strength in strengths]
    painted = [np.clip(LoRALinear(W0, A, B, alpha).merge().W, 0, 1) for alpha in alphas]
    with style(theme) as ink:
        figure = blank(8.0, 4.1)
        upper, lower = list(figure.subfigures(2, 1, squeeze=False).flat)
        upper.suptitle(f"$W_0$ + (α/r) $B$ $A$, r = {r}, α/r turned up", fontsize=14)
        lower.suptitle("whole pictures that add up to $B$ $A$ (blue takes away)", fontsize=14)
        for axes, picture, strength in zip(
            upper.subplots(1, len(strengths)), painted, strengths, strict=True
        ):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.set_title(f"α/r = {strength:g}")
        below = {f"$b_{k}$ $a_{k}$": term for k, term in enumerate(terms, 1)}
        below["sum: $B$ $A$"] = terms.sum(axis=0)
        for axes, (name, term) in zip(lower.subplots(1, len(below)), below.items(), strict=True):
            limit = float(np.abs(term).max())
            axes.imshow(term, cmap=signed(ink), vmin=-limit, vmax=limit)
            axes.set_title(f"{name}  (±{limit:.2f})")
        for axes in figure.axes:
            axes.set_axis_off()
    return Picture(
        figure,
        f"A {W0.shape[0]} x {W0.shape[1]} picture plus an update of rank {r}, whose strength "
        f"alpha/r goes from {strengths[0]:g} to {strengths[-1]:g}: the mean brightness goes from "
        f"{painted[0].mean():.2f} to {painted[-1].mean():.2f}. The update is no palette of {r} "
        f"colours but a mix of {r} whole pictures of rank 1, {whole(r * sum(W0.shape))} numbers in "
        "B and A.",
        theme,
    )


def dusk(r: int) -> tuple[Array, Array, Array]:
    """Return a picture, and the factors B and A of the update that brings its evening nearest."""
    day, late = evening()
    A, B = balanced_factors(late - day, r)
    return day, B, A
