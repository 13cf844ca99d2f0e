"""Pictures of the study on the digits, a panel for each shift."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError
from lora_ref.figures.style import LETTERS, WIDTH, blank, panels, style
from lora_ref.study import Record
from lora_ref.study.methods import RANKS
from lora_ref.study.records import grouped, mean_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN: Mapping[str, str] = {
    "0": "untouched",
    **{str(r): f"lora-{r}" for r in RANKS},
    "W": "weights",
    "W3": "head",
    "b": "biases",
}
"""What the figure of forgetting shows, by the mark on its axis. Biases train in W3 and b."""

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
    """Draw target and source accuracy, adapter on, by what is trained: a panel for each shift.

    The axis has the pretrained network as a star, LoRA at each rank, all weights (biases frozen in
    both), the head and the biases. Points are means over seeds, with their standard error.
    """
    if not records:
        raise LoraRefError("records in figures.forgetting is empty, expected runs of the study")
    groups = grouped(records)
    shifts = list(dict.fromkeys(shift for shift, _ in groups))
    with style(theme) as ink:
        trained = "rank of LoRA; W all weights, W3 the head, b the biases"
        figure, axes = _panels(shifts, trained, "accuracy (%)")
        for axis, shift in zip(axes, shifts, strict=False):
            marks = {mark: groups.get((shift, name)) for mark, name in SHOWN.items()}
            for source, name, colour, fmt in (
                (False, "target task", ink.blue, "o"),
                (True, "source, adapter on", ink.vermillion, "s"),
            ):
                found = [
                    (
                        i,
                        *mean_error(
                            [100 * run["source_on" if source else "target"] for run in runs]
                        ),
                    )
                    for i, runs in enumerate(marks.values())
                    if runs
                ]
                ranks = [point for point in found if 1 <= point[0] <= len(RANKS)]
                axis.plot([x for x, *_ in ranks], [y for _, y, _ in ranks], color=colour, lw=1.5)
                for x, y, error in found:
                    star = x == 0
                    axis.errorbar(
                        x, y, yerr=error or 0.0, fmt="*" if star else fmt, color=colour,
                        markersize=13 if star else 6, label=None if star else name,
                    )  # fmt: skip
                    if star and source:
                        axis.axhline(y, color=colour, lw=1, ls=":")
            axis.plot([], [], "*", color=ink.text, markersize=13, label="pretrained")  # for both
            axis.set_xticks(range(len(marks)), list(marks), fontsize=LETTERS)
            axis.set_ylim(-3, 103)
        _legend(axes, shifts)
    return figure


def forgetting_alt(records: Sequence[Record]) -> str:
    """Return the alt text of `forgetting`."""
    groups = grouped(records)
    texts = []
    for shift in dict.fromkeys(shift for shift, _ in groups):
        means = {
            method: (
                100 * fmean(run["target"] for run in groups[shift, method]),
                100 * fmean(run["source_on"] for run in groups[shift, method]),
            )
            for method in SHOWN.values()
            if (shift, method) in groups
        }
        best = max(means, key=lambda method: means[method])
        target, source = means[best]
        text = f"{shift}: best on the target is {best} with {target:.1f} % (source {source:.1f} %)"
        if best != "weights" and "weights" in means:
            text += f", all weights have {means['weights'][0]:.1f} % ({means['weights'][1]:.1f} %)"
        texts.append(text)
    return (
        "Target and source accuracy with the adapter on, by what is trained, mean and standard "
        f"error over seeds; the pretrained network is a star. {'; '.join(texts)}."
    )


def scaling_sweep(records: Sequence[Record], *, theme: str = "light") -> "Figure":
    """Draw target and source accuracy while the scaling is changed after training."""
    swept = _swept(records)
    shifts = list(dict.fromkeys(record["shift"] for record in swept))
    with style(theme) as ink:
        figure, axes = _panels(shifts, "share of the trained scaling", "accuracy (%)")
        for axis, shift in zip(axes, shifts, strict=False):
            runs = [record["scaling_sweep"] for record in swept if record["shift"] == shift]
            shares = [share for share, _, _ in runs[0]]
            for column, name, colour, marks in (
                (1, "target task", ink.blue, "-o"),
                (2, "source task", ink.vermillion, "--s"),
            ):
                pairs = [
                    mean_error([100 * run[i][column] for run in runs]) for i in range(len(shares))
                ]
                means = [mean for mean, _ in pairs]
                errors = [error or 0.0 for _, error in pairs]
                axis.errorbar(shares, means, yerr=errors, fmt=marks, color=colour, label=name, ms=5)
            axis.axvline(1, color=ink.grey, lw=1, ls=":")
        _legend(axes, shifts)
    return figure


def scaling_sweep_alt(records: Sequence[Record]) -> str:
    """Return the alt text of `scaling_sweep`."""
    runs = [record["scaling_sweep"] for record in _swept(records)]
    at = [share for share, _, _ in runs[0]]
    whole = at.index(1)
    means = [[100 * fmean(run[i][k] for run in runs) for i in range(len(at))] for k in (1, 2)]
    (target, source), half = means, len(at[: whole + 1]) // 2
    return (
        "Accuracy while the scaling is changed after training, mean over shifts and seeds: at 0, "
        f"{at[half]:g} and 1 of it the source task has {source[0]:.1f}, {source[half]:.1f} and "
        f"{source[whole]:.1f} %, the target task {target[0]:.1f}, {target[half]:.1f} and "
        f"{target[whole]:.1f} %."
    )


def _swept(records: Sequence[Record]) -> list[Record]:
    swept = [record for record in records if "scaling_sweep" in record]
    if not swept:
        raise LoraRefError(
            "records in figures.scaling_sweep has no run of lora-8, whose scaling is changed"
        )
    return swept


def spectrum(records: Sequence[Record], *, theme: str = "light") -> "Figure":
    """Draw how much of the full fine-tuning update its best rank-r approximation holds."""
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
    """Return the alt text of `spectrum`."""
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
    full = [record for record in records if record["method"] == "full"]
    if not full:
        raise LoraRefError("records in figures.spectrum has no run of full fine-tuning")
    return full
