"""`Outcome`, which every command returns; exit statuses; and what stdout can show."""

import json
import os
import sys
from typing import Any, NamedTuple

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
