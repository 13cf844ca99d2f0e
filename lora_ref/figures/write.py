"""Figures as files: PNG or SVG, the same bytes each time, each put in its place in one step."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from lora_ref.atomic_write import write_whole
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.registry import entry
from lora_ref.figures.style import THEMES, Theme
from lora_ref.study import Record

Format = Literal["png", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)

DOTS_PER_INCH = 160
"""Of a PNG: 1280 pixels for the width of a slide."""

STUDY = ("forgetting", "scaling-sweep", "spectrum")
"""The figures that can be drawn from the records of any study."""

PAGES = ("two-paths",)
"""The other figures that a page of the repository shows, on both grounds."""


def save(path: Path, picture: Picture, title: str) -> Path:
    """Write a picture as PNG or SVG, by the end of the name, in one step.

    Title and alt text stand in the file's metadata; date and version of the software do not, so
    the same picture gives the same bytes.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise LoraRefError(f"{path} ends in {path.suffix!r}, expected .png or .svg")
    metadata: dict[str, str | None] = {"Title": title, "Description": picture.alt}
    metadata |= {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    write_whole(path, picture.rendered(kind, DOTS_PER_INCH, metadata))
    return path


def save_figures(
    folder: Path,
    names: Sequence[str],
    themes: Sequence[Theme] = THEMES,
    formats: Sequence[Format] = FORMATS,
) -> dict[str, list[Path]]:
    """Draw figures from the package's own numbers into a folder, and return the files of each.

    They are called ``name.png`` and ``name.svg``, with ``-dark`` before the dot on the dark ground.
    """
    entries = {name: entry(name) for name in names}
    make_folder(folder)
    files: dict[str, list[Path]] = {name: [] for name in names}
    for (name, chosen), theme in product(entries.items(), themes):
        picture = chosen.picture(theme)
        stem = name if theme == "light" else f"{name}-{theme}"
        files[name] += [save(folder / f"{stem}.{kind}", picture, chosen.title) for kind in formats]
    return files


def save_study(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the figures of the study that `records` have the numbers for, and return the files."""
    written = []
    for name in STUDY:
        chosen = entry(name)
        try:
            picture = chosen.picture(records=records)
        except LoraRefError:  # a part of the study has no such runs
            continue
        written.append(save(folder / f"{name}.png", picture, chosen.title))
    return written


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, or say why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise LoraRefError(f"{folder} is a file, expected a folder for the figures") from None
    except NotADirectoryError:
        raise LoraRefError(f"{folder} has a file above it, expected folders") from None
    except OSError as error:
        raise LoraRefError(f"{folder} cannot be made: {error.strerror or error}") from None
