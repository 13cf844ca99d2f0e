"""Pictures of low rank: a direction, singular values, the bound on the error, the dimension."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lora_ref.checks import Array, as_count, check_array, check_generator
from lora_ref.counting import break_even_rank, lora_params
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, legend_above, panels, style, whole
from lora_ref.lowrank import Norms, rank_set_dimension, truncate, truncation_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def singular_values(M: Array, r: int, *, theme: str = "light") -> Picture:
    """Draw the singular values of M, the first r kept, and what each truncation leaves.

    r is at least 1 and below the smaller side of M.
    """
    check_array("M in figures.singular_values", M, out_features=None, in_features=None)
    r = as_count("r in figures.singular_values", r)
    if r >= min(M.shape):
        raise LoraRefError(
            f"r in figures.singular_values is {r}, expected less than {min(M.shape)}, the smaller "
            "side of M: nothing is left out"
        )
    s = np.linalg.svd(M, compute_uv=False)
    squares = np.append(np.cumsum((s**2)[::-1])[::-1], 0.0)
    if squares[0] == 0:
        raise LoraRefError(
            "M in figures.singular_values is zero, expected a singular value above 0"
        )
    left = 100 * np.sqrt(squares / squares[0])  # the residual after 0, 1, ... values, in per cent
    ranks = np.arange(1, len(s) + 1)
    with style(theme) as ink:
        figure = blank()
        values, residuals = panels(figure, 1, 2)
        values.semilogy(ranks[:r], s[:r], "o", color=ink.blue, label=f"kept, r = {r}")
        values.semilogy(ranks[r:], s[r:], "X", color=ink.vermillion, markersize=6, label="left out")
        values.set(xlabel="k", ylabel="singular value $σ_k$")
        values.legend(loc="lower left")
        residuals.plot(np.arange(len(left)), left, color=ink.grey)
        residuals.plot(r, left[r], "X", color=ink.vermillion, markersize=11)
        residuals.annotate(
            f"r = {r}: {left[r]:.1f} % is left", (r, left[r]), xytext=(14, 14),
            textcoords="offset points", va="bottom",
        )  # fmt: skip
        residuals.set(
            xlabel="rank r", ylabel="norm of the residual (% of M's)", ylim=(0, 103), xlim=(0, None)
        )
    return Picture(
        figure,
        f"The {len(s)} singular values of a {M.shape[0]} x {M.shape[1]} matrix fall from "
        f"{s[0]:.3g} to {s[-1]:.2g}. Truncated to the first {r}, it leaves a residual of "
        f"{left[r]:.1f} % of the matrix in norm: the kept ones hold "
        f"{100 - left[r] ** 2 / 100:.1f} % of the squared norm.",
        theme,
    )


def truncations(
    pictures: Mapping[str, Array], ranks: Sequence[int], *, theme: str = "light"
) -> Picture:
    """Draw pictures, a row each, and the nearest ones of some ranks around the mean.

    0 is black and 1 is white. The mean of a picture is taken out before it is cut and added again:
    a bright ground is a strong term of rank 1, in which nothing of the picture can be seen.
    """
    if not (1 <= len(pictures) <= 3 and 2 <= len(ranks) <= 5):
        raise LoraRefError(
            f"figures.truncations has {len(pictures)} pictures and {len(ranks)} ranks, expected 1 "
            "to 3 pictures and 2 to 5 ranks"
        )
    counts = [as_count("a rank in figures.truncations", r) for r in ranks]
    rows = {name: _cut_around_mean(name, M, counts) for name, M in pictures.items()}
    with style(theme):
        figure = blank(8.0, 0.75 + 1.55 * len(rows))
        axes = iter(panels(figure, len(rows), len(counts) + 1, grid=False))
        for row, (name, cuts) in enumerate(rows.items()):
            for title, (shown, left) in cuts.items():
                axis = next(axes)
                axis.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                axis.set_title("" if row else title)
                axis.set_xlabel("" if title == "whole" else f"{left:.0f} % left out")
                axis.set_ylabel(name if title == f"r = {counts[0]}" else "")
        figure.suptitle("Pictures cut to rank r, around their mean", fontsize=15)
    said = [
        f"{name}, {M.shape[0]} x {M.shape[1]}: "
        + ", ".join(f"{rows[name][f'r = {r}'][1]:.0f} % at r = {r}" for r in counts)
        for name, M in pictures.items()
    ]
    return Picture(
        figure,
        "Pictures cut to lower ranks, and what is left out of each, in norm and around its mean. "
        f"{'; '.join(said)}.",
        theme,
    )


def _cut_around_mean(name: str, M: Array, ranks: Sequence[int]) -> dict[str, tuple[Array, float]]:
    """Return the cuts of a picture by title, each with the per cent that it leaves out."""
    what = f"{name} in figures.truncations"
    check_array(what, M, out_features=None, in_features=None)
    centred = M - M.mean()
    norm = truncation_error(centred, 0).frobenius
    if norm <= 1e-12 * float(np.abs(M).max()):
        raise LoraRefError(f"{what} is the same everywhere, expected a picture")
    cuts = {}
    for r in ranks:
        left = 100 * truncation_error(centred, r).frobenius / norm
        cuts[f"r = {r}"] = M.mean() + truncate(centred, r), left
    return {**cuts, "whole": (M, 0.0)}


def direction(W0: Array, b: Array, a: Array, *, theme: str = "light") -> Picture:
    """Draw what an update of rank 1 does in two dimensions: ``W0 x`` becomes ``W0 x + b (a x)``.

    The inputs lie on the unit circle. Each output moves along b, by the component of x along a
    times its norm: not at all where x is orthogonal to a.
    """
    check_array("W0 in figures.direction", W0, out_features=2, in_features=2)
    check_array("b in figures.direction", b, out_features=2)
    check_array("a in figures.direction", a, in_features=2)
    if not (np.any(a) and np.any(b)):
        raise LoraRefError("a or b in figures.direction is zero: the update would be zero")
    angles = np.arctan2(a[1], a[0]) + np.arange(16) * np.pi / 8
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (16, 2), the fifth orthogonal to a
    along = x @ a
    along[np.abs(along) < 1e-12 * np.abs(along).max()] = 0.0
    before, move = x @ W0.T, np.outer(along, b)
    across = np.array([-a[1], a[0]]) / np.linalg.norm(a)
    with style(theme) as ink:
        figure = blank()
        inputs, outputs = panels(figure, 1, 2)
        for at, axis in ((x, inputs), (before + move, outputs)):
            for sign, colour, marker, label in (
                (1, ink.vermillion, "^", "a · x > 0"),
                (0, ink.text, "s", "a · x = 0"),
                (-1, ink.blue, "o", "a · x < 0"),
            ):
                chosen = np.sign(along) == sign
                axis.plot(*at[chosen].T, marker, color=colour, label=label, zorder=3)
        inputs.plot(*np.outer([-1.35, 1.35], across).T, "--", color=ink.grey, lw=1.5)
        _arrow(inputs, np.zeros(2), a / np.linalg.norm(a), ink.text, "a", width=0.016)
        for axis, at in ((inputs, np.empty((0, 2))), (outputs, before)):  # one legend for both
            axis.plot(
                *at.T, "o", color=ink.grey, markersize=5, markerfacecolor="none", label="$W_0$ x"
            )
        for start, step in zip(before, move, strict=True):
            if np.any(step):
                _arrow(outputs, start, step, ink.grey, width=0.006)
        size = np.linalg.norm(before, axis=1).max()
        _arrow(outputs, np.zeros(2), 0.6 * size * b / np.linalg.norm(b), ink.text, "b", width=0.016)
        inputs.set_title("a reads: how much of a is in x?")
        outputs.set_title("b writes: outputs move along b only")
        for axis in (inputs, outputs):
            axis.set_aspect("equal", adjustable="datalim")
            axis.margins(0.12)
        figure.suptitle("An update of rank 1: one direction in, one direction out", fontsize=15)
        named = inputs.get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=4, columnspacing=1.2)
    return Picture(
        figure,
        f"An update of rank 1 on {len(x)} inputs of a circle. Every output moves along the one "
        f"direction b, by up to {np.linalg.norm(move, axis=1).max():.2f}, and the "
        f"{int(np.sum(along == 0))} inputs orthogonal to a do not move at all.",
        theme,
    )


def _arrow(
    axes: "Axes", start: Array, step: Array, colour: str, name: str = "", *, width: float
) -> None:
    axes.quiver(
        *start, *step, angles="xy", scale_units="xy", scale=1, color=colour, width=width, zorder=4
    )
    if name:
        x, y = start + step
        axes.annotate(
            name, (x, y), xytext=(-20, 2), textcoords="offset points", fontsize=16, zorder=5
        )


class Errors(NamedTuple):
    """Errors of updates of some ranks, in two norms: (Frobenius, spectral) in the last axis."""

    ranks: tuple[int, ...]
    bound: Array  # (ranks, 2)  what Eckart, Young and Mirsky allow
    truncated: Array  # (ranks, 2)  measured on the truncated SVD
    drawn: Array  # (ranks, draws, 2)  measured on the best update in a column space drawn at random


def errors_by_rank(M: Array, ranks: Sequence[int], draws: int, rng: np.random.Generator) -> Errors:
    """Measure how near updates of some ranks come to M, and what the theorem allows.

    For each rank some updates ``Q @ Q.T @ M`` are drawn, Q an orthonormal basis from `rng`: for its
    column space each is the nearest there is.
    """
    check_generator("rng in figures.errors_by_rank", rng)
    draws = as_count("draws in figures.errors_by_rank", draws)
    if not ranks:
        raise LoraRefError("ranks in figures.errors_by_rank is empty, expected at least one rank")

    def distance(N: Array) -> Norms:
        return truncation_error(M - N, 0)

    bound = [truncation_error(M, r) for r in ranks]
    truncated = [distance(truncate(M, r)) for r in ranks]
    drawn = []
    for r in ranks:
        bases = (np.linalg.qr(rng.standard_normal((len(M), r))).Q for _ in range(draws))
        drawn.append([distance(Q @ (Q.T @ M)) for Q in bases])
    return Errors(tuple(ranks), np.array(bound), np.array(truncated), np.array(drawn))


def error_by_rank(errors: Errors, *, theme: str = "light") -> Picture:
    """Draw the error against the rank: nothing lies below the bound, and the truncation reaches it.

    A panel each for the Frobenius and the spectral norm.
    """
    slack = 1e-9 * float(errors.bound.max())
    for name, measured in (("truncated", errors.truncated), ("drawn", errors.drawn.min(axis=1))):
        below = np.argwhere(measured < errors.bound - slack)
        if len(below):
            row, k = (int(i) for i in below[0])
            raise LoraRefError(
                f"{name} in figures.error_by_rank has the error {measured[row, k]:.6g} at rank "
                f"{errors.ranks[row]}, expected at least the bound {errors.bound[row, k]:.6g}"
            )
    with style(theme) as ink:
        figure = blank()
        ranks = list(errors.ranks)
        for k, (axes, name) in enumerate(
            zip(panels(figure, 1, 2), ("Frobenius", "spectral"), strict=True)
        ):
            axes.plot(ranks, errors.bound[:, k], color=ink.grey, label="Eckart-Young bound")
            axes.plot(
                ranks, errors.truncated[:, k], "o", color=ink.blue, markerfacecolor="none",
                markeredgewidth=2, label="truncated SVD", clip_on=False,
            )  # fmt: skip
            drawn = errors.drawn[:, :, k]
            axes.plot(
                np.repeat(ranks, drawn.shape[1]), drawn.ravel(), "x", color=ink.vermillion,
                markersize=6, label="best in a random column space",
            )  # fmt: skip
            axes.set(xlabel="rank r", title=f"{name} norm", ylim=(0, None))
        figure.axes[0].set_ylabel("distance to M")
        legend_above(figure, ncols=3, columnspacing=1.2)
    reached = np.max(np.abs(errors.truncated - errors.bound)) / errors.bound.max()
    middle = len(errors.ranks) // 2
    best, bound = errors.drawn[middle, :, 0].min(), errors.bound[middle, 0]
    said = "to rounding" if reached < 1e-10 else f"to {reached:.1e} of its largest value"
    return Picture(
        figure,
        f"In the Frobenius and in the spectral norm the truncated SVD reaches the Eckart-Young "
        f"bound {said}, and none of {errors.drawn[..., 0].size} updates with a random column space "
        f"lies below it: at rank {errors.ranks[middle]} the best of them is {best:.3g} away, "
        f"{best / bound:.2f} times the bound {bound:.3g}.",
        theme,
    )


def dimension(out_features: int, in_features: int, *, theme: str = "light") -> Picture:
    """Draw how many numbers B and A hold, and how many dimensions their products have, by rank."""
    m = as_count("out_features in figures.dimension", out_features)
    n = as_count("in_features in figures.dimension", in_features)
    ranks = range(1, min(m, n) + 1)
    even = float(break_even_rank(n, m))
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        numbers = [lora_params(n, m, r) for r in ranks]
        dimensions = [rank_set_dimension(m, n, r) for r in ranks]
        axes.plot(ranks, numbers, "--", color=ink.vermillion, label="numbers in B and A: r (m + n)")
        axes.plot(
            ranks, dimensions, "-", color=ink.blue, label="dimension of rank ≤ r: r (m + n − r)"
        )
        axes.fill_between(
            ranks, dimensions, numbers, facecolor="none", hatch="..", edgecolor=ink.grid, lw=0
        )
        axes.axhline(m * n, color=ink.grey, ls=":", label=f"the whole matrix: m n = {whole(m * n)}")
        axes.axvline(even, color=ink.grey, ls=":", lw=1.4)
        axes.text(even + 0.4, 0.02 * max(numbers), f"break-even at\nr = {even:.2f}", va="bottom")
        last = len(dimensions) - 1
        middle = 3 * last // 4
        axes.text(
            ranks[middle], (numbers[middle] + dimensions[middle]) / 2, "$r^2$ too many",
            ha="center", va="center", bbox={"facecolor": ink.paper, "edgecolor": "none", "pad": 2},
        )  # fmt: skip
        axes.set(xlabel="rank r", ylabel="numbers", xlim=(0, ranks[last]), ylim=(0, None))
        axes.set_title(f"m = {m}, n = {n}")
        axes.legend(loc="upper left")
    r = max(1, min(m, n) // 2)
    return Picture(
        figure,
        f"B and A of a {m} x {n} update hold r (m + n) numbers, a line that passes the "
        f"{whole(m * n)} entries of the matrix at r = {even:.2f}. The matrices "
        f"of rank r have only r (m + n - r) dimensions, a curve that reaches those entries at full "
        f"rank: at r = {r} they are {whole(rank_set_dimension(m, n, r))} against "
        f"{whole(lora_params(n, m, r))}, {r}^2 = {whole(r * r)} fewer.",
        theme,
    )
