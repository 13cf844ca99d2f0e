"""Pictures of gradients and of the first steps of training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lora_ref.checks import Array, as_count, as_finite, check_array
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import HEIGHT, Ink, blank, legend_above, listed, panels, style
from lora_ref.gradcheck import SMOOTH_STEP, gradient_errors, sgd_step
from lora_ref.layers import Layer, LoRALinear
from lora_ref.study.records import mean_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST = 1e-17
"""An error of 0 is drawn here: it has no logarithm."""


def errors_by_step(
    layer: Layer, x: Array, steps: Sequence[float], seeds: Sequence[int]
) -> dict[float, float]:
    """Return the error of a gradient check for each step: the worst argument, the median seed.

    A step is half the distance between the two evaluations; a seed draws directions and a gradient
    of y. See `lora_ref.gradcheck.gradient_errors`.
    """
    if not steps or not seeds:
        raise LoraRefError("steps or seeds in figures.errors_by_step are empty, expected some")

    def worst(step: float, seed: int) -> float:
        return max(gradient_errors(layer, x, np.random.default_rng(seed), step=step).values())

    return {step: float(np.median([worst(step, seed) for seed in seeds])) for step in steps}


def gradient_check(
    smooth: Mapping[float, float], affine: Mapping[float, float], *, theme: str = "light"
) -> Picture:
    """Draw the error of the check against the step: a V where the layer is smooth.

    Beside it, the errors by step of a layer that is affine in each argument.
    """
    for curve in (smooth, affine):
        if not curve or min(curve) <= 0:
            raise LoraRefError(
                "errors in figures.gradient_check have no step or one that is not above 0"
            )
    small, large, best = min(smooth), max(smooth), min(smooth, key=smooth.__getitem__)
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        for errors, colour, marker, name in (
            (smooth, ink.vermillion, "-o", "smooth layer: truncation and rounding"),
            (affine, ink.blue, "--s", "LoRA, affine in each argument: rounding alone"),
        ):
            steps = sorted(errors)
            shown = [max(errors[step], SMALLEST) for step in steps]
            axes.loglog(steps, shown, marker, color=colour, label=name, markersize=6)
        axes.axvline(SMOOTH_STEP, color=ink.grey, lw=1.4, ls=":")
        text = f"step of the check\n{SMOOTH_STEP:.0e}"
        axes.text(SMOOTH_STEP * 0.6, 3e-16, text, ha="right", va="center")
        for end, words, place, side in (
            (small, "rounding\n~ ε / step", (12, 10), "bottom"),
            (large, "truncation\n~ step²", (14, -4), "top"),
        ):
            middle = min(smooth, key=lambda step: abs(np.log(step**2 / (best * end))))
            axes.annotate(
                words, (middle, smooth[middle]), xytext=place, textcoords="offset points", va=side
            )
        axes.set(xlabel="step of the central difference", ylabel="relative error of the check")
        axes.set_ylim(SMALLEST, 1e5)
        axes.legend(loc="upper center")
    ending = ""
    if flat := [error for step, error in affine.items() if step >= 1]:
        above = 10.0 ** np.ceil(np.log10(max(*flat, SMALLEST)))
        ending = f" and stays below {above:.0e} from step 1 on"
    return Picture(
        figure,
        f"The gradient check of a smooth layer errs by {smooth[small]:.0e} at step {small:.0e} "
        f"(rounding), by {smooth[large]:.0e} at step {large:.0e} (truncation), and least, by "
        f"{smooth[best]:.0e}, at {best:.0e}: a V. A LoRA layer has no truncation error: its "
        f"error falls with the step until it is rounding{ending}.",
        theme,
    )


class Norms(NamedTuple):
    """The first steps of a training, one entry for the start and one for each step."""

    moved_A: tuple[float, ...]  # norm of A less A at the start
    moved_B: tuple[float, ...]
    delta_w: tuple[float, ...]


def first_steps(layer: LoRALinear, x: Array, target: Array, lr: float, steps: int) -> Norms:
    """Train by gradient descent on half the mean squared distance to a target, and measure.

    Every step, of at least one, has all rows of x (n, in_features) and target (n, out_features).
    """
    lr = as_finite("lr in figures.first_steps", lr)
    start, now, rows = layer, layer, []
    for step in range(as_count("steps in figures.first_steps", steps) + 1):
        if step:
            y, _ = now.forward(x)
            now, _ = sgd_step(now, x, (y - target) / len(x), lr)
        matrices = (now.A - start.A, now.B - start.B, now.delta_w)
        rows.append(tuple(float(np.linalg.norm(M)) for M in matrices))
    return Norms(*zip(*rows, strict=True))


def start_up(starts: Mapping[str, Norms], *, theme: str = "light") -> Picture:
    """Draw how far A and B have moved and how large the update is, a panel for each start.

    There are one to three starts, by name.
    """
    if not 1 <= len(starts) <= 3:
        raise LoraRefError(f"starts in figures.start_up are {len(starts)}, expected 1 to 3")
    with style(theme) as ink:
        figure = blank()
        for axes, (name, norms) in zip(
            panels(figure, 1, len(starts), sharey=True), starts.items(), strict=True
        ):
            for values, colour, line, label in (
                (norms.delta_w, ink.grey, "-", "size of the update ΔW"),
                (norms.moved_B, ink.blue, "--s", "B has moved by"),
                (norms.moved_A, ink.vermillion, ":o", "A has moved by"),
            ):
                axes.plot(range(len(values)), values, line, color=colour, label=label, ms=4.5)
            axes.set(title=name, xlabel="step")
        left = figure.axes[0]
        left.set(ylabel="Frobenius norm", ylim=(-0.02 * left.get_ylim()[1], None))
        legend_above(figure, ncols=3)
    said = []
    for name, (A, B, delta_w) in starts.items():
        if max(A) == max(B) == 0:
            said.append(f"{name}: nothing moves in {len(A) - 1} steps")
            continue
        movers = [factor for factor, path in (("A", A), ("B", B)) if path[1] > 0]
        still = [factor for factor, path in (("A", A), ("B", B)) if path[1] == 0]
        first = f"{listed(movers)} moves" if len(movers) == 1 else f"{listed(movers)} move"
        rest = f" and {still[0]} by exactly 0" if still else ""
        said.append(
            f"{name}: the update begins at {delta_w[0]:.2g}, in step 1 {first}{rest}, and after "
            f"{len(A) - 1} steps A has moved by {A[-1]:.2f}, B by {B[-1]:.2f}, and the update is "
            f"{delta_w[-1]:.2f}"
        )
    return Picture(figure, "; ".join(said) + ".", theme)


def descent(
    losses: Mapping[str, Sequence[float]],
    floors: Mapping[str, float],
    *,
    title: str = "",
    theme: str = "light",
) -> Picture:
    """Draw how the loss falls with the steps of training, and the least that can be reached.

    `losses` holds by name up to four curves, the loss before each step; `floors` the least loss of
    some of the same. All are above 0.
    """
    if not 1 <= len(losses) <= 4:
        raise LoraRefError(f"losses in figures.descent are {len(losses)} curves, expected 1 to 4")
    for name, values in (*losses.items(), *((name, [one]) for name, one in floors.items())):
        if name not in losses or len(values) == 0 or not min(values) > 0:
            raise LoraRefError(
                f"{name!r} in figures.descent has no curve, or a loss that is not above 0 and has "
                "no logarithm"
            )
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        looks = zip(
            (ink.blue, ink.vermillion, ink.green, ink.purple), ("-", "--", "-.", ":"), strict=True
        )
        for (name, values), (colour, line) in zip(losses.items(), looks, strict=False):
            axes.semilogy(range(len(values)), values, line, color=colour, label=name)
            if name in floors:
                axes.axhline(floors[name], color=colour, lw=1.2, ls=":")
                axes.annotate(
                    f"least for {name}", (len(values) - 1, floors[name]), xytext=(0, -5),
                    textcoords="offset points", ha="right", va="top",
                )  # fmt: skip
        axes.set(title=title, xlabel="step", ylabel="loss", xlim=(0, None))
        lowest = min(min(values) for values in (*losses.values(), floors.values()) if len(values))
        axes.set_ylim(lowest / 2, None)
        legend_above(figure, ncols=len(losses))
    said = []
    for name, values in losses.items():
        end = (
            f", {values[-1] / floors[name]:.4f} times the least there is" if name in floors else ""
        )
        said.append(
            f"{name}: the loss goes from {values[0]:.3g} to {values[-1]:.3g} in "
            f"{len(values) - 1} steps{end}"
        )
    return Picture(figure, "; ".join(said) + ".", theme)


def learning_order(sizes: Array, goals: Array, *, theme: str = "light") -> Picture:
    """Draw how much an update has of each direction of its goal while it is trained.

    The goals, of shape (k,), are singular values of F C, where F is the full update and C C^T the
    mean square of its inputs; k is at most 4. The sizes, of shape (steps, k), are the entries
    ``u_k @ M @ C @ v_k`` of the update M after each step, for the singular vectors of F C.
    """
    check_array("sizes in figures.learning_order", sizes, steps=None, directions=None)
    directions = sizes.shape[1]
    check_array("goals in figures.learning_order", goals, directions=directions)
    if not 1 <= directions <= 4 or not goals.min() > 0:
        raise LoraRefError(
            f"goals in figures.learning_order are {goals.tolist()}, expected 1 to 4 above 0"
        )
    half = [
        int(np.argmax(above)) + 1 if above.any() else None
        for above in (sizes[:, k] >= goals[k] / 2 for k in range(directions))
    ]
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        colours = (ink.blue, ink.vermillion, ink.green, ink.purple)
        steps = np.arange(1, len(sizes) + 1)
        for k, (colour, line) in enumerate(
            zip(colours[:directions], ("-", "--", "-.", ":")[:directions], strict=True)
        ):
            axes.axhline(goals[k], color=ink.grey, lw=1.2, ls=(0, (1, 2)))
            axes.plot(steps, sizes[:, k], line, color=colour, lw=3, label=f"direction {k + 1}")
            step = half[k]
            if step is not None:
                axes.plot(step, sizes[step - 1, k], "o", color=colour, ms=9)
                axes.annotate(
                    f"half by step {step}", (step, sizes[step - 1, k]), xytext=(12, -8),
                    textcoords="offset points", bbox={"fc": ink.paper, "ec": "none", "pad": 1},
                )  # fmt: skip
        top = max(goals.max(), sizes.max())
        axes.set(
            xlabel="step", ylabel="how much of it M C has", xlim=(0, len(sizes)),
            ylim=(min(-0.05 * top, 1.08 * sizes.min()), 1.08 * top),
            title="Directions are learned one after the other",
        )  # fmt: skip
        legend_above(figure, ncols=directions)
    said = [
        f"{goals[k]:.3g} by step {step}" if step else f"{goals[k]:.3g} not in {len(sizes)} steps"
        for k, step in enumerate(half)
    ]
    return Picture(
        figure,
        f"What an update has of its {directions} strongest directions while it is trained for "
        f"{len(sizes)} steps. Half of what each has to reach is there at different steps: of "
        f"{', of '.join(said)}.",
        theme,
    )


def losses_by_rank(
    tasks: Mapping[str, Mapping[str, Mapping[int, float]]], *, theme: str = "light"
) -> Picture:
    """Draw what ways to a low-rank update lose, as multiples of the first, a panel for each task.

    `tasks` holds by name one or two tasks, each with the losses by rank of two to four ways, all
    above 0. The first way is the unit, and has every rank of the others.
    """
    every = [losses for ways in tasks.values() for losses in ways.values()]
    if not 1 <= len(tasks) <= 2 or not all(2 <= len(ways) <= 4 for ways in tasks.values()):
        raise LoraRefError("tasks in figures.losses_by_rank are not 1 or 2, of 2 to 4 ways each")
    if not all(losses and min(losses.values()) > 0 for losses in every):
        raise LoraRefError(
            "a loss in figures.losses_by_rank is missing, or not above 0 and cannot be compared"
        )
    ratios: dict[str, dict[str, dict[int, float]]] = {}
    for name, ways in tasks.items():
        first, *others = ways.values()
        if any(losses.keys() - first.keys() for losses in others):
            raise LoraRefError(
                f"{name!r} in figures.losses_by_rank has ranks without a loss of its first way"
            )
        ratios[name] = {
            way: {r: loss / first[r] for r, loss in losses.items()}
            for way, losses in list(ways.items())[1:]
        }
    with style(theme) as ink:
        figure = blank()
        looks = ((ink.vermillion, "--", "s"), (ink.blue, "-", "o"), (ink.green, "-.", "^"))
        axes = panels(figure, 1, len(tasks), sharey=True)
        for axis, (name, compared) in zip(axes, ratios.items(), strict=True):
            unit = next(iter(tasks[name]))
            axis.axhline(1, color=ink.grey, lw=2, label=unit)
            for (way, values), (colour, line, marker) in zip(compared.items(), looks, strict=False):
                axis.plot(
                    list(values), list(values.values()), f"{marker}{line}", color=colour, label=way,
                    markersize=8,
                )  # fmt: skip
            axis.set(title=name, xlabel="rank r")
            axis.set_xticks(sorted({r for values in compared.values() for r in values}))
        axes[0].set_ylabel(f"loss above F, over that of the {unit}")
        figure.suptitle("What it costs not to look at the inputs")
        axes[0].legend(loc="upper center")
    said = []
    for name, compared in ratios.items():
        ranges = [
            f"{way} {_times(min(values.values()))} to {_times(max(values.values()))}"
            for way, values in compared.items()
        ]
        unit, ranks = next(iter(tasks[name].items()))
        said.append(
            f"{name}, ranks {min(ranks)} to {max(ranks)}, as multiples of what {unit} "
            f"loses above the full update: {', '.join(ranges)}"
        )
    return Picture(figure, "; ".join(said) + ".", theme)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"


def loss_by_rate(
    curves: Mapping[str, Mapping[float, float]],
    *,
    title: str = "",
    ylabel: str = "loss",
    kept: float | None = None,
    shown: float = 0.6,
    theme: str = "light",
) -> Picture:
    """Draw the loss after training against the learning rate, and mark the best rate of each curve.

    `curves` holds by name one to four mappings from rates to losses; a loss that is no finite
    number is left out. The panel ends `shown` above the least loss. `kept` is a rate of all curves
    whose losses the alt text states.
    """
    if not 1 <= len(curves) <= 4:
        raise LoraRefError(f"curves in figures.loss_by_rate are {len(curves)}, expected 1 to 4")
    finite = {
        name: {rate: loss for rate, loss in sorted(tried.items()) if np.isfinite(loss)}
        for name, tried in curves.items()
    }
    for name, tried in finite.items():
        if not tried or min(tried) <= 0:
            raise LoraRefError(
                f"{name!r} in figures.loss_by_rate has no finite loss, or a rate not above 0"
            )
    said, at_kept = [], []
    with style(theme) as ink:
        figure, axes = _against_rate()
        for (name, tried), (colour, marks) in zip(finite.items(), _looks(ink), strict=False):
            axes.plot(list(tried), list(tried.values()), marks, color=colour, label=name)
            best = min(tried, key=tried.__getitem__)
            axes.plot(best, tried[best], marks[-1], color=colour, ms=14, mfc="none", mew=2)
            said.append(f"{name} {best:.3g} with {tried[best]:.2f}")
            if kept in tried:
                at_kept.append(f"{name} has {tried[kept]:.2f}")
        if kept is not None:
            axes.axvline(kept, color=ink.grey, lw=1.4, ls=":")
        axes.set(title=title, ylabel=ylabel)
        least = min(min(tried.values()) for tried in finite.values())
        axes.set_ylim(least - shown / 12, least + shown)  # where training goes astray, it leaves
        legend_above(figure, ncols=len(curves) if len(curves) < 4 else 2)
    what = ylabel.partition(" (")[0].capitalize()
    ending = f" At the rate {kept:.3g} {listed(at_kept)}." if kept is not None and at_kept else ""
    return Picture(
        figure, f"{what} by learning rate. The best are: {'; '.join(said)}.{ending}", theme
    )


def accuracy_by_rate(
    curves: Mapping[str, Mapping[float, Sequence[float]]],
    control: tuple[str, float],
    *,
    lowest: float = 70.0,
    theme: str = "light",
) -> Picture:
    """Draw the accuracy after training against the learning rate, and mark the best of each curve.

    `curves` holds by name one to four mappings from rates to accuracies in per cent, one for each
    seed; a point is their mean, with its standard error. `control` names an accuracy that no rate
    changes, a line across. The panel begins at `lowest`.
    """
    if not 1 <= len(curves) <= 4:
        raise LoraRefError(f"curves in figures.accuracy_by_rate are {len(curves)}, expected 1 to 4")
    for name, tried in curves.items():
        if not tried or min(tried) <= 0 or not all(len(values) > 1 for values in tried.values()):
            raise LoraRefError(
                f"{name!r} in figures.accuracy_by_rate has no rate, one that is not above 0, or "
                "one with fewer than 2 seeds"
            )
    said = []
    with style(theme) as ink:
        from matplotlib.ticker import MultipleLocator

        figure, axes = _against_rate(height=3.6)
        for (name, tried), (colour, marks) in zip(curves.items(), _looks(ink), strict=False):
            points = {rate: mean_error(tried[rate]) for rate in sorted(tried)}
            means, errors = zip(*points.values(), strict=True)
            axes.errorbar(
                list(points), means, yerr=errors, fmt=marks, color=colour, label=name, capsize=4
            )
            best = max(points, key=points.__getitem__)
            axes.plot(best, points[best][0], marks[-1], color=colour, ms=14, mfc="none", mew=2)
            some = {rate: f"{points[rate][0]:.1f} % at {rate:.3g}" for rate in points}
            mean, error = points[best]
            some[best] = f"{mean:.1f} ± {error:.1f} % at {best:.3g} (its best)"
            shown = sorted({min(points), best, max(points)})
            said.append(f"{name} has {listed([some[rate] for rate in shown])}")
        what, level = control
        axes.axhline(level, color=ink.grey, lw=1.4, ls=":", label=what)
        axes.set_ylabel("new images read (%)")
        axes.set_ylim(bottom=lowest)
        axes.yaxis.set_major_locator(MultipleLocator(5))
        legend_above(figure, ncols=2)
    return Picture(
        figure, f"Accuracy by learning rate. {'; '.join(said)}. {what}: {level:.1f} %.", theme
    )


def _against_rate(height: float = HEIGHT) -> "tuple[Figure, Axes]":
    """Return a figure with one panel, whose axis is the learning rate on a scale of factors."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure = blank(height=height)
    (axes,) = panels(figure, 1, 1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("learning rate")
    return figure, axes


def _looks(ink: Ink) -> tuple[tuple[str, str], ...]:
    """Return the colour and the marks of up to four curves."""
    return (ink.blue, "-o"), (ink.vermillion, "--s"), (ink.green, "-.^"), (ink.purple, ":D")


class FirstStep(NamedTuple):
    """What a first step from B = 0 does, for each rank."""

    fall: Sequence[float]  # of the loss
    size: Sequence[float]  # of the update


def kept_by_rank(
    ranks: Sequence[int],
    first: Mapping[str, FirstStep],
    *,
    optimizer: str = "Adam",
    theme: str = "light",
) -> Picture:
    """Draw what a first step does as the rank grows, relative to the first of two or more ranks.

    `first` holds by name one to three rules for the scaling, each measured at these ranks.
    """
    if len(ranks) < 2 or min(ranks) < 1:
        raise LoraRefError(
            f"ranks in figures.kept_by_rank are {list(ranks)}, expected two or more, all above 0"
        )
    if not 1 <= len(first) <= 3:
        raise LoraRefError(f"first in figures.kept_by_rank has {len(first)} rules, expected 1 to 3")
    for name, measured in first.items():
        for values in measured:
            if len(values) != len(ranks) or not min(values) > 0:
                raise LoraRefError(
                    f"{name!r} in figures.kept_by_rank has {len(values)} values at {len(ranks)} "
                    "ranks, or one that is not above 0"
                )
    said = []
    with style(theme) as ink:
        figure = blank()
        panel = panels(figure, 1, 2, sharey=True)
        looks = _looks(ink)[1:]  # those of the rules in `loss_by_rate` after a first curve
        for axes, part, title in zip(
            panel, FirstStep._fields, ("fall of the loss", "size of the update"), strict=True
        ):
            axes.axhline(1, color=ink.text, lw=1.2)
            growth = []
            for (name, measured), (colour, line) in zip(first.items(), looks, strict=False):
                values = getattr(measured, part)
                shown = [value / values[0] for value in values]
                axes.plot(ranks, shown, line, color=colour, label=name)
                growth.append(f"{shown[-1]:.2g} times as large under {name}")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            axes.set_xticks(ranks, [str(r) for r in ranks])
            axes.minorticks_off()
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set(title=title, xlabel="rank r")
            said.append(f"the {title} is {listed(growth)}")
        panel[0].set_ylabel(f"{optimizer}'s first step, over that at r = {ranks[0]}")
        legend_above(figure, ncols=len(first))
    return Picture(
        figure,
        f"{optimizer}'s first step, from r = {ranks[0]} to r = {ranks[-1]} with the same alpha: "
        f"{'; '.join(said)}.",
        theme,
    )
