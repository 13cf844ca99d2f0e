"""What the pages of results share: lines as text, pictures with what they show, and the writing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lora_ref.figures import FIGURES, save


def as_text(lines: Iterable[str]) -> str:
    """Return lines, each with its end."""
    return "\n".join(lines) + "\n"


def pictures(names: Iterable[str], **numbers: Any) -> str:
    """Return pictures, each with what it shows as its alternative text."""
    texts = {name: FIGURES[name].picture(**numbers).alt for name in names}
    return "\n\n".join(f"![{text}](figures/{name}.png)" for name, text in texts.items()) + "\n"


def write(page: Path, text: str, names: Iterable[str] = ()) -> None:
    """Write a page, and its pictures into the folder beside it."""
    page.write_text(text, encoding="utf-8", newline="\n")
    for name in names:
        entry = FIGURES[name]
        save(page.parent / "figures" / f"{name}.png", entry.picture(), entry.title)
