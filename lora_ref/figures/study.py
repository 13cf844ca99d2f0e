"""Three pictures of the study on the digits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError
from lora_ref.study import Record
from lora_ref.study.records import grouped, mean_std

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours for readers who do not tell red from green; each group has its own marker
FAMILIES = {
    "LoRA": ("#0072B2", "o", ("lora-1", "lora-2", "lora-4", "lora-8", "lora-16")),
    "LoRA variants": ("#56B4E9", "D", ("rslora", "dora", "pissa", "qlora")),
    "adapters": ("#009E73", "^", ("adapter-4", "adapter-16")),
    "full": ("#D55E00", "s", ("full",)),
    "head or biases": ("#E69F00", "v", ("head", "biases")),
    "from scratch": ("#666666", "X", ("scratch",)),
}


def _panels(shifts: Sequence[str], xlabel: str, ylabel: str) -> "tuple[Figure, list[Any]]":
    """Return a figure with a panel for each shift, at most three in a row."""
    from matplotlib.figure import Figure

    columns = min(3, len(shifts))
    rows = -(-len(shifts) // columns)
    figure = Figure(figsize=(4.3 * columns, 3.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for axis, shift in zip(axes, shifts, strict=False):
        axis.set_title(shift, fontsize=15)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=12, labelbottom=True)
    for axis in axes[len(shifts) :]:
        axis.remove()
    figure.supxlabel(xlabel, fontsize=14)
    figure.supylabel(ylabel, fontsize=14)
    return figure, axes[: len(shifts)]


def _legend(figure: "Figure", axis: Any) -> None:
    """Put one legend above all panels."""
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(),
        unique.keys(),
        loc="outside upper center",
        ncols=min(3, len(unique)),
        fontsize=13,
    )


def forgetting(records: Sequence[Record]) -> "Figure":
    """Draw target accuracy against source accuracy, adapter attached: a panel for each shift.

    Each point is the mean over seeds, with its standard deviation in both directions.

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
    figure, axes = _panels(shifts, *labels)
    for axis, shift in zip(axes, shifts, strict=True):
        for family, (colour, marker, methods) in FAMILIES.items():
            for method in methods:
                if (shift, method) not in groups:
                    continue
                runs = groups[shift, method]
                x, x_std = mean_std([100 * run["source_attached"] for run in runs])
                y, y_std = mean_std([100 * run["target"] for run in runs])
                axis.errorbar(
                    x, y, xerr=x_std, yerr=y_std, color=colour, marker=marker, markersize=9,
                    linestyle="none", elinewidth=0.8, label=family,
                )  # fmt: skip
    _legend(figure, axes[0])
    return figure


def dial(records: Sequence[Record]) -> "Figure":
    """Draw target and source accuracy while the scaling is turned after training.

    Raises
    ------
    LoraRefError
        If no record has been dialled.
    """
    dialled = [record for record in records if "dial" in record]
    if not dialled:
        raise LoraRefError("records in figures.dial has no run of lora-8, whose scaling is turned")
    shifts = list(dict.fromkeys(record["shift"] for record in dialled))
    figure, axes = _panels(shifts, "share of the trained scaling", "accuracy (%)")
    for axis, shift in zip(axes, shifts, strict=True):
        runs = [record["dial"] for record in dialled if record["shift"] == shift]
        shares = [share for share, _, _ in runs[0]]
        for column, name, colour, style in (
            (1, "target task", "#0072B2", "-o"),
            (2, "source task", "#D55E00", "--s"),
        ):
            pairs = [mean_std([100 * run[i][column] for run in runs]) for i in range(len(shares))]
            means = [mean for mean, _ in pairs]
            stds = [std or 0.0 for _, std in pairs]
            axis.errorbar(shares, means, yerr=stds, fmt=style, color=colour, label=name, lw=2)
        axis.axvline(1, color="#666666", lw=1, ls=":")
    _legend(figure, axes[0])
    return figure


def spectrum(records: Sequence[Record]) -> "Figure":
    """Draw how much of the full fine-tuning update its best rank-r approximation holds.

    Raises
    ------
    LoraRefError
        If no record has a spectrum.
    """
    full = [record for record in records if "spectrum" in record]
    if not full:
        raise LoraRefError("records in figures.spectrum has no run of full fine-tuning")
    shifts = list(dict.fromkeys(record["shift"] for record in full))
    figure, axes = _panels(shifts, "rank r", "share of the update's squared norm (%)")
    styles = (("#0072B2", "-o"), ("#D55E00", "--s"), ("#009E73", ":^"))
    for axis, shift in zip(axes, shifts, strict=True):
        runs = [record["spectrum"] for record in full if record["shift"] == shift]
        for (colour, style), layer in zip(styles, runs[0], strict=False):
            shares = [
                mean_std([100 * run[layer][k] for run in runs])[0]
                for k in range(len(runs[0][layer]))
            ]
            axis.plot(range(1, len(shares) + 1), shares, style, color=colour, label=layer, lw=2)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    _legend(figure, axes[0])
    return figure
