"""Pictures of the study on text: strength, learning rate, rank, and intruder directions."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import HEIGHT, LETTERS, WIDTH, blank, legend_above, panels, style
from lora_ref.text_study.adapting import NEW, Record
from lora_ref.text_study.comparisons import TURNED
from lora_ref.text_study.findings import TextRuns
from lora_ref.text_study.measures import COSINE, COSINES, NORMS
from lora_ref.text_study.methods import RANKS

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


def by_rank(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw the loss on a new text against the rank: trained at it, truncated to it, and random."""
    runs = TextRuns(results)
    with style(theme) as ink:
        figure, axes = _panels("rank r", "loss on the new text (nats a token)")
        said = []
        for axis, text in zip(axes, NEW, strict=True):
            curves = {
                "trained at rank r": [fmean(runs.each(text, _new, f"lora-{r}")) for r in RANKS],
                "whole update truncated to rank r": [
                    fmean(runs.each(text, truncated(r), "maps", "by_rate", runs.truncation_rate(r)))
                    for r in RANKS
                ],
                "random update of that size": [
                    fmean(runs.each(text, random_truncated(r), "maps")) for r in RANKS
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


def learned_and_forgotten(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw the loss on old text against that on new text: a point for each learning rate.

    A thin line is the path of one rate while the strength of its update is turned.
    """
    runs = TextRuns(results)
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
            told = []
            for method, (name, colour, marks) in methods.items():
                tried = runs.rates(method)
                each = [
                    [runs.at(text, method, seed, "by_rate", lr) for seed in runs.seeds("by_rate")]
                    for lr in tried
                ]
                points = [np.mean([run["losses"] for run in seeds], axis=0) for seeds in each]
                for seeds, point in zip(each, points, strict=True):
                    turned = np.mean([run["turned"] for run in seeds], axis=0)
                    path = [*turned, point]
                    axis.plot(*np.transpose(path), color=colour, lw=1, alpha=0.6)
                axis.plot(*np.transpose(points), marks, color=colour, label=name)
                best = points[tried.index(runs.best_rate(method))]
                axis.plot(*best, marks[-1], color=colour, ms=14, mfc="none", mew=2)
                steps = ", ".join(
                    f"{lr:g} {new:.2f} and {old:.2f}"
                    for lr, (new, old) in zip(tried, points, strict=True)
                )
                told.append(f"{name} at {steps}")
            said.append(f"{text}: {'; '.join(told)}")
        legend_above(figure, ncols=3)
    return Picture(
        figure,
        "Loss on the new text, and on old text, by learning rate; a ring is the rate that is best "
        f"on validation text, a thin line turns the strength of an update from {TURNED[0]:g} "
        f"to 1. {'. '.join(said)}.",
        theme,
    )


def intruders(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw how many intruder directions an update has against its norm, beside a random one."""
    runs = TextRuns(results)
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
                key: np.mean(
                    [
                        runs.at(text, method, seed, "intruders")[key][COSINES.index(COSINE)][1:]
                        for text in NEW
                        for seed in runs.seeds("intruders")
                    ],
                    axis=0,
                )
                for key in ("own", "random")
            }
            axes.plot(NORMS, counts["own"], f"-{mark}", color=colour, label=name)
            axes.plot(
                NORMS, counts["random"], f":{mark}", color=colour, mfc="none",
                label=f"random like {name}",
            )  # fmt: skip
            said.append(f"{name} {counts['own'][-1]:.0f}, random {counts['random'][-1]:.0f}")
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


def truncated(r: int) -> Callable[[Record], float]:
    """Return what gives the loss on the new text of the maps' update truncated to rank r."""
    return lambda run: run["truncated"][str(r)][1]


def random_truncated(r: int) -> Callable[[Record], float]:
    """Return what gives the loss of a random update of the size of the truncated one."""
    return lambda run: run["random_truncated"][str(r)][0]


def _panels(xlabel: str, ylabel: str) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a panel for each new text."""
    figure = blank(1.2 * WIDTH, HEIGHT)
    axes = panels(figure, 1, len(NEW))
    for axis, text in zip(axes, NEW, strict=True):
        axis.set_title(text)
    figure.supxlabel(xlabel, fontsize=LETTERS + 1)
    figure.supylabel(ylabel, fontsize=LETTERS + 1)
    return figure, axes
