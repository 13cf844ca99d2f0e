"""Pictures of the study on text: strength, learning rate, rank, and intruder directions."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import HEIGHT, LETTERS, WIDTH, blank, legend_above, panels, style
from lora_ref.text_study.findings import TextRuns
from lora_ref.text_study.measures import NORMS, STRENGTHS
from lora_ref.text_study.methods import RANKS
from lora_ref.text_study.runs import NEW, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def strength(
    strengths: Sequence[float],
    new: Sequence[float],
    old: Sequence[float],
    names: tuple[str, str] = ("new text", "old text"),
    *,
    theme: str = "light",
) -> Picture:
    """Draw the loss on new and on old text while the strength of an adapter is turned.

    A loss for each strength; 0 is off and 1 is as trained.
    """
    for what, values in (("new", new), ("old", old)):
        if len(values) != len(strengths) or len(values) < 2:
            raise LoraRefError(
                f"{what} in figures.strength has {len(values)} losses, expected one for each of "
                f"the {len(strengths)} strengths, at least 2"
            )
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        looks = ((ink.blue, "-o"), (ink.vermillion, "--s"))
        for values, name, (colour, marks) in zip((new, old), names, looks, strict=True):
            axes.plot(strengths, values, marks, color=colour)
            axes.annotate(
                name, (strengths[-1], values[-1]), xytext=(10, 0), textcoords="offset points",
                color=colour, va="center",
            )  # fmt: skip
        axes.axvline(1, color=ink.grey, lw=1.2, ls=":")
        axes.set(
            xlabel="strength of the adapter: 0 is off, 1 as trained", ylabel="loss (nats a token)"
        )
    best = min(range(len(new)), key=new.__getitem__)
    ends = [
        f"on {name} it goes from {values[0]:.2f} at {strengths[0]:g} to {values[-1]:.2f} at "
        f"{strengths[-1]:g}"
        for name, values in zip(names, (new, old), strict=True)
    ]
    return Picture(
        figure,
        f"Loss by strength of the adapter: {'; '.join(ends)}; the least on {names[0]} is "
        f"{new[best]:.2f}, at {strengths[best]:g}.",
        theme,
    )


def by_rank(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw the loss on a new text against the rank: trained at it, truncated to it, and random."""
    runs = TextRuns(records)
    with style(theme) as ink:
        figure, axes = _panels("rank r", "loss on the new text (nats a token)")
        said = []
        for axis, text in zip(axes, NEW, strict=True):
            curves = {
                "trained at rank r": [fmean(runs.each(text, _new, f"lora-{r}")) for r in RANKS],
                "whole update truncated to rank r": [
                    fmean(runs.each(text, _cut("truncated", r), "maps")) for r in RANKS
                ],
                "random update of that size": [
                    fmean(runs.each(text, _cut("random_truncated", r), "maps")) for r in RANKS
                ],
            }
            looks = ((ink.blue, "-o"), (ink.vermillion, "--s"), (ink.grey, ":^"))
            for (name, values), (colour, marks) in zip(curves.items(), looks, strict=True):
                axis.plot(RANKS, values, marks, color=colour, label=name)
            whole = fmean(runs.each(text, _new, "maps"))
            axis.axhline(whole, color=ink.text, lw=1.2, label="the whole update")
            axis.set_xscale("log", base=2)
            axis.set_xticks(RANKS, [str(r) for r in RANKS])
            first, last = ([values[i] for values in curves.values()] for i in (0, -1))
            said.append(
                f"{text}: at r = {RANKS[0]} trained {first[0]:.2f}, truncated {first[1]:.2f}, "
                f"random {first[2]:.2f}; at r = {RANKS[-1]} {last[0]:.2f}, {last[1]:.2f} and "
                f"{last[2]:.2f}; the whole update {whole:.2f}"
            )
        legend_above(figure, ncols=2)
    return Picture(figure, f"Loss on the new text by rank. {'; '.join(said)}.", theme)


