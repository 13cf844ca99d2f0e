"""Pictures of the study on the digits, a panel for each shift."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError
from lora_ref.figures.style import LETTERS, WIDTH, blank, panels, style
from lora_ref.study import Record
from lora_ref.study.records import grouped, mean_std

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = tuple[str, str, tuple[str, ...]]
"""The colour of a family, by its name in `Ink`, its marker, and its methods."""

FAMILIES: Mapping[str, Look] = {
    "LoRA": ("blue", "o", ("lora-1", "lora-2", "lora-4", "lora-8", "lora-16")),
    "LoRA variants": ("sky", "D", ("rslora", "dora", "pissa", "qlora")),
    "adapters": ("green", "^", ("adapter-4", "adapter-16")),
    "full": ("vermillion", "s", ("full",)),
    "head": ("orange", "v", ("head",)),
    "biases": ("purple", "P", ("biases",)),
    "from scratch": ("grey", "X", ("scratch",)),
}

SMALLER = LETTERS + 1
"""Points of the letters here, where six panels share a slide."""


def _panels(
    shifts: Sequence[str], xlabel: str, ylabel: str, *, shared: bool = True
) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a panel for each shift, at most three in a row."""
    columns = min(3, len(shifts))
    rows = -(-len(shifts) // columns)
    figure = blank(max(WIDTH, 3.2 * columns), 1.2 + 2.6 * rows)
    axes = panels(figure, rows, columns, sharex=shared, sharey=shared)
    for axis, shift in zip(axes, shifts, strict=False):
        axis.set_title(shift)
        axis.tick_params(labelbottom=True)
    for axis in axes[len(shifts) :]:
        axis.set_axis_off()
    figure.supxlabel(xlabel, fontsize=SMALLER + 1)
    figure.supylabel(ylabel, fontsize=SMALLER + 1)
    return figure, axes


def _legend(axes: "list[Axes]", shifts: Sequence[str]) -> None:
    """Put one legend for all panels where one is empty, or else above them."""
    drawn, empty = axes[: len(shifts)], axes[len(shifts) :]
    figure = drawn[0].figure
    names: dict[str, Any] = {}
    for axis in drawn:
        handles, labels = axis.get_legend_handles_labels()
        names |= dict(zip(labels, handles, strict=True))
    if empty:
        box: Any = {"loc": "center", "fontsize": SMALLER, "frameon": False}
        empty[0].legend(names.values(), names.keys(), **box)
    else:
        columns = min(3, len(names))
        figure.legend(names.values(), names.keys(), loc="outside upper center", ncols=columns)
    for axis in empty[1:]:
        axis.remove()


def forgetting(records: Sequence[Record], *, theme: str = "light") -> "Figure":
    """Draw target accuracy against source accuracy, adapter attached: a panel for each shift.

    Each panel has scales of its own, or the methods of a mild shift would lie on one spot. Each
    point is the mean of a method over seeds, with its standard deviation in both directions.

    Raises
    ------
    LoraRefError
        If there is no record.
    """
    if not records:
        raise LoraRefError("records in figures.forgetting is empty, expected runs of the study")
    groups = grouped(records)
    shifts = list(dict.fromkeys(shift for shift, _ in groups))
    labels = "source accuracy, adapter attached (%)", "target accuracy (%)"
    with style(theme) as ink:
        figure, axes = _panels(shifts, *labels, shared=False)
        for axis, shift in zip(axes, shifts, strict=False):
            for family, (colour, marker, methods) in FAMILIES.items():
                found = [groups[shift, name] for name in methods if (shift, name) in groups]
                if not found:
                    continue
                (x, x_std), (y, y_std) = (
                    zip(
                        *(mean_std([100 * run[key] for run in runs]) for runs in found), strict=True
                    )
                    for key in ("source_attached", "target")
                )
                axis.errorbar(
                    x, y, xerr=[std or 0.0 for std in x_std], yerr=[std or 0.0 for std in y_std],
                    color=getattr(ink, colour), marker=marker, markersize=8, elinewidth=1,
                    markeredgecolor=ink.paper, linestyle="none", label=family,
                )  # fmt: skip
        _legend(axes, shifts)
    return figure


def forgetting_alt(records: Sequence[Record]) -> str:
    """Say what `forgetting` shows."""
    groups = grouped(records)
    said = []
    for shift in dict.fromkeys(shift for shift, _ in groups):
        means = {
            method: (
                100 * fmean(run["target"] for run in runs),
                100 * fmean(run["source_attached"] for run in runs),
            )
            for (at, method), runs in groups.items()
            if at == shift
        }
        best = max(means, key=lambda method: means[method])
        target, source = means[best]
        text = f"{shift}: best on the target is {best} with {target:.1f} % (source {source:.1f} %)"
        if best != "full" and "full" in means:
            text += f", full has {means['full'][0]:.1f} % ({means['full'][1]:.1f} %)"
        said.append(text)
    return (
        "Target accuracy against source accuracy with the adapter attached, mean and deviation "
        f"over seeds, for every method. {'; '.join(said)}."
    )


def dial(records: Sequence[Record], *, theme: str = "light") -> "Figure":
    """Draw target and source accuracy while the scaling is turned after training.

    Raises
    ------
    LoraRefError
        If no record has been dialled.
    """
    dialled = _dialled(records)
    shifts = list(dict.fromkeys(record["shift"] for record in dialled))
    with style(theme) as ink:
        figure, axes = _panels(shifts, "share of the trained scaling", "accuracy (%)")
        for axis, shift in zip(axes, shifts, strict=False):
            runs = [record["dial"] for record in dialled if record["shift"] == shift]
            shares = [share for share, _, _ in runs[0]]
            for column, name, colour, marks in (
                (1, "target task", ink.blue, "-o"),
                (2, "source task", ink.vermillion, "--s"),
            ):
                pairs = [
                    mean_std([100 * run[i][column] for run in runs]) for i in range(len(shares))
                ]
                means = [mean for mean, _ in pairs]
                stds = [std or 0.0 for _, std in pairs]
                axis.errorbar(shares, means, yerr=stds, fmt=marks, color=colour, label=name, ms=5)
            axis.axvline(1, color=ink.grey, lw=1, ls=":")
        _legend(axes, shifts)
    return figure


def dial_alt(records: Sequence[Record]) -> str:
    """Say what `dial` shows."""
    runs = [record["dial"] for record in _dialled(records)]
    at = [share for share, _, _ in runs[0]]
    whole = at.index(1)
    means = [[100 * fmean(run[i][k] for run in runs) for i in range(len(at))] for k in (1, 2)]
    (target, source), half = means, len(at[: whole + 1]) // 2
    return (
        "Accuracy while the scaling is turned after training, mean over shifts and seeds: at 0, "
        f"{at[half]:g} and 1 of it the source task has {source[0]:.1f}, {source[half]:.1f} and "
        f"{source[whole]:.1f} %, the target task {target[0]:.1f}, {target[half]:.1f} and "
        f"{target[whole]:.1f} %."
    )


def _dialled(records: Sequence[Record]) -> list[Record]:
    dialled = [record for record in records if "dial" in record]
    if not dialled:
        raise LoraRefError("records in figures.dial has no run of lora-8, whose scaling is turned")
    return dialled


def spectrum(records: Sequence[Record], *, theme: str = "light") -> "Figure":
    """Draw how much of the full fine-tuning update its best rank-r approximation holds.

    Raises
    ------
    LoraRefError
        If no record has a spectrum.
    """
    full = _spectra(records)
    shifts = list(dict.fromkeys(record["shift"] for record in full))
    with style(theme) as ink:
        figure, axes = _panels(shifts, "rank r", "share of the squared norm (%)")
        looks = ((ink.blue, "-o"), (ink.vermillion, "--s"), (ink.green, ":^"))
        for axis, shift in zip(axes, shifts, strict=False):
            runs = [record["spectrum"] for record in full if record["shift"] == shift]
            for (colour, marks), layer in zip(looks, runs[0], strict=False):
                shares = [
                    100 * fmean(run[layer][k] for run in runs) for k in range(len(runs[0][layer]))
                ]
                axis.plot(range(1, len(shares) + 1), shares, marks, color=colour, label=layer, ms=5)
            axis.set_xscale("log", base=2)
            axis.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
        _legend(axes, shifts)
    return figure


def spectrum_alt(records: Sequence[Record]) -> str:
    """Say what `spectrum` shows."""
    layers = [shares for record in _spectra(records) for shares in record["spectrum"].values()]
    held = {}
    for r in (1, 8):
        at = [100 * shares[min(r, len(shares)) - 1] for shares in layers]
        held[r] = f"{min(at):.1f} to {max(at):.1f} %"
    return (
        "Share of the squared norm of the full fine-tuning update that its best approximation of "
        f"rank r holds, by layer: rank 1 holds {held[1]}, rank 8 {held[8]}, over runs and layers."
    )


def _spectra(records: Sequence[Record]) -> list[Record]:
    full = [record for record in records if "spectrum" in record]
    if not full:
        raise LoraRefError("records in figures.spectrum has no run of full fine-tuning")
    return full
