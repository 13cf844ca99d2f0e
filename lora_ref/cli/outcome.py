"""What commands share: `Outcome`, exit statuses, columns, numbers and lists, the terminal."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lora_ref.errors import LoraRefError

GOOD, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Outcome(NamedTuple):
    """What a command prints to stdout, its exit status, and messages for stderr."""

    text: str
    status: int = GOOD
    messages: tuple[str, ...] = ()
    page: bool = False  # a page is written in UTF-8, whatever the terminal's encoding


def as_json(body: dict[str, Any]) -> str:
    """Return one JSON object, indented."""
    return json.dumps(body, indent=2)


def columns(rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """Return rows as lines with aligned columns; `sides` has ``<`` or ``>`` for each column."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    places = [f"{side}{width}" for side, width in zip(sides, widths, strict=True)]
    return ["  ".join(map(format, row, places)).rstrip() for row in rows]


def whole(flag: str, text: str, largest: int, smallest: int = 1) -> int:
    """Return the value of a flag, a whole number from `smallest` to `largest`."""
    expected = f"expected a whole number from {smallest} to {largest:,}"
    if len(text) > 1000:
        raise LoraRefError(f"{flag} has {len(text):,} characters, {expected}")
    try:
        value = int(text)
    except ValueError:
        raise LoraRefError(f"{flag} is {text!r}, {expected}") from None
    if not smallest <= value <= largest:
        raise LoraRefError(f"{flag} is {value}, {expected}")
    return value


def number(flag: str, text: str, smallest: float, largest: float) -> float:
    """Return the value of a flag, a number within limits."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not smallest <= value <= largest:
        raise LoraRefError(f"{flag} is {text}, expected a number from {smallest} to {largest}")
    return value


def listed(text: str) -> list[str]:
    """Return the entries of a list with commas; nothing between two commas is no entry."""
    return [entry for entry in text.split(",") if entry]


def can_print(text: str) -> bool:
    """Whether stdout has a character for everything in `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def use_colour() -> bool:
    """Whether stdout is a terminal, and neither NO_COLOR nor TERM=dumb is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout is not None and sys.stdout.isatty() and not plain