def learned_and_forgotten(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw the loss on old text against that on new text, along the strength of each update."""
    runs = TextRuns(records)
    with style(theme) as ink:
        figure, axes = _panels(
            "loss on the new text (nats a token): learned to the left",
            "loss on old text: forgotten upwards",
        )
        methods = {
            "lora-8": ("LoRA, r = 8", ink.blue, "-o"),
            "maps": ("the same maps whole", ink.vermillion, "--s"),
            "full": ("everything", ink.green, "-.^"),
        }
        said = []
        for axis, text in zip(axes, NEW, strict=True):
            ends = []
            for method, (name, colour, marks) in methods.items():
                each = [runs.at(text, method, seed) for seed in runs.seeds]
                path = np.mean([[run["off"], *run["sweep"]] for run in each], axis=0)
                shown = path[: 1 + STRENGTHS.index(1.5) + 1]
                axis.plot(*shown.T, marks, color=colour, label=name)
                at_one = path[1 + STRENGTHS.index(1.0)]
                axis.plot(*at_one, marks[-1], color=colour, ms=13, mfc="none", mew=2)
                ends.append(f"{name} {at_one[0]:.2f} and {at_one[1]:.2f}")
            axis.plot(*path[0], "*", color=ink.text, ms=15, label="off: the base")
            said.append(
                f"{text}: off {path[0, 0]:.2f} and {path[0, 1]:.2f}, as trained {', '.join(ends)}"
            )
        legend_above(figure, ncols=4)
    return Picture(
        figure,
        "Loss on the new text, and on old text, while the strength of an update is turned from 0 "
        f"to 1.5; a ring is strength 1. {'; '.join(said)}.",
        theme,
    )


def intruders(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw how many intruder directions an update has against its norm, beside a random one."""
    runs = TextRuns(records)
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        said = []
        for method, name, colour, mark in (
            ("lora-1", "LoRA, r = 1", ink.purple, "D"),
            ("lora-8", "LoRA, r = 8", ink.blue, "o"),
            ("maps", "whole maps", ink.vermillion, "s"),
        ):
            counts = {
                key: [
                    fmean(
                        runs.at(text, method, seed)[key][place]
                        for text in NEW
                        for seed in runs.seeds
                    )
                    for place in range(1, len(NORMS) + 1)
                ]
                for key in ("intruders", "random_intruders")
            }
            axes.plot(NORMS, counts["intruders"], f"-{mark}", color=colour, label=name)
            axes.plot(
                NORMS, counts["random_intruders"], f":{mark}", color=colour, mfc="none",
                label=f"random like {name}",
            )  # fmt: skip
            said.append(
                f"{name} {counts['intruders'][-1]:.0f}, random {counts['random_intruders'][-1]:.0f}"
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(NORMS, [f"{norm:g}" for norm in NORMS])
        axes.set(xlabel="norm of the update over that of W0", ylabel="intruders")
        legend_above(figure, ncols=2)
    return Picture(
        figure,
        "Intruder directions by the norm of the update, mean over texts and seeds; at "
        f"{NORMS[-1]:g} of the norm of W0: {'; '.join(said)}.",
        theme,
    )


def _new(run: Record) -> float:
    loss: float = run["losses"][0]
    return loss


def _cut(kind: str, r: int) -> Callable[[Record], float]:
    """Return what gives the loss on the new text of the maps' update truncated to rank r."""
    return lambda run: run[kind][str(r)][0]


def _panels(xlabel: str, ylabel: str) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a panel for each new text."""
    figure = blank(1.2 * WIDTH, HEIGHT)
    axes = panels(figure, 1, len(NEW))
    for axis, text in zip(axes, NEW, strict=True):
        axis.set_title(text)
    figure.supxlabel(xlabel, fontsize=LETTERS + 1)
    figure.supylabel(ylabel, fontsize=LETTERS + 1)
    return figure, axes
