"""What is wrong with a file: sentences with their line and key, gathered and raised together."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

Path = tuple[str | int, ...]
"""Keys and numbers of a file from the outside in, such as ``("claim", 2, "printed")``."""

Table = Mapping[str, Any]
"""A table of a file."""

MOST_SHOWN = 40
"""How many errors are shown; the others are counted."""

LONGEST_TEXT = 500
"""The most characters of a text that is not a number."""

DEEPEST_KEY = 16
"""The most names in one dotted key: `tomllib` takes time and memory quadratic in it."""

CLOSE = 0.5
"""How alike a key and a known one must be for the known one to be named."""

_LEXEMES = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*",
    re.DOTALL,
)
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w-]+(?:\s*\.\s*[\w-]+)*)\s*\]\]?\s*$")
_KEY = re.compile(r"\s*([\w-]+)\s*(?:\.\s*[\w-]+\s*)*=")


class BareNumber(str):
    """A number that the file writes without quotes: `tomllib` hands over its text."""

    __slots__ = ()


class Lines:
    r"""Finds the line of a key in the text of a valid TOML file, which `tomllib` does not say.

    Examples
    --------
    >>> lines = Lines('[[claim]]\nid = "a"\n\n[[claim]]\nid = "b"\n')
    >>> lines.of(("claim", 1, "id")), lines.of(("claim", 1, "text")), lines.of(("unheard-of",))
    (5, 4, None)
    """

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        here: Path = ()
        for number, line in enumerate(_bare(text).split("\n"), start=1):
            if header := _HEADER.match(line):
                here = ()
                *outer, last = (step.strip() for step in header[2].split("."))
                for step in outer:
                    here = self._into((*here, step), counts)
                    self._found.setdefault(here, number)
                here = (*here, last)
                if header[1] == "[[":
                    self._found.setdefault(here, number)
                    counts[here] = counts.get(here, -1) + 1
                    here = (*here, counts[here])
                self._found.setdefault(here, number)
            elif key := _KEY.match(line):
                self._found.setdefault((*here, key[1]), number)

    def of(self, path: Path) -> int | None:
        """Return the line of a key, or of the nearest thing around it; counted from 1."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return None

    def _into(self, path: Path, counts: dict[Path, int]) -> Path:
        """Return where a step of a header leads: into the last table of an array."""
        return (*path, counts[path]) if path in counts else path


class FileErrors:
    """The errors of one file, in the order of its lines."""

    def __init__(self, name: str, lines: Lines) -> None:
        self._name, self._lines = name, lines
        self._found: list[tuple[int, str]] = []
        self.ids: dict[tuple[str, int], str] = {}

    def add(self, path: Path, sentence: object) -> None:
        """Note what is wrong at a key."""
        line, place = self._lines.of(path), self._place(path)
        where = ", ".join(([f"line {line}"] if line else []) + ([place] if place else []))
        text = f"{where}: {sentence}" if where else str(sentence)
        found = (line or 0, "".join(c if c.isprintable() else "?" for c in text))
        if found not in self._found:
            self._found.append(found)

    def at(self, path: Path) -> "_At":
        """Return a context that notes at a key what is raised within it."""
        return _At(self, path)

    def raise_if_any(self) -> None:
        """Raise `LoraRefError` with a line for each error, if there is any."""
        if not self._found:
            return
        found = [sentence for _, sentence in sorted(self._found, key=lambda error: error[0])]
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        more = len(found) - MOST_SHOWN
        shown = found[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise LoraRefError("\n  ".join([f"{self._name}: {count}", *shown]))

    def check_keys(
        self, path: Path, table: Mapping[str, Any], known: Iterable[str], of: str
    ) -> None:
        """Note every key of a table that it does not have."""
        known = tuple(known)
        for key in table:
            if key not in known:
                near = nearest(key, known, cutoff=CLOSE) or f"; known are: {', '.join(known)}"
                self.add((*path, key), f"{of} has no key {key[:60]!r}{near}")

    def line(self, path: Path) -> int:
        """Return the line of a path, 0 where there is none."""
        return self._lines.of(path) or 0

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
        keys = ".".join(str(key + 1) if isinstance(key, int) else key for key in rest)
        return ", ".join(part for part in (head, keys) if part)


class _At(NamedTuple):
    errors: FileErrors
    path: Path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, LoraRefError):
            return False
        self.errors.add(self.path, error)
        return True


def too_deep(text: str) -> int | None:
    """Return the first line with a dotted key of more than `DEEPEST_KEY` names, if there is one."""
    for number, line in enumerate(_bare(text).split("\n"), start=1):
        words = re.split(r"[^\w.-]+", "".join(line.split()))
        if any(word.count(".") >= DEEPEST_KEY for word in words):
            return number
    return None


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


def text_of(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text of one line, fit to be printed."""
    if type(value) is not str:
        raise LoraRefError(f"got {kind_of(value)}, expected a text in quotes")
    text = " ".join(value.split())
    if not text:
        raise LoraRefError("the text is empty")
    if len(text) > longest:
        raise LoraRefError(f"a text of {len(text)} characters, expected at most {longest}")
    if not text.isprintable():
        bad = next(c for c in text if not c.isprintable())
        raise LoraRefError(f"the text holds U+{ord(bad):04X}, a character that is not printed")
    return text


def _bare(text: str) -> str:
    """Return the text without its strings and comments, line for line."""
    return _LEXEMES.sub(lambda found: "\n" * found[0].count("\n"), text)
