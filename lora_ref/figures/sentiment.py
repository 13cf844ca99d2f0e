"""Pictures of the pretrained encoder on rated sentences."""

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, legend_above, panels, style
from lora_ref.sentiment.findings import BALANCED, accuracies, mean_accuracy
from lora_ref.sentiment.snippets import FILES
from lora_ref.study.records import mean_error
from lora_ref.transformer.minilm import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = {
    "head": "the head alone",
    "lora-1": "LoRA, r = 1",
    "lora-8": "LoRA, r = 8",
    "matrices": "the same matrices whole",
    "full": "everything",
}


def sentiment(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw the accuracy of each method on each kind of text, a mark for each seed."""
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)
        looks = (
            *((ink.grey, "D"), (ink.sky, "^"), (ink.blue, "o")),
            *((ink.orange, "v"), (ink.vermillion, "s")),
        )
        for k, ((method, name), (colour, mark)) in enumerate(
            zip(SHOWN.items(), looks, strict=True)
        ):
            for i, kind in enumerate(FILES):
                each = accuracies(results, method, kind)
                place = i + 0.15 * (k - (len(SHOWN) - 1) / 2)
                axes.plot([place] * len(each), each, mark, color=colour, ms=8, alpha=0.75,
                          label=name if i == 0 else None)  # fmt: skip
        axes.set_xticks(range(len(FILES)), [f"{kind}" for kind in FILES])
        axes.set(
            ylabel="texts classified right (%)",
            xlabel="kind of text tested (trained on films alone)",
        )
        axes.grid(visible=True, axis="y", color=ink.grid)
        legend_above(figure, ncols=3)
    said = "; ".join(
        f"{kind}: "
        + ", ".join(f"{name} {mean_accuracy(results, m, kind):.0f}" for m, name in SHOWN.items())
        for kind in FILES
    )
    return Picture(figure, f"Texts classified right, in percent, mean over seeds. {said}.", theme)


def kept_directions(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw the accuracy on films by the directions that are left of what trained whole."""
    cut = {
        "none": "0",
        "1": "1",
        "2": "2",
        "4": "4",
        "8": "8",
        "64": "64",
        f"all {WIDTH}": "",
        "all but 8": "beyond-8",
    }
    names, said = list(cut), []
    with style(theme) as ink:
        figure = blank()
        (axes,) = panels(figure, 1, 1)

        def draw(methods: Mapping[str, str], marks: str, colour: str, name: str) -> None:
            """Draw a method at each number of directions, and say it."""
            seeds = {at: accuracies(results, m, "films", BALANCED) for at, m in methods.items()}
            found = {at: mean_error(each) for at, each in seeds.items()}
            places = [names.index(at) for at in found]
            means, errors = zip(*found.values(), strict=True)
            axes.errorbar(places, means, errors, fmt=marks, color=colour, capsize=4, label=name)
            said.append(f"{name}: " + ", ".join(f"{at} {m:.1f}" for at, (m, _) in found.items()))

        whole = {at: f"matrices/{kept}".removesuffix("/") for at, kept in cut.items()}
        rest = {"all but 8": whole.pop("all but 8")}
        draw(whole, "--v", ink.orange, "q and v trained whole, then cut")
        draw(rest, "v", ink.vermillion, "the same without its first 8")
        trained = {r: f"lora-{r}" for r in ("1", "8", "64")}
        draw(trained, "-o", ink.blue, "LoRA, trained at the rank")
        head = mean_accuracy(results, "head", "films", BALANCED)
        axes.axhline(head, color=ink.grey, ls=":", label="the head alone")
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="directions of the update", ylabel="films classified right (%)")
        axes.grid(visible=True, axis="y", color=ink.grid)
        legend_above(figure, ncols=2)
    return Picture(
        figure,
        "Films classified right, in percent, mean of both classes, by the directions of the update "
        f"that are there. {'; '.join(said)}; the head alone {head:.1f}.",
        theme,
    )


def shared_directions(results: Mapping[str, Any], *, theme: str = "light") -> Picture:
    """Draw how much of their leading directions two updates share: two seeds, and two ranks."""
    shown = ("lora-8", "matrices", "full")
    with style(theme) as ink:
        figure = blank()
        seeds, ranks = panels(figure, 1, 2)
        looks = ((ink.blue, "-o"), (ink.orange, "--v"), (ink.vermillion, "-.s"))
        said = []
        for method, (colour, marks) in zip(shown, looks, strict=True):
            found = results["changes"][method]["overlap"]
            _line(seeds, found, marks, colour, SHOWN[method])
            first, *_, last = found
            said.append(
                f"{SHOWN[method]} {found[first]:.2f} at {first}, {found[last]:.2f} at {last}"
            )
        random = results["changes"]["lora-8"]["overlap of random"]
        _line(seeds, random, ":^", ink.grey, "random ones")
        said.append(f"random {fmean(random.values()):.2f} on average")
        between = results["ranks"]
        few, *_, many = between
        for i, (colour, marks) in ((few, (ink.sky, "-o")), (many, (ink.purple, "--s"))):
            shared = {j: share for j, share in between[i].items() if int(j) >= int(i)}
            name = "the first of r = 8" if i == few else f"its first {i}"
            _line(ranks, shared, marks, colour, name)
        *_, largest = between[few]
        chance = {j: int(j) / WIDTH for j in between[few]}
        _line(ranks, chance, ":^", ink.grey, "a random one")
        seeds.set(title="two seeds", xlabel="leading directions of each", ylabel="share in common")
        ranks.set(title="r = 8 in r = 64", xlabel="leading directions of r = 64")
        for axes in (seeds, ranks):
            axes.set_ylim(0, 1.55)  # room for the names
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            axes.legend(loc="upper center")
    return Picture(
        figure,
        f"Share that the leading input directions of two seeds have in common: {'; '.join(said)}. "
        f"Of LoRA of rank 8 the first lies with {between[few][few]:.2f} in the first of rank 64 "
        f"and with {between[few][largest]:.2f} in its first {largest}, a random one with "
        f"{chance[largest]:.2f}; the first {many} with {between[many][largest]:.2f}.",
        theme,
    )


def _line(axes: "Axes", found: Mapping[str, float], marks: str, colour: str, name: str) -> None:
    """Draw shares by the number of directions, on a scale of doublings."""
    counts = [int(count) for count in found]
    axes.plot(counts, list(found.values()), marks, color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
