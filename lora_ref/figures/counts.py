"""Pictures of counts: trained numbers, multiply-adds and bytes of training."""

from collections.abc import Mapping, Sequence

from lora_ref.checks import as_count
from lora_ref.counting import (
    Full,
    LoRA,
    Model,
    ParameterCount,
    TrainingMemory,
    count_parameters,
    full_bytes,
    full_multiply_adds,
    lora_bytes,
    lora_multiply_adds,
    lora_params,
    training_memory,
)
from lora_ref.counting.parameters import itemsize
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, legend_above, listed, panels, short, style
from lora_ref.quantize import bits_per_weight

GB = 1e9
"""Bytes of a gigabyte."""

MIB = 2**20
"""Bytes of a mebibyte."""


def parameters(parameter_counts: Sequence[ParameterCount], *, theme: str = "light") -> Picture:
    """Draw how many numbers a method trains and how many the model has, on a logarithmic scale.

    A line joins the two of each model: its length is the factor between them.
    """
    if not parameter_counts:
        raise LoraRefError("parameter_counts in figures.parameters is empty, expected at least one")
    for counted in parameter_counts:
        if counted.trainable < 1:
            raise LoraRefError(
                f"the count of {counted.model.name} in figures.parameters trains nothing"
            )
    method = parameter_counts[0].method
    r = getattr(method, "r", None)
    name = type(method).__name__ if r is None else f"{type(method).__name__}, r = {r}"
    with style(theme) as ink:
        figure = blank(height=max(3.2, 1.7 + 0.46 * len(parameter_counts)))
        (axes,) = panels(figure, 1, 1)
        rows = range(len(parameter_counts))
        trained = [counted.trainable for counted in parameter_counts]
        whole = [counted.model.total for counted in parameter_counts]
        axes.hlines(rows, trained, whole, color=ink.grid, lw=5)
        axes.plot(trained, rows, "o", color=ink.blue, ms=10, label=name)
        axes.plot(whole, rows, "s", color=ink.vermillion, ms=9, label="full fine-tuning")
        for row, few, many in zip(rows, trained, whole, strict=True):
            for count, side in ((few, "right"), (many, "left")):
                axes.annotate(
                    short(count), (count, row), xytext=(-9 if side == "right" else 9, 0),
                    textcoords="offset points", ha=side, va="center",
                )  # fmt: skip
            axes.text(
                (few * many) ** 0.5, row, f"{100 * few / many:.2g} %", ha="center", va="center",
                bbox={"facecolor": ink.paper, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(min(trained) / 12, max(whole) * 12)
        axes.set_yticks(list(rows), [counted.model.title for counted in parameter_counts])
        axes.set_ylim(len(parameter_counts) - 0.4, -0.6)
        axes.set_xlabel("trained numbers")
        axes.grid(visible=False, axis="y")
        legend_above(figure, ncols=2)
    shares = {c.model.title: 100 * c.trainable / c.model.total for c in parameter_counts}
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    largest = max(parameter_counts, key=lambda counted: counted.model.total)
    return Picture(
        figure,
        f"{name.replace(', ', ' with ')} trains from {shares[least]:.2g} % ({least}) to "
        f"{shares[most]:.2g} % ({most}) of the numbers of {len(parameter_counts)} models; of the "
        f"{short(largest.model.total)} in {largest.model.title} it trains "
        f"{short(largest.trainable)}.",
        theme,
    )


def memories(model: Model, r: int, targets: Sequence[str]) -> dict[str, TrainingMemory]:
    """Return what AdamW holds to train a model in full, with LoRA, and with QLoRA.

    Weights and gradients are bfloat16, the two moments float32. QLoRA stores the weights of the
    linear modules inside the blocks in NF4 with double quantisation and leaves all others alone
    (Dettmers et al., 2023, arXiv 2305.14314). Activations depend on the batch and are left out.
    """
    full = training_memory(count_parameters(model, Full()), "bfloat16", state_dtype="float32")
    counted = count_parameters(model, LoRA(r, tuple(targets)))
    lora = training_memory(counted, "bfloat16", state_dtype="float32")
    packed = sum(m.weight for m in model.modules if m.kind == "linear" and "*" in m.name.split("."))
    saved = packed * (itemsize("bfloat16") - bits_per_weight(double=True) / 8)
    qlora = TrainingMemory(round(lora.weights - saved), lora.gradients, lora.optimizer)
    return {"full": full, f"LoRA, r = {r}": lora, f"QLoRA, r = {r}": qlora}


def memory(
    models: Mapping[str, Mapping[str, TrainingMemory]],
    *,
    card: float | None = None,
    theme: str = "light",
) -> Picture:
    """Draw the bytes of training as bars of weights, gradients and optimiser states.

    They are given by the title of the model, then by the way to train it: a panel for each of one
    to three models. `card` is the memory of a graphics card in GB, drawn as a line.
    """
    if not 1 <= len(models) <= 3 or not all(models.values()):
        raise LoraRefError(
            f"models in figures.memory are {len(models)}, expected 1 to 3, each with a way to train"
        )
    with style(theme) as ink:
        figure = blank(height=1.4 + sum(0.55 + 0.36 * len(ways) for ways in models.values()))
        longest = 0.0  # bar of the first panel
        for axes, (title, ways) in zip(
            panels(figure, len(models), 1, height_ratios=[1 + len(w) for w in models.values()]),
            models.items(),
            strict=True,
        ):
            before = [0.0] * len(ways)
            for part, label, colour, hatch in (
                ("weights", "weights", ink.grey, ""),
                ("gradients", "gradients", ink.orange, "//"),
                ("optimizer", "optimiser states", ink.blue, "xx"),
            ):
                sizes = [getattr(held, part) / GB for held in ways.values()]
                axes.barh(
                    list(ways), sizes, left=before, label=label, hatch=hatch, edgecolor=colour,
                    color=ink.paper if hatch else colour, height=0.72,
                )  # fmt: skip
                before = [a + b for a, b in zip(before, sizes, strict=True)]
            for row, total in enumerate(before):
                axes.annotate(
                    f"{total:.1f}", (total, row), xytext=(6, 0), textcoords="offset points",
                    va="center", bbox={"facecolor": ink.paper, "edgecolor": "none", "pad": 1},
                )  # fmt: skip
            if card is not None:
                label = f"a card of {card:g} GB"
                axes.axvline(card, color=ink.vermillion, ls="--", lw=2.4, label=label)
            longest = longest or max(before)
            scale = max(before) / longest
            note = "" if 0.9 < scale < 1.1 else f" (its axis is {scale:.1f} times as long)"
            axes.set(title=title + note, xlim=(0, 1.16 * max(before)))
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
        axes.set_xlabel("GB held while training, activations left out")
        legend_above(figure, ncols=3 + (card is not None))
    said = []
    for title, ways in models.items():
        sizes = [f"{way}: {held.total / GB:.1f} GB" for way, held in ways.items()]
        first = next(iter(ways.values()))
        share = 100 * first.weights / first.total
        said.append(
            f"{title}, {'; '.join(sizes)}; in the first the weights are {share:.0f} % of it"
        )
        if card is not None:
            fitting = [way for way, held in ways.items() if held.total <= card * GB]
            said[-1] += f", and {card:g} GB hold {listed(fitting) if fitting else 'none of them'}"
    return Picture(
        figure,
        f"Memory of training without activations. {'. '.join(said)}. LoRA saves gradients and "
        "optimiser states, not weights; quantising saves weights.",
        theme,
    )


def step_cost(width: int, *, theme: str = "light") -> Picture:
    """Draw what LoRA costs beside full fine-tuning of a square weight, against the rank.

    Multiply-adds of a forward pass and of a step, and the share of trained numbers. The limits are
    those of `counting.lora_multiply_adds`: a step costs ``2/3 + 2 r / d`` of the full one, so as
    much at ``d / 6``, and the forward pass ``1 + 2 r / d``, twice as much at ``d / 2``.
    """
    if as_count("width in figures.step_cost", width) < 12:
        raise LoraRefError(f"width in figures.step_cost is {width}, expected at least 12")
    whole = full_multiply_adds(width, width, n=1)
    last = 5 * width // 8
    ranks = sorted({*range(1, last, max(1, last // 60)), last})
    costs = [lora_multiply_adds(width, width, r, n=1) for r in ranks]
    trained = [lora_params(width, width, r) / whole.forward for r in ranks]
    forward = [cost.forward / whole.forward for cost in costs]
    step = [cost.total / whole.total for cost in costs]
    even, half = width / 6, width / 2
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        axes.axhline(1, color=ink.grey, ls="--", lw=1.6)
        axes.text((even + half) / 2, 0.95, "as much as full", ha="center", va="top")
        for values, colour, line, label in (
            (forward, ink.vermillion, "-.", "forward pass"),
            (step, ink.blue, "-", "a training step"),
            (trained, ink.green, ":", "trained numbers"),
        ):
            axes.plot(ranks, values, color=colour, ls=line, lw=3, label=label)
        axes.plot([0], [2 / 3], "o", color=ink.blue, ms=9, mfc=ink.paper, clip_on=False)
        axes.text(0.012 * last, 0.56, "2/3", ha="left", va="top")
        for r, value, colour, marker in (
            (even, 1.0, ink.blue, "o"),
            (half, 1.0, ink.green, "s"),
            (half, 2.0, ink.vermillion, "D"),
        ):
            axes.plot([r], [value], marker, color=colour, ms=9)
        for low, high, said in (
            (0, even, "a cheaper step"),
            (even, half, "fewer numbers, a costlier step"),
            (half, last, "no saving"),
        ):
            axes.axvline(high, color=ink.grey, lw=1.2)
            axes.text((low + high) / 2, 2.55, said, ha="center", va="center")
        axes.set_xticks([0, even, half], ["0", f"$d$/6 = {even:.4g}", f"$d$/2 = {half:.4g}"])
        axes.set(xlim=(0, last), ylim=(0, 2.75), xlabel="rank $r$")
        axes.set_title(f"LoRA divided by full fine-tuning, a weight of {width} x {width}")
        legend_above(figure, ncols=3)
    return Picture(
        figure,
        f"LoRA divided by full fine-tuning for a weight of {width} x {width}. A training step "
        f"costs {step[0]:.3f} of the multiply-adds at r = 1, and as much as full at d/6 = "
        f"{even:.4g}. At d/2 = {half:.4g} it costs {2 / 3 + 2 * half / width:.2f} times as much, "
        f"the forward pass {1 + 2 * half / width:.2f} times, and as many numbers are trained.",
        theme,
    )


def memory_by_rows(width: int, r: int, *, theme: str = "light") -> Picture:
    """Draw the bytes of training one square weight against the rows of x, up to 16 rows a feature.

    Everything is float32, the optimiser AdamW, as in `counting.lora_bytes`. A third line is the
    activations, which both ways keep. Arrows stand at one row for eight features and at the end.
    """
    width = as_count("width in figures.memory_by_rows", width)
    rows = [1, -(-width // 8), *range(width, 16 * width + 1, width)]
    full = [full_bytes(width, width, n=n) for n in rows]
    lora = [lora_bytes(width, width, r, n=n) for n in rows]
    shares = [100 * a.total / b.total for a, b in zip(lora, full, strict=True)]
    saved = [(b.total - a.total) / MIB for a, b in zip(lora, full, strict=True)]
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        for held, colour, line, label in (
            ([one.total for one in full], ink.vermillion, "-", "full fine-tuning"),
            ([one.total for one in lora], ink.blue, "-.", f"LoRA, r = {r}"),
            ([one.activations for one in full], ink.grey, "--", "activations of either"),
        ):
            axes.plot(rows, [size / MIB for size in held], color=colour, ls=line, lw=3, label=label)
        for k, place, side in ((1, (0.06, 0.55), "left"), (len(rows) - 1, (0.95, 0.42), "right")):
            axes.annotate(
                "", (rows[k], full[k].total / MIB), (rows[k], lora[k].total / MIB),
                arrowprops={"arrowstyle": "<->", "color": ink.text, "lw": 1.6, "shrinkA": 0,
                            "shrinkB": 0},
            )  # fmt: skip
            said = f"{rows[k]:,} rows: saves\n{saved[k]:.3g} MiB, takes {shares[k]:.0f} %"
            axes.text(*place, said, transform=axes.transAxes, ha=side, va="center")
        axes.set_xticks(range(0, 16 * width + 1, 4 * width))
        axes.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
        axes.set(xlim=(-0.02 * rows[-1], 1.02 * rows[-1]), ylim=(0, 1.05 * full[-1].total / MIB))
        axes.set_xlabel("rows of x (tokens in a batch)")
        axes.set_ylabel("MiB held in training")
        axes.set_title(f"A weight of {width} x {width}, float32 and AdamW")
        legend_above(figure, ncols=3)
    return Picture(
        figure,
        f"Memory of training a weight of {width} x {width} against the rows of x: two lines side "
        f"by side. With {rows[1]:,} rows LoRA at r = {r} saves {saved[1]:.3g} MiB and takes "
        f"{shares[1]:.0f} % of what full fine-tuning takes, with {rows[-1]:,} rows it saves "
        f"{saved[-1]:.3g} MiB and takes {shares[-1]:.0f} %: the activations, which both keep, are "
        f"then {100 * full[-1].activations / full[-1].total:.0f} % of the full total.",
        theme,
    )
