"""Pictures of counts: trained numbers and bytes of training, for published models."""

from collections.abc import Mapping, Sequence

from lora_ref.counting import (
    Full,
    LoRA,
    Model,
    ParameterCount,
    TrainingMemory,
    count_parameters,
    training_memory,
)
from lora_ref.counting.parameters import itemsize
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, legend_above, panels, short, style
from lora_ref.quantize import bits_per_weight

GB = 1e9
"""Bytes of a gigabyte."""


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


def memory(models: Mapping[str, Mapping[str, TrainingMemory]], *, theme: str = "light") -> Picture:
    """Draw the bytes of training as bars of weights, gradients and optimiser states.

    They are given by the title of the model, then by the way to train it: a panel for each of one
    to three models.
    """
    if not 1 <= len(models) <= 3 or not all(models.values()):
        raise LoraRefError(
            f"models in figures.memory are {len(models)}, expected 1 to 3, each with a way to train"
        )
    with style(theme) as ink:
        figure = blank(height=1.4 + sum(0.55 + 0.36 * len(ways) for ways in models.values()))
        for axes, (title, ways) in zip(
            panels(figure, len(models), 1, height_ratios=[1 + len(w) for w in models.values()]),
            models.items(),
            strict=True,
        ):
            before = [0.0] * len(ways)
            for part, colour, hatch in (
                ("weights", ink.grey, ""),
                ("gradients", ink.orange, "//"),
                ("optimizer", ink.blue, "xx"),
            ):
                sizes = [getattr(held, part) / GB for held in ways.values()]
                axes.barh(
                    list(ways), sizes, left=before, label=part, hatch=hatch, edgecolor=colour,
                    color=ink.paper if hatch else colour, height=0.72,
                )  # fmt: skip
                before = [a + b for a, b in zip(before, sizes, strict=True)]
            for row, total in enumerate(before):
                axes.annotate(
                    f"{total:.1f} GB", (total, row), xytext=(6, 0), textcoords="offset points",
                    va="center",
                )  # fmt: skip
            axes.set(title=title, xlim=(0, 1.16 * max(before)))
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
        axes.set_xlabel("GB held while training, activations left out")
        legend_above(figure, ncols=3)
    said = []
    for title, ways in models.items():
        sizes = [f"{way}: {held.total / GB:.1f} GB" for way, held in ways.items()]
        first = next(iter(ways.values()))
        share = 100 * first.weights / first.total
        said.append(
            f"{title}, {'; '.join(sizes)}; in the first the weights are {share:.0f} % of it"
        )
    return Picture(
        figure,
        f"Memory of training without activations. {'. '.join(said)}. LoRA saves gradients and "
        "optimiser states, not weights; quantising saves weights.",
        theme,
    )
