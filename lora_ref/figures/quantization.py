"""Pictures of quantisation: where the levels lie, and how often each is used."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from lora_ref.checks import Array, check_array
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, listed, panels, style
from lora_ref.layers import QLoRALinear
from lora_ref.quantize import NF4_BLOCK, NF4_OFFSET, Kind, levels_of, quantize

SPREAD = 1 / NormalDist().inv_cdf(NF4_OFFSET)
"""Standard deviation of the normal density whose quantiles the levels of NF4 are."""

MERGED = 10
"""Weights whose merges are drawn: more would hide one another."""


class Use(NamedTuple):
    """What a kind of quantisation does to some weights."""

    shares: Array  # (levels,) the share of the weights that each level stands for
    bits: float  # entropy of the codes
    error: float  # root mean square error, in standard deviations of the weights


def uses(W0: Array) -> dict[Kind, Use]:
    """Quantise W0 to NF4 and to int4, block by block, and count."""
    found: dict[Kind, Use] = {}
    kinds: tuple[Kind, ...] = ("nf4", "int4")
    for kind in kinds:
        quantized = quantize(W0, kind)
        counts = np.bincount(quantized.indices.ravel(), minlength=len(quantized.levels))
        shares = counts / counts.sum()
        used = shares[shares > 0]
        error = np.sqrt(np.mean((quantized.dequantize() - W0) ** 2)) / W0.std()
        found[kind] = Use(shares, float(-(used @ np.log2(used))), float(error))
    return found


def nf4(used: Mapping[Kind, Use], *, theme: str = "light") -> Picture:
    """Draw the levels of NF4 on the normal density they come from, and how often each is used."""
    if missing := {"nf4", "int4"} - used.keys():
        raise LoraRefError(f"used in figures.nf4 has no {', '.join(sorted(missing))}")
    with style(theme) as ink:
        figure = blank(height=5.0)
        density, shares = panels(figure, 2, 1, sharex=True, height_ratios=(1, 1))
        x = np.linspace(-1.35, 1.35, 400)
        pdf = NormalDist(0.0, SPREAD).pdf
        density.plot(x, [pdf(v) for v in x], color=ink.grey, label=f"N(0, {SPREAD:.3f}²)")
        levels = levels_of("nf4")
        heights = [pdf(float(v)) for v in levels]
        density.vlines(levels, 0, heights, color=ink.blue, lw=2)
        density.plot(levels, heights, "o", color=ink.blue, label="NF4: 16 levels, one is 0")
        density.plot(
            levels_of("int4"), np.full(len(levels_of("int4")), 0.035), "^", color=ink.vermillion,
            label="int4: 15 even levels",
        )  # fmt: skip
        density.set(ylabel="density", ylim=(0, 1.16 * max(heights)))
        density.legend(loc="upper right", handlelength=1.2, borderaxespad=0)
        looks: tuple[tuple[Kind, str, str, int], ...] = (
            ("nf4", ink.blue, "", 1),
            ("int4", ink.vermillion, "///", -1),
        )
        for kind, colour, hatch, sign in looks:
            shares.bar(
                levels_of(kind), sign * 100 * used[kind].shares, width=0.05, label=f"use of {kind}",
                color=ink.paper if hatch else colour, edgecolor=colour, hatch=hatch,
            )  # fmt: skip
        shares.axhline(0, color=ink.grey, lw=1)
        shares.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        shares.set(xlabel="weight / absmax of its block", ylabel="weights (%)")
        shares.legend(loc="upper right", handlelength=1.4, borderaxespad=0)
    ours, even = used["nf4"], used["int4"]
    gaps = np.diff(levels)
    ranges = {
        kind: f"{100 * use.shares.min():.1f} to {100 * use.shares.max():.1f} %"
        for kind, use in used.items()
    }
    return Picture(
        figure,
        f"The {len(gaps) + 1} levels of NF4 stand close where a normal density is high: steps from "
        f"{gaps.min():.3f} near 0 to {gaps.max():.3f} at the edge. On normal weights in blocks of "
        f"{NF4_BLOCK} a level serves {ranges['nf4']} of them ({ours.bits:.2f} of 4 bits are used), "
        f"one of int4 {ranges['int4']} ({even.bits:.2f} bits). The root mean square error is "
        f"{ours.error:.4f} against {even.error:.4f} standard deviations.",
        theme,
    )


def number_lines(block: Array, *, theme: str = "light") -> Picture:
    """Draw the levels of int4 and of NF4 as number lines, and to which each weight of a block goes.

    The block is divided by its largest absolute value.
    """
    check_array("block in figures.number_lines", block, weights=None)
    largest = float(np.abs(block).max())
    if not largest:
        raise LoraRefError("block in figures.number_lines is all zero, expected some weights")
    x = np.sort(block) / largest
    rows: tuple[tuple[Kind, str, float], ...] = (("int4", "int4", 1.0), ("nf4", "NF4", 0.0))
    found = {kind: quantize(x, kind, block_size=None).dequantize() for kind, _, _ in rows}
    with style(theme) as ink:
        figure = blank(8.0, 4.6)
        axes = figure.subplots()
        axes.set_title("A level for every weight: even steps, or close where most weights are")
        for kind, name, y in rows:
            colour = ink.vermillion if kind == "int4" else ink.blue
            levels = levels_of(kind)
            gaps = np.diff(levels)
            even = np.ptp(gaps) < 1e-6
            wide = f"{gaps[0]:.3f}" if even else f"{gaps.min():.3f} to {gaps.max():.3f}"
            axes.text(
                -1, y + 0.56, f"{name}: {len(levels)} levels, steps of {wide}", color=colour,
                fontsize=14, weight="bold", va="bottom",
            )  # fmt: skip
            axes.plot([-1, 1], [y, y], color=ink.grey, lw=1)
            axes.vlines(levels, y - 0.07, y + 0.07, color=colour, lw=2.5)
            for weight, level in zip(x, found[kind], strict=True):
                axes.plot([weight, level], [y + 0.42, y + 0.08], color=colour, lw=0.9, alpha=0.6)
            axes.plot(x, np.full(len(x), y + 0.42), "o", color=ink.text, ms=4)
        axes.set(xlabel="weight / absmax of its block", xlim=(-1.06, 1.06), ylim=(-0.2, 1.85))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    error = {kind: np.linalg.norm(found[kind] - x) / np.linalg.norm(x) for kind in found}
    used = {kind: len(np.unique(found[kind])) for kind in found}
    return Picture(
        figure,
        f"The {len(x)} weights of a block and the levels that they are rounded to. The "
        f"{len(levels_of('int4'))} of int4 stand in even steps and {used['int4']} are used; the "
        f"{len(levels_of('nf4'))} of NF4 stand closer near 0 and {used['nf4']} are used. The "
        f"relative error is {error['int4']:.3f} with int4 and {error['nf4']:.3f} with NF4.",
        theme,
    )


def merges(
    layer: QLoRALinear, W0: Array, strengths: Sequence[float], *, theme: str = "light"
) -> Picture:
    """Draw what three merges make of the first weights of a layer, at some strengths of its update.

    Each weight goes from its level to W0_hat with the update and on to a level again. What it would
    be over W0, the weight that was quantised, stands beside the former.
    """
    if not strengths:
        raise LoraRefError("strengths in figures.merges are none, expected some")
    start = layer.W0
    number = min(MERGED, start.block_size, start.size)  # all of one block
    said = []
    with style(theme) as ink:
        figure = blank(9.6, 5.8)
        figure.suptitle("A small update falls back to the levels that it came from", fontsize=16)
        rows = panels(figure, len(strengths), 1, grid=False, sharex=True)
        for axes, strength in zip(rows, strengths, strict=True):
            scaled = replace(layer, alpha=strength * layer.alpha)
            again = scaled.merge_quantized()
            arrays = (
                start.dequantize(),
                scaled.merge().W,
                again.dequantize(),
                scaled.merge_into(W0).W,
            )
            levels, into, nearest, exact = (W.ravel()[:number] for W in arrays)
            for path in zip(levels, into, nearest, strict=True):
                axes.plot(path, (2, 1, 0), color=ink.blue, lw=1)
            for x, y, mark, edge, face in (
                (levels, 2, "o", ink.text, ink.text),
                (exact, 1, "D", ink.green, ink.paper),
                (into, 1, "o", ink.blue, ink.blue),
                (nearest, 0, "s", ink.vermillion, ink.vermillion),
            ):
                axes.plot(x, np.full(number, y), mark, mec=edge, mfc=face)
            for on, y in ((start, 2), (again, 0)):
                grid = on.levels * on.block_absmax[0]
                axes.vlines(grid, y - 0.2, y + 0.2, color=ink.grey, lw=1)
            labels = "W0_hat, on its levels", "● into W0_hat\n◇ into W0", "quantised again"
            axes.set_yticks((2, 1, 0), labels)
            axes.set(title=f"strength {strength:g}", ylim=(-0.4, 2.4))
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            same = again.indices == start.indices
            kept = same.ravel()[:number].sum()
            said.append(
                f"at strength {strength:g}, {kept} of {number} get the code that they had "
                f"({100 * same.mean():.1f} % of all weights)"
            )
        rows[-1].set_xlabel("weight")
    return Picture(
        figure,
        f"The first {number} weights of a layer in {start.kind}, with the update added and "
        f"quantised again: {listed(said)}. Over the weight that was quantised each lies "
        "elsewhere, by its rounding error.",
        theme,
    )
