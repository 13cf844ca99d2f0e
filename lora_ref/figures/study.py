"""Pictures of the study on the digits, a panel for each shift."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import LETTERS, WIDTH, blank, panels, style
from lora_ref.study import Record
from lora_ref.study.methods import RANKS
from lora_ref.study.probes import SHARES
from lora_ref.study.records import mean_error, rows

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


def _panels(shifts: Sequence[str], xlabel: str, ylabel: str) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a panel for each shift, at most three in a row."""
    columns = min(3, len(shifts))
    lines = -(-len(shifts) // columns)
    figure = blank(max(WIDTH, 3.2 * columns), 1.2 + 2.6 * lines)
    axes = panels(figure, lines, columns, sharex=True, sharey=True)
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


def forgetting(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw target and source accuracy, adapter on, by what is trained: a panel for each shift.

    The axis has the pretrained network as a star, LoRA at each rank, all weights (biases frozen in
    both), the head and the biases. Points are means over seeds, with their standard error.
    """
    if not records:
        raise LoraRefError("records in figures.forgetting is empty, expected runs of the study")
    by_shift: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows(records):
        by_shift.setdefault(row["shift"], {})[row["method"]] = row
    with style(theme) as ink:
        trained = "rank of LoRA; W all weights, W3 the head, b the biases"
        figure, axes = _panels(list(by_shift), trained, "accuracy (%)")
        for axis, methods in zip(axes, by_shift.values(), strict=False):
            shown = [(x, methods[m]) for x, m in enumerate(SHOWN.values()) if m in methods]
            for key, name, colour, fmt in (
                ("target", "target task", ink.blue, "o"),
                ("source_on", "source, adapter on", ink.vermillion, "s"),
            ):
                means = {x: 100 * row[f"{key}_mean"] for x, row in shown}
                ranks = [x for x in means if 1 <= x <= len(RANKS)]
                axis.plot(ranks, [means[x] for x in ranks], color=colour, lw=1.5)
                for x, row in shown:
                    star = x == 0
                    axis.errorbar(
                        x, means[x], yerr=100 * (row[f"{key}_error"] or 0.0), color=colour,
                        fmt="*" if star else fmt, markersize=13 if star else 6,
                        label=None if star else name,
                    )  # fmt: skip
                    if star and key == "source_on":
                        axis.axhline(means[x], color=colour, lw=1, ls=":")
            axis.plot([], [], "*", color=ink.text, markersize=13, label="pretrained")  # for both
            axis.set_xticks(range(len(SHOWN)), list(SHOWN), fontsize=LETTERS)
            axis.set_ylim(-3, 103)
        _legend(axes, list(by_shift))
    texts = []
    for shift, methods in by_shift.items():
        both = {
            m: (100 * methods[m]["target_mean"], 100 * methods[m]["source_on_mean"])
            for m in SHOWN.values()
            if m in methods
        }
        best = max(both, key=both.__getitem__)
        target, source = both[best]
        text = f"{shift}: best on the target is {best} with {target:.1f} % (source {source:.1f} %)"
        if best != "weights" and "weights" in both:
            text += f", all weights have {both['weights'][0]:.1f} % ({both['weights'][1]:.1f} %)"
        texts.append(text)
    return Picture(
        figure,
        "Target and source accuracy with the adapter on, by what is trained, mean and standard "
        f"error over seeds; the pretrained network is a star. {'; '.join(texts)}.",
        theme,
    )


def scaling_sweep(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw target and source accuracy while the scaling is changed after training."""
    swept = [record for record in records if "scaling_sweep" in record]
    if not swept:
        raise LoraRefError(
            "records in figures.scaling_sweep has no run of lora-8, whose scaling is changed"
        )
    shifts = list(dict.fromkeys(record["shift"] for record in swept))
    with style(theme) as ink:
        figure, axes = _panels(shifts, "share of the trained scaling", "accuracy (%)")
        for axis, shift in zip(axes, shifts, strict=False):
            runs = [record["scaling_sweep"] for record in swept if record["shift"] == shift]
            for column, name, colour, marks in (
                (1, "target task", ink.blue, "-o"),
                (2, "source task", ink.vermillion, "--s"),
            ):
                pairs = [
                    mean_error([100 * run[i][column] for run in runs]) for i in range(len(SHARES))
                ]
                means = [mean for mean, _ in pairs]
                errors = [error or 0.0 for _, error in pairs]
                axis.errorbar(SHARES, means, yerr=errors, fmt=marks, color=colour, label=name, ms=5)
            axis.axvline(1, color=ink.grey, lw=1, ls=":")
        _legend(axes, shifts)
    sweeps = [record["scaling_sweep"] for record in swept]
    whole = SHARES.index(1)
    half = (whole + 1) // 2
    source, target = (
        [100 * fmean(sweep[i][column] for sweep in sweeps) for i in (0, half, whole)]
        for column in (2, 1)
    )
    return Picture(
        figure,
        "Accuracy while the scaling is changed after training, mean over shifts and seeds: at 0, "
        f"{SHARES[half]:g} and 1 of it the source task has {source[0]:.1f}, {source[1]:.1f} and "
        f"{source[2]:.1f} %, the target task {target[0]:.1f}, {target[1]:.1f} and "
        f"{target[2]:.1f} %.",
        theme,
    )


def spectrum(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw how much of the full fine-tuning update its best rank-r approximation holds."""
    full = [record for record in records if record["method"] == "full"]
    if not full:
        raise LoraRefError("records in figures.spectrum has no run of full fine-tuning")
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
    layers = [shares for record in full for shares in record["spectrum"].values()]
    held = {}
    for r in (1, 8):
        at = [100 * shares[min(r, len(shares)) - 1] for shares in layers]
        held[r] = f"{min(at):.1f} to {max(at):.1f} %"
    return Picture(
        figure,
        "Share of the squared norm of the full fine-tuning update that its best approximation of "
        f"rank r holds, by layer: rank 1 holds {held[1]}, rank 8 {held[8]}, over runs and layers.",
        theme,
    )


def trained_and_cut(records: Sequence[Record], *, theme: str = "light") -> Picture:
    """Draw target accuracy by rank, trained at the rank and cut to it: a panel for each shift.

    Biases are frozen. The cut is shown as it is, and with each update whitened first by the inputs
    of its layer. The control is a random update of the rank, with the singular values of the cut
    one. Points are means over seeds, with their standard error.
    """
    names = ("trained", "whitened", "cut", "random")
    by_shift: dict[str, dict[str, dict[int, list[float]]]] = {}
    for record in records:
        shift, method = record["shift"], record["method"]
        ways = by_shift.setdefault(shift, {way: {} for way in names})
        for r in RANKS:
            if method == f"lora-{r}":
                ways["trained"].setdefault(r, []).append(record["target"])
            if method == "weights":
                ways["whitened"].setdefault(r, []).append(record["whitened"][str(r)])
                ways["cut"].setdefault(r, []).append(record["truncated"][str(r)])
                ways["random"].setdefault(r, []).append(record["random"][str(r)])
    by_shift = {shift: ways for shift, ways in by_shift.items() if all(ways.values())}
    if not by_shift:
        raise LoraRefError(
            "records in figures.trained_and_cut have no shift with runs of lora-r and of weights"
        )
    with style(theme) as ink:
        figure, axes = _panels(list(by_shift), "rank r", "accuracy on the target (%)")
        looks = (
            ("trained", "trained at rank r", ink.blue, "o", "-"),
            ("whitened", "whitened, then cut", ink.green, "^", "-."),
            ("cut", "cut to rank r", ink.vermillion, "s", "--"),
            ("random", "random, rank r", ink.grey, "x", ":"),
        )
        for axis, ways in zip(axes, by_shift.values(), strict=False):
            for way, label, colour, marker, line in looks:
                values = {r: [100 * one for one in ways[way][r]] for r in sorted(ways[way])}
                axis.errorbar(
                    range(len(values)), [mean_error(one)[0] for one in values.values()],
                    yerr=[mean_error(one)[1] or 0.0 for one in values.values()],
                    fmt=f"{marker}{line}", color=colour, label=label, markersize=6,
                )  # fmt: skip
            axis.set_xticks(range(len(ways["cut"])), [str(r) for r in sorted(ways["cut"])])
            axis.set_ylim(-3, 103)
        _legend(axes, list(by_shift))
    said, middle = [], RANKS[len(RANKS) // 2]
    for shift, ways in by_shift.items():
        both = sorted(ways["trained"].keys() & ways["cut"].keys())
        ends = " and ".join(
            f"{100 * fmean(ways['trained'][r]):.0f} % to {100 * fmean(ways['cut'][r]):.0f} % at "
            f"r = {r}"
            for r in (both[0], both[-1])
        )
        cuts = (100 * fmean(ways[way][middle]) for way in ("cut", "whitened"))
        at = " and ".join(f"{share:.0f} %" for share in cuts)
        said.append(f"{shift}: {ends}, and at r = {middle} the cut has {at}")
    return Picture(
        figure,
        "Target accuracy by rank, mean over seeds, trained at the rank against cut to it, and the "
        "cut without and with whitening. "
        f"{'; '.join(said)}.",
        theme,
    )
