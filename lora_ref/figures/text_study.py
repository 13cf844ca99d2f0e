"""Pictures of the study on text: strength, learning rate, rank, and intruder directions."""

from collections.abc import Sequence

from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import blank, panels, style


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
