"""What is wrong with a file: sentences with their line and key, gathered and told together."""

from collections.abc import Iterable, Mapping
from typing import Any

from lora_ref.errors import LoraRefError
from lora_ref.ledger.lecture.lines import Lines, Path
from lora_ref.ledger.lecture.numbers import BareNumber
from lora_ref.names import nearest

MOST_SHOWN = 40
"""How many faults are told; the others are counted."""

LONGEST_TEXT = 500
"""The most characters of a text that is not a number."""


CLOSE = 0.5
"""How alike a key and a known one must be for the known one to be named."""


class Faults:
    """The faults of one file, in the order of its lines."""

    def __init__(self, name: str, lines: Lines) -> None:
        self._name, self._lines = name, lines
        self._found: list[tuple[int, str]] = []
        self.ids: dict[tuple[str, int], str] = {}

    def add(self, path: Path, sentence: object) -> None:
        """Note what is wrong at a key."""
        line, place = self._lines.of(path), self._place(path)
        where = ", ".join(([f"line {line}"] if line else []) + ([place] if place else []))
        text = f"{where}: {sentence}" if where else str(sentence)
        self._found.append((line or 0, "".join(c if c.isprintable() else "?" for c in text)))

    def tell(self) -> None:
        """Raise `LoraRefError` with a line for each fault, if there is any."""
        if not self._found:
            return
        found = [sentence for _, sentence in sorted(self._found, key=lambda fault: fault[0])]
        many = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        more = len(found) - MOST_SHOWN
        shown = found[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise LoraRefError("\n  ".join([f"{self._name}: {many}", *shown]))

    def _place(self, path: Path) -> str:
        """Return what a reader calls a place: ``claim 3 ("ab-11"), printed``."""
        path = tuple(key[:60] if isinstance(key, str) else key for key in path)
        match path:
            case (str(kind), int(index), *rest):
                name = self.ids.get((kind, index))
                head = f"{kind} {index + 1}" + (f' ("{name}")' if name else "")
            case ("matrices", name, *rest):
                head = f"matrix {name}"
            case ("derived", name, *rest):
                head = f"derived {name}"
            case _:
                head, rest = "", list(path)
        keys = ".".join(map(str, rest))
        return ", ".join(part for part in (head, keys) if part)


def kind_of(value: object) -> str:
    """Return what a value of a TOML file is, in words and never long."""
    match value:
        case bool():
            return "true" if value else "false"
        case BareNumber():
            return f"the number {value[:30]}" + ("..." if len(value) > 30 else "")
        case str():
            return f"the text {value[:30]!r}" + ("..." if len(value) > 30 else "")
        case int():
            return f"the number {value}" if abs(value) < 10**30 else "a very large number"
        case list():
            return "a list"
        case dict():
            return "a table"
    return f"a {type(value).__name__}"


def text_of(value: object) -> str:
    """Return a text of one line, fit to be printed.

    Raises
    ------
    LoraRefError
        For what is no text, is empty or long, or holds characters that steer a terminal.
    """
    if type(value) is not str:
        raise LoraRefError(f"got {kind_of(value)}, expected a text in quotes")
    text = " ".join(value.split())
    if not text:
        raise LoraRefError("the text is empty")
    if len(text) > LONGEST_TEXT:
        raise LoraRefError(f"a text of {len(text)} characters, expected at most {LONGEST_TEXT}")
    if not text.isprintable():
        bad = next(c for c in text if not c.isprintable())
        raise LoraRefError(f"the text holds U+{ord(bad):04X}, a character that is not printed")
    return text


def check_keys(
    faults: Faults, path: Path, table: Mapping[str, Any], known: Iterable[str], of: str
) -> None:
    """Note every key of a table that it does not have."""
    known = tuple(known)
    for key in table:
        if key not in known:
            near = nearest(key, known, cutoff=CLOSE) or f"; known are: {', '.join(known)}"
            faults.add((*path, key), f"{of} has no key {key[:60]!r}{near}")
